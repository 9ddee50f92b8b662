type GetWorker = (id: string, label: string) => Promise<Worker> | Worker;

/** The editors of variables and headers, with the tabs above them. */
const jsonEditors = '.graphiql-editor-tools, .graphiql-editor-tool';

/** The editor of operations. */
const operations = '.graphiql-query-editor';

/**
 * Starts workers when they are first needed: the JSON worker for the editors of variables and
 * headers, the GraphQL worker and Monaco's own for the editor of operations. Monaco would load
 * them, a third of the page, before anything is typed.
 */
export function deferWorkers(): void {
  const environment = (globalThis as unknown as { MonacoEnvironment: { getWorker: GetWorker } }).MonacoEnvironment;
  const { getWorker } = environment;
  const json = turnedTo(jsonEditors);
  const graphql = turnedTo(operations);
  environment.getWorker = (id, label) => (label === 'json' ? json : graphql).then(() => getWorker(id, label));
}

/** Resolves when the pointer or the focus first enters an element that matches the selector. */
function turnedTo(selector: string): Promise<void> {
  const events = ['pointerover', 'pointerdown', 'focusin'];
  return new Promise((resolve) => {
    const look = ({ target }: Event) => {
      if (!(target instanceof Element) || target.closest(selector) === null) return;
      for (const name of events) document.removeEventListener(name, look);
      resolve();
    };
    for (const name of events) document.addEventListener(name, look);
  });
}
