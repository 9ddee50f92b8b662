import { bound, seconds } from '../cache/model.ts';
import type { Offer } from '../cache/policies.ts';
import type { Report } from '../cache/report.ts';
import type { Run } from '../cache/run.ts';
import { Drain, Left } from './drain.tsx';

/**
 * How long the whole response may be stored, what decides it, and what to change for a longer time.
 */
export function Lasting({ run, report, policies }: { run: Run; report: Report; policies: Offer['policies'] }) {
  const b = bound(report);
  const policy = b.field === undefined ? undefined : policies[b.field];
  const stored = b.cacheControl === undefined ? b.blocking.length === 0 : b.cacheControl !== 'no-store';
  return (
    <div className="cache-lasting">
      <p className="cache-lasting-title">
        {b.cacheControl === undefined ? 'The whole response' : <code>Cache-Control: {b.cacheControl}</code>}
        {stored && b.first !== null && <Left key={run.id} part={b.first} at={run.at} />}
      </p>
      {stored && b.first !== null && <Drain key={run.id} part={b.first} at={run.at} />}
      <p>
        {stored ? (
          b.field !== undefined && (
            <>
              <code>{b.field}</code> decides it{typeof policy?.maxAge === 'number' && `: ${seconds(policy.maxAge)}`}. Raise <code>maxAge</code> there, or on its type, to
              store the whole response longer.
            </>
          )
        ) : (
          <>
            The whole response must not be stored: <code>{b.field}</code> {policy?.maxAge === 0 ? 'has no maxAge' : (b.blocking[0]?.unstored ?? 'is not stored')}.
          </>
        )}
        {stored && b.privateBy !== undefined && (
          <>
            {' '}
            <code>{b.privateBy}</code> makes it private.
          </>
        )}
      </p>
    </div>
  );
}
