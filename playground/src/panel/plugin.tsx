import { lazy, Suspense, useEffect } from 'react';
import { Spinner, type GraphiQLPlugin } from '@graphiql/react';
import type { Offer } from '../cache/policies.ts';
import type { Store } from '../cache/store.ts';

export interface PanelProps {
  store: Store;
  offer: Promise<Offer>;
  url: string;
}

// Loaded after the editor, when it is first shown.
const Panel = lazy(() => import('./panel.tsx'));

/** The plugin that shows what the cache did. */
export function newCachePlugin(props: PanelProps): GraphiQLPlugin {
  return {
    title: 'Cache',
    icon: CacheIcon,
    content: () => {
      useEffect(() => {
        props.store.show(true);
        return () => props.store.show(false);
      }, []);
      return (
        <Suspense fallback={<Spinner />}>
          <Panel {...props} />
        </Suspense>
      );
    },
  };
}

/** An icon of layers: the upper one filled, lower ones outlined. */
function CacheIcon() {
  return (
    <svg height="1em" viewBox="0 0 24 24" fill="none" stroke="currentColor" strokeWidth="1.6" strokeLinejoin="round" strokeLinecap="round" aria-hidden="true">
      <path d="M12 3 3.5 7.5 12 12l8.5-4.5z" fill="currentColor" />
      <path d="m3.5 12 8.5 4.5 8.5-4.5" />
      <path d="M3.5 16.5 12 21l8.5-4.5" />
    </svg>
  );
}
