import { createLocalStorage } from '@graphiql/toolkit';

const local = createLocalStorage({ namespace: 'fieldcache' });

/**
 * The local storage under a name of our own, since many a program is served at the same
 * local address. No headers reach it: GraphiQL's history would write them along with each
 * operation, whatever `shouldPersistHeaders` says.
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

/** Reports whether GraphiQL has never been here, and gives a plugin a little more room then than GraphiQL would. */
export function firstVisit(): boolean {
  if (local.getItem('graphiql:visiblePlugin') !== null) return false;
  local.setItem('graphiql:docExplorerFlex', '0.45');
  return true;
}

function withoutHeaders(history: string): string {
  return JSON.stringify(JSON.parse(history), (key, value) => (key === 'headers' ? undefined : value));
}
