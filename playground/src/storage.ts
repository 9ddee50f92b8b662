import { createLocalStorage } from '@graphiql/toolkit';

const local = createLocalStorage({ namespace: 'fieldcache' });

/**
 * The local storage with our own prefix, since many programs are served at the same local address.
 * It holds no headers: otherwise GraphiQL's history would store them with each operation, whatever
 * `shouldPersistHeaders` says.
 */
export const storage = {
  ...local,
  get length() {
    return local.length;
  },
  setItem(key: string, value: string) {
    local.setItem(key, /:(queries|favorites)$/.test(key) ? withoutHeaders(value) : value);
  },
};

/**
 * Reports whether this is the first visit, and if so makes a plugin a little wider than GraphiQL
 * does.
 */
export function firstVisit(): boolean {
  if (local.getItem('graphiql:visiblePlugin') !== null) return false;
  local.setItem('graphiql:docExplorerFlex', '0.45');
  return true;
}

function withoutHeaders(history: string): string {
  return JSON.stringify(JSON.parse(history), (key, value) => (key === 'headers' ? undefined : value));
}
