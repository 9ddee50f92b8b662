/** Where a part came from. */
export type Tier = 'memory' | 'redis' | 'database';

/** How a part was served. The server may know more statuses than this page. */
export type Status = 'hit' | 'miss' | 'stale' | 'swr' | 'bypass' | 'collapsed' | 'along' | (string & {});

export type Path = readonly (string | number)[];

/**
 * A value that a field of the operation read. Ages and TTLs are in seconds, at the time of the
 * response.
 */
export interface Part {
  path: Path;
  coordinate: string;
  key: string;
  tier: Tier;
  status: Status;
  age?: number;
  ttl?: number;
  /**
   * When it was read from the database, in milliseconds since 1970. All values of one load have the
   * same time.
   */
  loaded?: number;
  scope: 'public' | 'private';
  tags: readonly string[];
  /** What keeps the value current: rows, observed, tags, or ttl. */
  truth?: string;
  /** Why it is not stored in every tier. */
  unstored?: string;
}

/** What a field of a mutation evicted. */
export interface Evicted {
  path: Path;
  coordinate: string;
  keys: readonly string[];
  tags: readonly string[];
}

/** How a client may store the response without the report, and the coordinates that decide it. */
export interface Decision {
  cacheControl: string;
  maxAgeFrom?: string;
  scopeFrom?: string;
}

/** `extensions.cache` and `extensions.cachePolicy`. */
export interface Report {
  parts: readonly Part[];
  evicted: readonly Evicted[];
  decision?: Decision;
}

/**
 * Reads the extensions of a response. Returns null if they have no report, because none was
 * requested.
 */
export function readReport(extensions: unknown): Report | null {
  if (!isRecord(extensions) || !('cache' in extensions)) return null;
  const parts: Part[] = [];
  const evicted: Evicted[] = [];
  for (const entry of list(extensions.cache)) {
    if (!isRecord(entry)) continue;
    const at = { path: list(entry.path).filter(isStep), coordinate: text(entry.coordinate) };
    if (entry.evicted !== undefined || entry.evictedTags !== undefined) {
      evicted.push({ ...at, keys: list(entry.evicted).map(text), tags: list(entry.evictedTags).map(text) });
    }
    if (entry.tier === undefined && entry.status === undefined) continue;
    parts.push({
      ...at,
      key: text(entry.key),
      tier: entry.tier === 'memory' || entry.tier === 'redis' ? entry.tier : 'database',
      status: text(entry.status),
      age: number(entry.age),
      ttl: number(entry.ttl),
      loaded: number(entry.loaded),
      scope: entry.scope === 'private' ? 'private' : 'public',
      tags: list(entry.tags).map(text),
      truth: text(entry.truth) || undefined,
      unstored: text(entry.unstored) || undefined,
    });
  }
  return { parts: parts.map(along(parts)), evicted, ...readPolicy(extensions.cachePolicy) };
}

/**
 * A load of a row also loads what is stored beside it: `{product:7}:stock` with product:7. The
 * server reports a memory hit, since the value was in memory when the field read it. Here it counts
 * as read from the database, as it was for this response.
 */
function along(parts: readonly Part[]): (part: Part) => Part {
  const read = new Map(parts.filter((part) => part.tier === 'database').map((part) => [part.key, part.loaded]));
  return (part) => {
    const row = part.tier === 'memory' && part.loaded !== undefined ? rowOf(part.key) : undefined;
    return row !== undefined && read.get(row) === part.loaded ? { ...part, tier: 'database', status: 'along' } : part;
  };
}

/** The key of the row that a value is stored beside: product:7 of `{product:7}:stock`. */
export function rowOf(key: string): string | undefined {
  return /^\{(.+?)\}:/.exec(key)?.[1];
}

function readPolicy(policy: unknown): Pick<Report, 'decision'> {
  if (!isRecord(policy)) return {};
  return {
    decision: {
      cacheControl: text(policy.cacheControl),
      maxAgeFrom: text(policy.maxAgeFrom) || undefined,
      scopeFrom: text(policy.scopeFrom) || undefined,
    },
  };
}

/** Reports whether a part came from a cache. */
export function cached(part: Part): boolean {
  return part.tier !== 'database';
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isStep(value: unknown): value is string | number {
  return typeof value === 'string' || typeof value === 'number';
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function number(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined;
}
