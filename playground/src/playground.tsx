import { useState } from 'react';
import { GraphiQL } from 'graphiql';
import { createGraphiQLFetcher } from '@graphiql/toolkit';
import { defaultHeaders, examples } from './examples';
import { storage } from './storage';

// Beside the page, wherever a reverse proxy has put it.
const url = new URL('graphql', document.baseURI).href;

/** The response headers that tell what the cache did; GraphiQL itself shows none. */
const shownHeaders = ['Cache-Status', 'Cache-Control', 'Age'];

/** GraphiQL with our examples, and under the answer what its headers say about the cache. */
export function Playground() {
  const [answer, setAnswer] = useState('');
  // Made once: GraphiQL reads the schema anew whenever it is given another fetcher.
  const [fetcher] = useState(() =>
    createGraphiQLFetcher({
      url,
      enableIncrementalDelivery: false,
      schemaFetcher: createGraphiQLFetcher({ url }),
      fetch: async (input, init) => {
        setAnswer('');
        const response = await fetch(input, init);
        setAnswer(describe(response));
        return response;
      },
    }),
  );
  return (
    <GraphiQL
      fetcher={fetcher}
      storage={storage}
      defaultTabs={examples}
      defaultHeaders={defaultHeaders}
      defaultEditorToolsVisibility="headers"
      // Headers hold tokens, and what is in the local storage stays there for any script to read.
      shouldPersistHeaders={false}
      showPersistHeadersSettings={false}
    >
      <GraphiQL.Logo>fieldcache</GraphiQL.Logo>
      <GraphiQL.Footer>
        <output className="answer" aria-label="Response headers">
          {answer}
        </output>
      </GraphiQL.Footer>
    </GraphiQL>
  );
}

function describe(response: Response): string {
  const lines = [`HTTP ${response.status}`];
  for (const name of shownHeaders) {
    const value = response.headers.get(name);
    if (value !== null) lines.push(`${name}: ${value}`);
  }
  return lines.join('\n');
}
