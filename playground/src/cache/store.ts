import { comparable, type Run } from './run.ts';

/** How requests are sent. */
export interface Settings {
  /** Whether to send Cache-Debug: 1 while the panel is open. */
  report: boolean;
  /** Whether to send Cache-Control: no-cache. */
  anew: boolean;
}

export interface State {
  settings: Settings;
  /** Whether the panel is shown. Otherwise nobody reads the report. */
  open: boolean;
  /** The last run, and the comparable one before it. */
  last: Run | null;
  before: Run | null;
  /** The number of requests in flight. */
  pending: number;
}

/** How many runs are kept for comparison: one for each operation and viewer. */
const remembered = 20;

/**
 * The state that the fetcher updates and the panel shows. React reads it with useSyncExternalStore.
 */
export class Store {
  #state: State = { settings: { report: true, anew: false }, open: false, last: null, before: null, pending: 0 };
  #runs: Run[] = [];
  #listeners = new Set<() => void>();

  readonly get = (): State => this.#state;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  set(settings: Partial<Settings>): void {
    this.#change({ settings: { ...this.#state.settings, ...settings } });
  }

  show(open: boolean): void {
    if (open !== this.#state.open) this.#change({ open });
  }

  begin(): void {
    this.#change({ pending: this.#state.pending + 1 });
  }

  end(run: Run): void {
    const at = this.#runs.findIndex((one) => comparable(one, run));
    const before = at < 0 ? null : this.#runs[at]!;
    if (at >= 0) this.#runs.splice(at, 1);
    this.#runs = [run, ...this.#runs].slice(0, remembered);
    this.#change({ pending: this.#state.pending - 1, last: run, before });
  }

  #change(change: Partial<State>): void {
    this.#state = { ...this.#state, ...change };
    for (const listener of this.#listeners) listener();
  }
}
