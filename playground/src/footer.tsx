import { pick, useGraphiQL } from '@graphiql/react';
import { milliseconds, totals } from './cache/model.ts';
import type { Store } from './cache/store.ts';
import { useStore } from './panel/hooks.ts';

/** The response headers that say what the cache did. GraphiQL itself shows none. */
const shownHeaders = ['cache-status', 'cache-control', 'age'];

/** A line under the response: what its headers say, or how much of it came from the cache. */
export function Footer({ store }: { store: Store }) {
  const { last, pending } = useStore(store);
  const { visiblePlugin } = useGraphiQL(pick('visiblePlugin'));
  const shown = pending > 0 ? null : last;
  const words: string[] = [];
  if (shown !== null) {
    words.push(shown.status === 0 ? 'No response' : `HTTP ${shown.status}`, milliseconds(shown.took));
    if (shown.report === null) {
      const headers = new Map(shown.headers);
      for (const name of shownHeaders) {
        const value = headers.get(name);
        if (value !== undefined) words.push(name === 'age' ? `age ${value} s` : value);
      }
    } else if (shown.report.parts.length > 0) {
      const { parts, from } = totals(shown.report.parts);
      words.push(`${parts - from.database} of ${parts} parts from the cache`);
    }
  }
  return (
    <div className="answer">
      <output aria-label="Response headers">{words.join(' · ')}</output>
      {visiblePlugin?.title !== 'Cache' && (
        <button type="button" className="answer-open" onClick={showPanel}>
          Show cache
        </button>
      )}
    </div>
  );
}

/**
 * Clicks the sidebar's button: nothing else opens a pane that was hidden by dragging or from the
 * start.
 */
function showPanel() {
  document.querySelector<HTMLButtonElement>('.graphiql-sidebar button[aria-label="Show Cache"]')?.click();
}
