import { milliseconds } from '../cache/model.ts';
import type { Diff } from '../cache/diff.ts';
import { plural, tierNames } from './summary.tsx';

/** How the run differs from the last comparable one. */
export function Comparison({ diff, anew }: { diff: Diff; anew: boolean }) {
  const ratio = diff.before / diff.after;
  const rest = [
    diff.same > 0 && `${plural(diff.same, 'part')} as before`,
    diff.gone > 0 && `${plural(diff.gone, 'part')} no longer there`,
  ].filter((words) => words !== false);
  return (
    <section className="cache-section" aria-label="Compared with the last run">
      <h3>Compared with the last run</h3>
      <p className="cache-times">
        <span>
          {milliseconds(diff.before)} <span aria-label="then">→</span> <b>{milliseconds(diff.after)}</b>
        </span>
        {!anew && ratio >= 1.5 && <span className="cache-mark better">{ratio >= 10 ? Math.round(ratio) : ratio.toFixed(1)}× faster</span>}
        <span>{diff.dataChanged ? 'The data changed.' : 'The data is the same.'}</span>
      </p>
      {diff.changes.length > 0 && (
        <ul className="cache-changes">
          {diff.changes.map(({ field, parts, from, to, why, trend }, i) => (
            <li key={i} className={trend}>
              <span className="cache-field">
                {field} {parts.length > 1 && <span className="cache-count">×{parts.length}</span>}
              </span>
              <span>
                {from !== null && from !== to && `${tierNames[from]} → `}
                {tierNames[to]}
              </span>
              <span className="cache-why">
                {parts.length === 1 && <code>{parts[0]!.key}</code>} {why}
              </span>
            </li>
          ))}
        </ul>
      )}
      {rest.length > 0 && <p className="cache-note">{rest.join(' · ')}</p>}
    </section>
  );
}
