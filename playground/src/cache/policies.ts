import { seconds } from './model.ts';
import { isRecord } from './report.ts';

/** What the schema says about the caching of a coordinate: "Product.stock". Ages are in seconds. */
export interface Policy {
  maxAge: number;
  scope: 'public' | 'private';
  truth?: string;
}

/** What the server offers to this page, at graphql/cache. */
export interface Offer {
  /** Whether it reports what the cache did, and lets this page evict. */
  debug: boolean;
  policies: Readonly<Record<string, Policy>>;
}

export const nothingOffered: Offer = { debug: false, policies: {} };

/** A policy in a line of Markdown. */
export function policyText(p: Policy): string {
  const age = p.maxAge > 0 ? `${seconds(p.maxAge)}, ${p.scope}` : 'not cached';
  return `**Cache:** ${age}` + (p.truth === undefined ? '' : `, true by ${p.truth}`);
}

/**
 * Puts the policy of each field behind its description, in the result of an introspection query. So it shows wherever
 * GraphiQL shows a description: under the pointer, in completions, in the documentation.
 */
export function describePolicies<Result>(result: Result, policies: Offer['policies']): Result {
  const schema = isRecord(result) && isRecord(result.data) ? result.data.__schema : undefined;
  if (!isRecord(schema) || !Array.isArray(schema.types)) return result;
  for (const type of schema.types) {
    if (!isRecord(type) || !Array.isArray(type.fields)) continue;
    for (const field of type.fields) {
      const policy = policies[`${type.name}.${field.name}`];
      if (policy !== undefined) field.description = [field.description, policyText(policy)].filter(Boolean).join('\n\n');
    }
  }
  return result;
}
