// What the page shows, computed from what the server sends. Nothing here uses the DOM.

export interface Coordinate {
  coordinate: string;
  maxAge?: number; // seconds
  scope?: string;
  /** What evicts its values besides their age: rows, observed, tags; with ttl, nothing does. */
  truth?: string;
  memory: number;
  redis: number;
  misses: number;
  collapsed: number;
  stale: number;
  bypassed: number;
  failed: number;
}

export interface Counters {
  when: string;
  coordinates: Coordinate[];
  metrics: Record<string, number | null>;
  skipped: number;
  /** The keys with most hits in memory and Redis, sampled since the page was opened. */
  top: { key: string; hits: number }[];
  /** The entries in memory that expire next, of those that were checked; ttl in seconds. */
  soonest: { key: string; ttl: number }[];
  looked: number;
  /** The latency of requests to /graphql since the start, by outcome. */
  outcomes: Outcome[];
  redis: RedisState | null;
}

export interface Outcome {
  outcome: string;
  count: number;
  sum: number; // seconds
  buckets: { le: number; count: number }[];
}

export interface RedisState {
  sick?: string; // why it is not used
  error?: string; // why it could not be sampled
  sample: RedisSample | null;
}

export interface RedisSample {
  when: string;
  bytes: number; // 0 if unknown
  maxBytes: number; // 0 without a limit
  evicted: number; // for lack of memory
  keys: number;
  drawn: number;
  kinds: { kind: string; keys: number; bytes: number }[] | null; // estimated
}

export interface Eviction {
  when: string;
  cause: string;
  keys: string[];
  tags: string[];
  more?: number;
  xid?: string;
}

export const asked = (c: Coordinate) => c.memory + c.redis + c.misses + c.collapsed + c.stale + c.bypassed + c.failed;

/** The share of values that needed no load; undefined without requests. */
export const hitShare = (c: Coordinate) => {
  const all = asked(c);
  return all === 0 ? undefined : (c.memory + c.redis + c.collapsed) / all;
};

/** The sum of a metric over all label sets that match. */
export function sum(m: Counters['metrics'], name: string, label = ''): number {
  let total = 0;
  for (const [key, value] of Object.entries(m)) {
    if (key === name || (key.startsWith(name + '{') && key.includes(label))) total += value ?? 0;
  }
  return total;
}

/** One second of the charts. Everything is per second, except levels. */
export interface Sample {
  at: number; // seconds since 1970
  from: number; // when it began, in the same unit
  requests: number;
  responseHits: number; // requests served from the cache of whole responses
  memory: number;
  redis: number;
  database: number;
  evictions: Record<string, number>; // by cause
  latency?: number; // the mean in milliseconds
  valueBytes: number;
  responseBytes: number;
  cpu: number; // cores
  loads: Map<string, number>; // values requested, by coordinate
  outcomes: Outcome[]; // at its start
}

export const causes = ['mutation', 'outbox', 'notice', 'hand'];

const request = 'fieldcache_http_request_duration_seconds';

/** The difference between two events; undefined if the server was restarted in between. */
export function sampleOf(before: Counters, now: Counters): Sample | undefined {
  const seconds = (Date.parse(now.when) - Date.parse(before.when)) / 1000;
  if (!(seconds > 0)) return undefined;
  const grew = (name: string, label = '') => (sum(now.metrics, name, label) - sum(before.metrics, name, label)) / seconds;
  const requests = grew(request + '_count');
  if (requests < 0) return undefined;
  const old = new Map(before.coordinates.map((c) => [c.coordinate, asked(c)]));
  return {
    at: Date.parse(now.when) / 1000,
    from: Date.parse(before.when) / 1000,
    requests,
    responseHits: grew('fieldcache_answer_hits_total'),
    memory: grew('fieldcache_hits_total', 'tier="memory"'),
    redis: grew('fieldcache_hits_total', 'tier="redis"'),
    database: grew('fieldcache_misses_total'),
    evictions: Object.fromEntries(causes.map((c) => [c, grew('fieldcache_evictions_total', `cause="${c}"`)])),
    latency: requests > 0 ? (1000 * grew(request + '_sum')) / requests : undefined,
    valueBytes: sum(now.metrics, 'fieldcache_memory_bytes'),
    responseBytes: sum(now.metrics, 'fieldcache_answer_bytes'),
    cpu: grew('process_cpu_seconds_total'),
    loads: new Map(now.coordinates.map((c) => [c.coordinate, (asked(c) - (old.get(c.coordinate) ?? 0)) / seconds])),
    outcomes: before.outcomes,
  };
}

