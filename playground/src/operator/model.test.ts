import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asked, bytes, count, duration, healthOf, hitShare, latencies, latency, percent, quantile, sampleOf, sum, tiersOf, type Coordinate, type Counters } from './model.ts';

const coordinate = (change: Partial<Coordinate> = {}): Coordinate => ({
  coordinate: 'Product.stock', memory: 0, redis: 0, misses: 0, collapsed: 0, stale: 0, bypassed: 0, failed: 0, ...change,
});

const counters = (seconds: number, metrics: Counters['metrics'], ...coordinates: Coordinate[]): Counters => ({
  when: new Date(1_800_000_000_000 + 1000 * seconds).toISOString(), coordinates, metrics, skipped: 0, top: [], soonest: [], looked: 0, outcomes: [], redis: null,
});

test('metrics are summed over their labels', () => {
  const m = { 'a_total{tier="memory"}': 2, 'a_total{tier="redis"}': 3, a_total_more: 7, b: null };
  assert.deepEqual([sum(m, 'a_total'), sum(m, 'a_total', 'tier="redis"'), sum(m, 'b')], [5, 3, 0]);
});

test('a sample is what happened between two events', async (t) => {
  const request = 'fieldcache_http_request_duration_seconds';
  const metrics = (n: number): Counters['metrics'] => ({
    [`${request}_count{code="200"}`]: 10 * n,
    [`${request}_sum{code="200"}`]: 0.05 * n,
    fieldcache_answer_hits_total: 6 * n,
    'fieldcache_hits_total{tier="memory"}': 20 * n,
    fieldcache_misses_total: 4 * n,
    'fieldcache_evictions_total{cause="mutation"}': n,
    fieldcache_memory_bytes: 4096,
  });
  await t.test('per second', () => {
    const s = sampleOf(counters(0, metrics(1), coordinate({ memory: 4 })), counters(2, metrics(3), coordinate({ memory: 8, misses: 2 })))!;
    assert.deepEqual([s.requests, s.responseHits, s.memory, s.database, s.evictions.mutation, s.valueBytes], [10, 6, 20, 4, 1, 4096]);
    assert.equal(s.latency?.toFixed(3), '5.000');
    assert.equal(s.loads.get('Product.stock'), 3);
  });
  await t.test('nobody asked', () => assert.equal(sampleOf(counters(0, metrics(1)), counters(1, metrics(1)))?.latency, undefined));
  await t.test('the server was started anew', () => assert.equal(sampleOf(counters(0, metrics(3)), counters(1, metrics(1))), undefined));
  await t.test('the clock did not move', () => assert.equal(sampleOf(counters(1, metrics(1)), counters(1, metrics(2))), undefined));
});

test('what needed no load', () => {
  assert.equal(hitShare(coordinate()), undefined);
  const c = coordinate({ memory: 6, redis: 1, collapsed: 1, misses: 2 });
  assert.deepEqual([asked(c), hitShare(c)], [10, 0.8]);
});

test('health is told in words', () => {
  const words = (m: Counters['metrics']) => Object.fromEntries(healthOf(m).map((h) => [h.name, `${h.state}: ${h.text}`]));
  assert.deepEqual(words({ fieldcache_audits_total: 1200, fieldcache_lease_held: 1 }), {
    Redis: 'good: ok', Outbox: 'good: no backlog', Triggers: 'good: in place', Audits: 'good: 1.2k, 0 stale', Lease: 'good: held', Queue: 'good: empty',
  });
  assert.deepEqual(words({
    fieldcache_redis_sick: 1, fieldcache_outbox_backlog: 1, fieldcache_outbox_lag_seconds: 12, fieldcache_tables_unnoted: 2,
    fieldcache_audits_total: 9, fieldcache_audits_stale_total: 1, fieldcache_audits_leaks_total: 2, fieldcache_lease_losses_total: 3, fieldcache_waiting: 7,
  }), {
    Redis: 'bad: not in use', Outbox: 'bad: 1 row waits, 12.0 s', Triggers: 'bad: missing on 2 tables', Audits: 'bad: 9, 1 stale, 2 leaked',
    Lease: 'bad: not held, lost 3 times', Queue: 'good: 7 wait',
  });
  // Rows that are still waiting are no reason to worry.
  const outbox = (lag: number) => words({ fieldcache_outbox_backlog: 6, fieldcache_outbox_lag_seconds: lag }).Outbox;
  assert.deepEqual([outbox(0), outbox(2)], ['good: 6 rows wait, 0.0 s', 'warn: 6 rows wait, 2.0 s']);
});

