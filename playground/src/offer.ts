import { nothingOffered, type Offer } from './cache/policies.ts';
import { isRecord } from './cache/report.ts';

/** The path beside the GraphQL endpoint for cache policies and evictions by hand. */
const path = '/cache';

/** Fetches what the server offers. An older server, or one that fails, offers nothing. */
export async function readOffer(graphql: string): Promise<Offer> {
  try {
    const response = await fetch(graphql + path, { headers: { Accept: 'application/json' } });
    const offer: unknown = response.ok ? await response.json() : null;
    return isRecord(offer) ? { ...nothingOffered, ...offer } : nothingOffered;
  } catch {
    return nothingOffered;
  }
}

/**
 * What to evict: entries by key, or everything of a type: its objects, its fields, and the fields
 * that return them.
 */
export interface Eviction {
  keys?: readonly string[];
  types?: readonly string[];
}

/**
 * Evicts on behalf of a viewer, with their Authorization, and returns how many of the keys were
 * cached.
 */
export async function evict(graphql: string, what: Eviction, authorization: string): Promise<number> {
  const response = await fetch(graphql + path, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', ...(authorization === '' ? {} : { Authorization: authorization }) },
    body: JSON.stringify(what),
  });
  const answer: unknown = await response.json().catch(() => null);
  const of = isRecord(answer) ? answer : {};
  if (!response.ok) throw new Error(typeof of.error === 'string' ? of.error : `The server answered ${response.status}.`);
  return typeof of.evicted === 'number' ? of.evicted : 0;
}
