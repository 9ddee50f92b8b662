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

// Beside the page, wherever a reverse proxy has put it.
const url = new URL('graphql', document.baseURI).href;

/** Narrower than this, the panel would hide the editor: it is opened by its button. */
const wide = 900;

/** GraphiQL with our examples, a panel that shows what the cache did, and a line of it under the response. */
export function Playground() {
  // Made once: GraphiQL reads the schema anew whenever it is given another fetcher.
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
      // Headers hold tokens, and what is in the local storage stays there for any script to read.
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

/** Wraps long lines of operations, as GraphiQL does those of responses: beside a panel, the editor is narrow. */
function WrapLines() {
  const { queryEditor } = useGraphiQL(pick('queryEditor'));
  useEffect(() => queryEditor?.updateOptions({ wordWrap: 'on' }), [queryEditor]);
  return null;
}