/** The number of samples in a minute. */
export const minute = 60;

/**
 * The time in seconds within which a share of requests ended, estimated from a histogram as
 * Prometheus does: values are spread evenly within a bucket. Infinity if it is beyond the last
 * bucket; undefined without requests.
 */
export function quantile(share: number, o: Pick<Outcome, 'count' | 'buckets'>): number | undefined {
  if (o.count <= 0) return undefined;
  const rank = share * o.count;
  let [below, passed] = [0, 0];
  for (const b of o.buckets) {
    if (b.count >= rank && b.count > passed) return below + ((b.le - below) * (rank - passed)) / (b.count - passed);
    [below, passed] = [b.le, b.count];
  }
  return Infinity;
}

export interface Latency {
  outcome: string;
  rate: number; // requests per second
  share: number; // of all requests
  mean?: number; // seconds, as are the quantiles
  p50?: number;
  p95?: number;
  p99?: number;
}

/** The latency of each outcome in the last minute, or since the page was opened. */
export function latencies(now: Counters, samples: Sample[]): Latency[] {
  const first = samples.slice(-minute)[0];
  if (first === undefined) return [];
  const seconds = Date.parse(now.when) / 1000 - first.from;
  const grew = now.outcomes.map((o) => {
    const old = first.outcomes.find((b) => b.outcome === o.outcome);
    return {
      outcome: o.outcome,
      count: o.count - (old?.count ?? 0),
      sum: o.sum - (old?.sum ?? 0),
      buckets: o.buckets.map((b, i) => ({ le: b.le, count: b.count - (old?.buckets[i]?.count ?? 0) })),
    };
  });
  const all = grew.reduce((n, o) => n + o.count, 0);
  return grew.map((o) => ({
    outcome: o.outcome,
    rate: o.count / seconds,
    share: all > 0 ? o.count / all : 0,
    mean: o.count > 0 ? o.sum / o.count : undefined,
    p50: quantile(0.5, o),
    p95: quantile(0.95, o),
    p99: quantile(0.99, o),
  }));
}

export interface Tier {
  name: string;
  entries?: number;
  bytes?: number;
  maxBytes?: number; // undefined without a limit
  evicted?: number; // by size, since the start
  share?: number; // of its requests in the last minute
}

/** The tiers in the order of look-ups. */
export function tiersOf(now: Counters, samples: Sample[]): Tier[] {
  const last = samples.slice(-minute);
  const total = (of: (s: Sample) => number) => last.reduce((n, s) => n + of(s), 0);
  const share = (hits: number, of: number) => (of > 0 ? hits / of : undefined);
  const [requests, responses] = [total((s) => s.requests), total((s) => s.responseHits)];
  const [memory, redis, database] = [total((s) => s.memory), total((s) => s.redis), total((s) => s.database)];
  const metric = (name: string) => sum(now.metrics, name);
  const most = (of: string) => sum(now.metrics, 'fieldcache_memory_max_bytes', `of="${of}"`) || undefined;
  const list: Tier[] = [
    {
      name: 'Responses in memory', entries: metric('fieldcache_answer_entries'), bytes: metric('fieldcache_answer_bytes'), maxBytes: most('responses'),
      evicted: metric('fieldcache_answer_overflows_total'), share: share(responses, requests),
    },
    {
      name: 'Values in memory', entries: metric('fieldcache_memory_entries'), bytes: metric('fieldcache_memory_bytes'), maxBytes: most('values'),
      evicted: metric('fieldcache_memory_overflows_total'), share: share(memory, memory + redis + database),
    },
  ];
  if (now.redis) {
    const of = now.redis.sample;
    list.push({ name: 'Redis', entries: of?.keys, bytes: of?.bytes || undefined, maxBytes: of?.maxBytes || undefined, evicted: of?.bytes ? of.evicted : undefined, share: share(redis, redis + database) });
  }
  return list;
}

