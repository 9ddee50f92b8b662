import { milliseconds, statements, totals, type Totals } from '../cache/model.ts';
import type { Report, Tier } from '../cache/report.ts';
import type { Run } from '../cache/run.ts';

export const tierNames: Record<Tier, string> = { memory: 'memory', redis: 'Redis', database: 'database' };
export const tiers: readonly Tier[] = ['memory', 'redis', 'database'];

/** The run in one sentence, and its parts by tier. */
export function Summary({ run }: { run: Run }) {
  const { report } = run;
  const all = totals(report?.parts ?? []);
  const facts = [milliseconds(run.took), run.status === 0 ? 'no response' : `HTTP ${run.status}`];
  if (all.parts > 0) {
    const { sent, saved } = statements(report!.parts);
    facts.push([sent > 0 ? `${plural(sent, 'statement')} sent` : 'no statement sent', saved > 0 && `${saved} saved`].filter(Boolean).join(', '));
  }
  return (
    <div className="cache-summary">
      <p className="cache-sentence">{run.errors.length > 0 && all.parts === 0 ? 'The response has errors' : report === null ? 'No report' : sentence(report, all)}</p>
      {all.parts > 0 && <TierBar from={all.from} />}
      {all.parts > 0 && (
        <ul className="cache-legend">
          {tiers.map((tier) => (
            <li key={tier} className={`tier ${tier}`} data-none={all.from[tier] === 0 || undefined}>
              {tierNames[tier]} <b>{all.from[tier]}</b>
            </li>
          ))}
        </ul>
      )}
      <p className="cache-facts">{facts.join(' · ')}</p>
      {run.errors.length > 0 && (
        <ul className="cache-errors">
          {run.errors.slice(0, 5).map((error, i) => (
            <li key={i}>{error}</li>
          ))}
        </ul>
      )}
    </div>
  );
}

export function sentence(report: Report, all: Totals): string {
  const keys = report.evicted.flatMap((one) => one.keys).length;
  const tags = report.evicted.flatMap((one) => one.tags).length;
  if (keys + tags > 0) return `Evicted ${[keys > 0 && plural(keys, 'key'), tags > 0 && plural(tags, 'tag')].filter(Boolean).join(' and ')}`;
  if (all.parts === 0) return 'Nothing was read';
  const kept = all.parts - all.from.database;
  if (kept === 0) return all.parts === 1 ? 'Read from the database' : `All ${all.parts} parts read from the database`;
  if (kept < all.parts) return `${kept} of ${all.parts} parts from the cache`;
  return all.parts === 1 ? 'Came from the cache' : `All ${all.parts} parts from the cache`;
}

/** The number of parts from each tier as one bar. The counts are beside it as text. */
export function TierBar({ from }: { from: Record<Tier, number> }) {
  return (
    <div className="cache-tiers" aria-hidden="true">
      {tiers.map((tier) => from[tier] > 0 && <span key={tier} className={tier} style={{ flexGrow: from[tier] }} />)}
    </div>
  );
}

export function plural(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? '' : 's'}`;
}
