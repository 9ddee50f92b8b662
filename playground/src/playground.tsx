import { useEffect, useState } from 'react';
import { pick, useGraphiQL } from '@graphiql/react';
import { GraphiQL, HISTORY_PLUGIN } from 'graphiql';
import { defaultHeaders, examples } from './examples.ts';
import { newFetcher } from './fetcher.ts';
import { Footer } from './footer.tsx';
import { readOffer } from './offer.ts';
import { newCachePlugin } from './panel/plugin.tsx';
import { Store } from './cache/store.ts';
import { firstVisit, storage } from './storage.ts';

// Relative to the page, wherever a reverse proxy serves it.
const url = new URL('graphql', document.baseURI).href;

/** In a narrower window the panel would hide the editor, so it opens by its button only. */
const wide = 900;

/**
 * GraphiQL with our examples, a panel that shows what the cache did, and its summary under the
 * response.
 */
export function Playground() {
  // Created once: GraphiQL fetches the schema again for each new fetcher.
  const [{ store, fetcher, plugins, cache, greet }] = useState(() => {
    const store = new Store();
    const offer = readOffer(url);
    const cache = newCachePlugin({ store, offer, url });
    return { store, fetcher: newFetcher(url, store, offer), cache, plugins: [cache, HISTORY_PLUGIN], greet: firstVisit() && innerWidth >= wide };
  });
  return (
    <GraphiQL
      fetcher={fetcher}
      storage={storage}
      plugins={plugins}
      visiblePlugin={greet ? cache : undefined}
      defaultTabs={examples}
      defaultHeaders={defaultHeaders}
      defaultEditorToolsVisibility={false}
      // Headers hold tokens, and any script can read the local storage.
      shouldPersistHeaders={false}
      showPersistHeadersSettings={false}
    >
      <GraphiQL.Logo>
        <h1 className="logo">fieldcache</h1>
      </GraphiQL.Logo>
      <GraphiQL.Footer>
        <Footer store={store} />
        <WrapLines />
      </GraphiQL.Footer>
    </GraphiQL>
  );
}

/**
 * Wraps long lines of operations, as GraphiQL does for responses: with a panel beside it the editor
 * is narrow.
 */
function WrapLines() {
  const { queryEditor } = useGraphiQL(pick('queryEditor'));
  useEffect(() => queryEditor?.updateOptions({ wordWrap: 'on' }), [queryEditor]);
  return null;
}
