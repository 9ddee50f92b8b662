type GetWorker = (id: string, label: string) => Promise<Worker> | Worker;

/** The editors of variables and headers, with the tabs above them. */
const jsonEditors = '.graphiql-editor-tools, .graphiql-editor-tool';

/**
 * Starts the worker that checks JSON when somebody turns to what is JSON: variables or headers. Monaco would load it, a tenth
 * of the page, together with editors that are hidden at first.
 */
export function deferJson(): void {
  const environment = (globalThis as unknown as { MonacoEnvironment: { getWorker: GetWorker } }).MonacoEnvironment;
  const { getWorker } = environment;
  const asked = new Promise<void>((resolve) => {
    const look = ({ target }: Event) => {
      if (!(target instanceof Element) || target.closest(jsonEditors) === null) return;
      for (const name of ['pointerdown', 'focusin']) document.removeEventListener(name, look);
      resolve();
    };
    for (const name of ['pointerdown', 'focusin']) document.addEventListener(name, look);
  });
  environment.getWorker = (id, label) => (label === 'json' ? asked.then(() => getWorker(id, label)) : getWorker(id, label));
}
