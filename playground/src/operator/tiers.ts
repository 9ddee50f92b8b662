import { bytes, count, duration, latencies, latency, percent, tiersOf, type Counters, type RedisState, type Sample } from './model';

const find = <T extends HTMLElement>(selector: string) => document.querySelector<T>(selector)!;

/** Fills the body of a table. The first cell of each row is its name, the others are numbers. */
function fill(selector: string, rows: string[][], empty: string) {
  const table = find<HTMLTableElement>(selector);
  table.tBodies[0]!.replaceChildren(
    ...rows.map((cells) => {
      const row = document.createElement('tr');
      cells.forEach((text, i) => {
        const cell = document.createElement(i === 0 ? 'th' : 'td');
        if (i === 0) (cell as HTMLTableCellElement).scope = 'row';
        else cell.className = 'number';
        cell.textContent = text;
        row.append(cell);
      });
      return row;
    }),
  );
  if (rows.length > 0) return;
  const cell = table.tBodies[0]!.insertRow().insertCell();
  cell.colSpan = table.tHead!.rows[0]!.cells.length;
  cell.className = 'empty';
  cell.textContent = empty;
}

const number = (n: number | undefined, format: (n: number) => string) => (n === undefined ? '–' : format(n));

/** Shows the tiers, the latency by outcome, and what Redis holds. */
export function showTiers(now: Counters, samples: Sample[]) {
  fill('#tiers', tiersOf(now, samples).map((t) => [t.name, number(t.entries, count), number(t.bytes, bytes), number(t.maxBytes, bytes), number(t.evicted, count), number(t.share, percent)]), '');
  fill(
    '#outcomes',
    latencies(now, samples).map((l) => [l.outcome, count(l.rate), percent(l.share), ...[l.mean, l.p50, l.p95, l.p99].map((s) => number(s, latency))]),
    'No request yet.',
  );
  showRedis(now.redis, Date.parse(now.when));
}

function showRedis(redis: RedisState | null, now: number) {
  const state = find('#redis-state');
  const sampled = find('#redis-sampled');
  const of = redis?.sample;
  state.className = redis?.sick ? 'bad' : redis ? 'good' : 'empty';
  state.textContent = redis?.sick ? `Not in use: ${redis.sick}` : redis ? 'OK' : 'There is none: REDIS_URL is empty.';
  const parts = [];
  if (of) {
    const bound = of.maxBytes > 0 ? ` of ${bytes(of.maxBytes)}` : '';
    if (of.bytes > 0) parts.push(`${bytes(of.bytes)}${bound} of memory.`);
    parts.push(`Sampled ${duration(Math.max(0, Math.round((now - Date.parse(of.when)) / 1000)))} ago: ${count(of.drawn)} keys drawn at random of ${count(of.keys)}.`);
  } else if (redis && !redis.sick && !redis.error) parts.push('Not sampled yet.');
  if (redis?.error) parts.push(`Sampling failed: ${redis.error}`);
  sampled.textContent = parts.join(' ');
  find('#kinds').hidden = redis === null;
  if (redis) fill('#kinds', (of?.kinds ?? []).map((k) => [k.kind, count(Math.round(k.keys)), k.bytes > 0 ? bytes(k.bytes) : '–']), of ? 'It is empty.' : 'Nothing is known yet.');
}
