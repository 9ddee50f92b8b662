import { explain } from '../cache/headers.ts';
import type { Run } from '../cache/run.ts';

/** The response's headers, each with its explanation. */
export function Headers({ run }: { run: Run }) {
  if (run.headers.length === 0) return null;
  return (
    <details className="cache-section cache-headers">
      <summary>
        Response headers <span className="cache-count">{run.headers.length}</span>
      </summary>
      <dl>
        {explain(run.headers, run.report !== null).map(({ name, value, meaning }) => (
          <div key={name}>
            <dt>
              <code>
                {name}: <b>{value}</b>
              </code>
            </dt>
            {meaning !== '' && <dd>{meaning}</dd>}
          </div>
        ))}
      </dl>
    </details>
  );
}