test('numbers are short', () => {
  assert.deepEqual([0, 3.25, 42, 1234, 56_789, 2e6].map(count), ['0', '3.3', '42', '1.2k', '57k', '2.0M']);
  assert.deepEqual([0, 512, 1536, 20 * 1024 * 1024].map(bytes), ['0 B', '512 B', '1.5 KiB', '20 MiB']);
  assert.deepEqual([undefined, 0, 0.003, 0.5, 0.995, 1].map(percent), ['', '0 %', '0.3 %', '50 %', '99.5 %', '100 %']);
  assert.deepEqual([undefined, 0.5, 30, 90, 300, 3600, 86_400].map(duration), ['', '0.5 s', '30 s', '90 s', '5 min', '1 h', '1 d']);
});

test('quantiles are estimated within a bucket', () => {
  const buckets = [{ le: 0.1, count: 10 }, { le: 0.2, count: 10 }, { le: 0.4, count: 20 }];
  const of = (share: number) => quantile(share, { count: 40, buckets });
  assert.deepEqual([of(0.125), of(0.25), of(0.375), of(0.5), of(0.75)].map((s) => s?.toFixed(3)), ['0.050', '0.100', '0.300', '0.400', 'Infinity']);
  assert.equal(quantile(0.5, { count: 0, buckets }), undefined);
  assert.deepEqual([undefined, 0.0005, 0.042, 1.25, Infinity].map(latency), ['', '0.50 ms', '42 ms', '1.3 s', '> 6.6 s']);
});

test('latency is that of what came since', () => {
  const at = (second: number, hits: number, executed: number): Counters => ({
    ...counters(second, {}),
    outcomes: [
      { outcome: 'executed', count: executed, sum: executed * 0.02, buckets: [{ le: 0.01, count: 0 }, { le: 0.03, count: executed }] },
      { outcome: 'hit', count: hits, sum: hits * 0.001, buckets: [{ le: 0.01, count: hits }, { le: 0.03, count: hits }] },
    ],
  });
  const all = [at(0, 1000, 0), at(1, 1100, 10), at(2, 1180, 20)];
  const samples = [sampleOf(all[0]!, all[1]!)!, sampleOf(all[1]!, all[2]!)!];
  assert.deepEqual(latencies(all[2]!, []), []);
  const [executed, hit] = latencies(all[2]!, samples);
  assert.deepEqual([executed?.outcome, executed?.rate, executed?.share, executed?.p50?.toFixed(3), executed?.mean?.toFixed(3)], ['executed', 10, 0.1, '0.020', '0.020']);
  assert.deepEqual([hit?.outcome, hit?.rate, hit?.share, hit?.p50?.toFixed(3)], ['hit', 90, 0.9, '0.005']);
});

test('tiers show what they hold and how often they had it', () => {
  const at = (second: number): Counters => counters(second, {
    'fieldcache_http_request_duration_seconds_count{code="200"}': 10 * second, fieldcache_answer_hits_total: 4 * second, 'fieldcache_hits_total{tier="memory"}': 5 * second,
    'fieldcache_hits_total{tier="redis"}': 3 * second, fieldcache_misses_total: 2 * second, fieldcache_answer_entries: 7, fieldcache_memory_entries: 9, fieldcache_memory_bytes: 2048,
    fieldcache_memory_overflows_total: 3, 'fieldcache_memory_max_bytes{of="values"}': 8192,
  });
  const samples = [sampleOf(at(1), at(2))!];
  assert.deepEqual(tiersOf(at(2), samples), [
    { name: 'Responses in memory', entries: 7, bytes: 0, maxBytes: undefined, evicted: 0, share: 0.4 },
    { name: 'Values in memory', entries: 9, bytes: 2048, maxBytes: 8192, evicted: 3, share: 0.5 },
  ]);
  const redis = { sample: { when: '', bytes: 4096, maxBytes: 16384, evicted: 1, keys: 12, drawn: 12, kinds: [] } };
  assert.deepEqual(tiersOf({ ...at(2), redis }, samples)[2], { name: 'Redis', entries: 12, bytes: 4096, maxBytes: 16384, evicted: 1, share: 0.6 });
  assert.deepEqual(tiersOf({ ...at(2), redis: { sample: null } }, [])[2], { name: 'Redis', entries: undefined, bytes: undefined, maxBytes: undefined, evicted: undefined, share: undefined });
});
