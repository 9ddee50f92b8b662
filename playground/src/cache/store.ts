import { comparable, type Run } from './run.ts';

/** How requests are sent. */
export interface Settings {
  /** Cache-Debug: 1 goes along while the panel is open. */
  report: boolean;
  /** Cache-Control: no-cache goes along. */
  anew: boolean;
}

export interface State {
  settings: Settings;
  /** Whether the panel is shown, so that somebody reads the report. */
  open: boolean;
  /** The last run, and the one before that is comparable to it. */
  last: Run | null;
  before: Run | null;
  /** How many requests are under way. */
  pending: number;
}

/** The runs that are remembered to compare with: one for each operation and viewer. */
const remembered = 20;

/** What the fetcher knows and the panel shows. React reads it by useSyncExternalStore. */
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
