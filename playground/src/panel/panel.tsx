import { lazy, Suspense, use, useState } from 'react';
import { Button, ButtonGroup, pick, useGraphiQL, useGraphiQLActions } from '@graphiql/react';
import { diff } from '../cache/diff.ts';
import { typesOf } from '../cache/evicted.ts';
import { milliseconds, totals } from '../cache/model.ts';
import type { Run } from '../cache/run.ts';
import { evict, type Eviction } from '../offer.ts';
import { Evictions } from './evictions.tsx';
import { Headers } from './headers.tsx';
import { Lasting } from './lasting.tsx';
import type { PanelProps } from './plugin.tsx';
import { Comparison } from './comparison.tsx';
import { Summary, sentence } from './summary.tsx';
import { useStore } from './hooks.ts';
import './panel.css';

// Includes the tree, which is most of the panel's code. Loaded after the first response.
const Parts = lazy(() => import('./parts.tsx'));

/** What the cache did for the last operation. */
export default function Panel({ store, offer, url }: PanelProps) {
  const { settings, last, before, pending } = useStore(store);
  const { debug, policies } = use(offer);
  const [said, setSaid] = useState({ run: 0, text: '', keys: [] as readonly string[] });
  const run = last;
  const evicted = said.run === run?.id ? said.keys : [];

  const evictNow = debug
    ? async (what: Eviction, name: string) => {
        const say = (text: string, keys: readonly string[]) => setSaid({ run: run?.id ?? 0, text, keys: [...evicted, ...keys] });
        try {
          await evict(url, what, run?.asker ?? '');
          say(`Evicted ${name}. Run again to see it loaded again.`, what.keys ?? keysOfTypes(run, what.types ?? []));
        } catch (error) {
          say(`Not evicted: ${error instanceof Error ? error.message : String(error)}`, []);
        }
      }
    : undefined;

  return (
    <section className="cache-panel" aria-label="Cache" data-run={run?.id} data-parts={run?.report?.parts.length ?? 0}>
      <header className="cache-header">
        <div className="cache-title">Cache</div>
        <RunButtons store={store} />
      </header>
      <div className="cache-switches">
        <Toggle label="Report" hint="Cache-Debug: 1" value={settings.report} onChange={(report) => store.set({ report })} />
        <Toggle label="Skip the cache" hint="no-cache" value={settings.anew} onChange={(anew) => store.set({ anew })} />
      </div>
      <div role="status" className="graphiql-sr-only cache-sr-only">
        {pending > 0 ? '' : said.run === run?.id ? said.text : run === null ? '' : spoken(run)}
      </div>
      {said.text !== '' && said.run === run?.id && <p className="cache-said">{said.text}</p>}
      {run === null ? (
        <Welcome />
      ) : (
        <div className={pending > 0 ? 'cache-run pending' : 'cache-run'}>
          <Summary run={run} />
          {run.report === null && <Unreported run={run} report={settings.report} />}
          {run.report !== null && run.report.evicted.length > 0 && <Evictions evicted={run.report.evicted} />}
          {run.report !== null && run.report.parts.length > 0 && (
            <>
              {run.kind === 'query' && run.errors.length === 0 && <Lasting run={run} report={run.report} policies={policies} />}
              {before?.report && run.kind === 'query' && <Comparison diff={diff(before, run)} anew={run.anew} />}
              <Suspense fallback={null}>
                <Parts key={run.id} run={run} policies={policies} evicted={evicted} evict={evictNow} />
              </Suspense>
            </>
          )}
          <Headers run={run} />
        </div>
      )}
    </section>
  );
}

/** The keys of a run's parts that belong to one of the types. */
function keysOfTypes(run: Run | null, types: readonly string[]): string[] {
  return (run?.report?.parts ?? []).filter((part) => typesOf(part.tags).some((type) => types.includes(type))).map((part) => part.key);
}

function spoken(run: Run): string {
  if (run.errors.length > 0) return `Response with ${run.errors.length === 1 ? 'an error' : `${run.errors.length} errors`}, after ${milliseconds(run.took)}.`;
  return run.report === null ? '' : `${sentence(run.report, totals(run.report.parts))}, in ${milliseconds(run.took)}.`;
}

function Toggle({ label, hint, value, onChange }: { label: string; hint: string; value: boolean; onChange(value: boolean): void }) {
  return (
    <label className="cache-switch">
      <input type="checkbox" role="switch" checked={value} onChange={(event) => onChange(event.target.checked)} />
      <span>
        {label} <code>{hint}</code>
      </span>
    </label>
  );
}

/**
 * Runs the operation: in a narrow window the panel covers GraphiQL's own button. "Run twice"
 * bypasses the cache first and then uses it, so that the comparison shows what the cache saves.
 */
function RunButtons({ store }: Pick<PanelProps, 'store'>) {
  const { run } = useGraphiQLActions();
  const { isFetching, queryEditor } = useGraphiQL(pick('isFetching', 'queryEditor'));
  const twice = async () => {
    const { settings } = store.get();
    try {
      for (const anew of [true, false]) {
        store.set({ report: true, anew });
        const ended = nextRun(store);
        run();
        // Nothing is sent if the variables or headers are not JSON; GraphiQL says so.
        if (store.get().pending === 0) return;
        await ended;
      }
    } finally {
      store.set(settings);
    }
  };
  const disabled = isFetching || queryEditor === undefined;
  return (
    <ButtonGroup>
      <Button type="button" disabled={disabled} onClick={run}>
        Run
      </Button>
      <Button type="button" disabled={disabled} onClick={() => void twice()}>
        Run twice
      </Button>
    </ButtonGroup>
  );
}

/** Resolves when the current request, or the next one, has ended. */
function nextRun({ get, subscribe }: PanelProps['store']): Promise<void> {
  const { last } = get();
  return new Promise((resolve) => {
    const stop = subscribe(() => {
      if (get().last === last) return;
      stop();
      resolve();
    });
  });
}

function Welcome() {
  return (
    <div className="cache-welcome">
      <p>Run the operation to see where each part of its response comes from, and how long it stays.</p>
      <dl>
        <dt className="tier memory">memory</dt>
        <dd>cached in this gateway</dd>
        <dt className="tier redis">Redis</dt>
        <dd>cached in Redis by any gateway</dd>
        <dt className="tier database">database</dt>
        <dd>read now, and cached from here on</dd>
      </dl>
    </div>
  );
}

function Unreported({ run, report }: { run: Run; report: boolean }) {
  if (run.status === 0) return null;
  const why = !report
    ? 'The report is off: the response is what every other client gets.'
    : run.asked
      ? 'The response has no report: it was refused before anything was read, or the server has CACHE_DEBUG off.'
      : 'No report was asked for: the panel was closed, or the operation’s own headers say otherwise. Run it again.';
  return <p className="cache-note">{why}</p>;
}
