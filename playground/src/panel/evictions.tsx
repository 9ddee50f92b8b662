import { keyMeaning, tagMeaning } from '../cache/evicted.ts';
import { pathText } from '../cache/model.ts';
import type { Evicted } from '../cache/report.ts';

/** What a mutation evicted, field by field, and why. */
export function Evictions({ evicted }: { evicted: readonly Evicted[] }) {
  return (
    <section className="cache-section" aria-label="Evicted">
      <h3>Evicted</h3>
      {evicted.map((one, i) => (
        <div key={i} className="cache-evicted">
          <p>
            <code>{pathText(one.path) || one.coordinate}</code> wrote. Before this response was sent, these were gone from memory and Redis:
          </p>
          <ul>
            {one.keys.map((key) => (
              <li key={key}>
                <code>{key}</code> <span>{keyMeaning(key)}</span>
              </li>
            ))}
            {one.tags.map((tag) => (
              <li key={tag}>
                <code>{tag}</code> <span>tag: {tagMeaning(tag)}</span>
              </li>
            ))}
          </ul>
        </div>
      ))}
    </section>
  );
}