export interface Health {
  name: string;
  text: string;
  state: 'good' | 'warn' | 'bad';
}

export function healthOf(m: Counters['metrics']): Health[] {
  const list: Health[] = [];
  const sick = sum(m, 'fieldcache_redis_sick');
  list.push({ name: 'Redis', text: sick ? 'not in use' : 'ok', state: sick ? 'bad' : 'good' });
  const lag = sum(m, 'fieldcache_outbox_lag_seconds');
  const backlog = sum(m, 'fieldcache_outbox_backlog');
  list.push({ name: 'Outbox', text: backlog ? `${backlog === 1 ? '1 row waits' : `${count(backlog)} rows wait`}, ${lag.toFixed(1)} s` : 'no backlog', state: lag > 10 ? 'bad' : lag > 1 ? 'warn' : 'good' });
  const unnoted = sum(m, 'fieldcache_tables_unnoted');
  list.push({ name: 'Triggers', text: unnoted ? `missing on ${unnoted} tables` : 'in place', state: unnoted ? 'bad' : 'good' });
  const stale = sum(m, 'fieldcache_audits_stale_total');
  const leaks = sum(m, 'fieldcache_audits_leaks_total');
  list.push({
    name: 'Audits',
    text: [count(sum(m, 'fieldcache_audits_total')), `${count(stale)} stale`, leaks > 0 && `${count(leaks)} leaked`].filter(Boolean).join(', '),
    state: stale > 0 || leaks > 0 ? 'bad' : 'good',
  });
  const lost = sum(m, 'fieldcache_lease_losses_total');
  const lease = sum(m, 'fieldcache_lease_held') > 0;
  list.push({ name: 'Lease', text: [lease ? 'held' : 'not held', lost > 0 && `lost ${count(lost)} times`].filter(Boolean).join(', '), state: !lease ? 'bad' : lost > 0 ? 'warn' : 'good' });
  const waiting = sum(m, 'fieldcache_waiting');
  list.push({ name: 'Queue', text: waiting ? `${count(waiting)} wait` : 'empty', state: waiting > 100 ? 'warn' : 'good' });
  return list;
}

export function count(n: number): string {
  if (n < 1000) return n < 10 && n % 1 !== 0 ? n.toFixed(1) : Math.round(n).toString();
  for (const [unit, size] of [['G', 1e9], ['M', 1e6], ['k', 1e3]] as const) {
    if (n >= size) return (n / size).toFixed(n / size < 10 ? 1 : 0) + unit;
  }
  return n.toString();
}

export const percent = (share: number | undefined) => (share === undefined ? '' : `${(100 * share).toFixed((share < 0.9995 && share > 0.99) || (share >= 0.0005 && share < 0.01) ? 1 : 0)} %`);

export function bytes(n: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB'];
  let i = 0;
  for (; n >= 1024 && i < units.length - 1; i++) n /= 1024;
  return `${n.toFixed(n < 10 && i > 0 ? 1 : 0)} ${units[i]}`;
}

/** A latency in seconds. Infinity means more than the last bucket of the histogram. */
export function latency(seconds: number | undefined): string {
  if (seconds === undefined) return '';
  if (seconds === Infinity) return '> 6.6 s';
  const ms = 1000 * seconds;
  return ms >= 1000 ? `${seconds.toFixed(1)} s` : `${ms.toFixed(ms < 10 ? 2 : 0)} ms`;
}

export function duration(seconds: number | undefined): string {
  if (seconds === undefined) return '';
  for (const [unit, size] of [['d', 86400], ['h', 3600], ['min', 60]] as const) {
    if (seconds >= size && seconds % size === 0) return `${seconds / size} ${unit}`;
  }
  return `${seconds < 10 && seconds % 1 !== 0 ? seconds.toFixed(1) : Math.round(seconds)} s`;
}
