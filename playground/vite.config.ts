import { defineConfig, type Plugin } from 'vite';

/** Parts of Monaco that are not used here, as words in the import paths of these files. */
const unused: Record<string, string[]> = {
  'editor/editor.all.js': [
    'anchorSelect',
    'codeAction',
    'codelens',
    'colorPicker',
    'diffEditor.contribution',
    'diffEditorBreadcrumbs',
    'documentSymbols',
    'dropIntoEditor',
    'copyPasteContribution',
    'fontZoom',
    'gotoSymbol',
    'inPlaceReplace',
    'inlayHints',
    'inlineCompletions',
    'suggestInlineCompletions',
    'inlineEdit',
    'inlineProgress',
    'linkedEditing',
    'parameterHints',
    'rename',
    'sectionHeaders',
    'semanticTokens',
    'stickyScroll',
    'wordPartOperations',
  ],
  'editor/edcore.main.js': ['inspectTokens', 'standaloneGotoSymbolQuickAccess', 'standaloneReferenceSearch'],
};

/**
 * Diff editors, which Monaco's API exports and nothing here uses. Without them the code that
 * computes differences is dropped too.
 */
const stubs: Record<string, string> = {
  'browser/widget/diffEditor/diffEditorWidget.js': 'export class DiffEditorWidget {}',
  'browser/widget/multiDiffEditor/multiDiffEditorWidget.js': 'export class MultiDiffEditorWidget {}',
};

const monaco = '/monaco-editor/esm/vs/';

/** Leaves out a sixth of Monaco. */
const lessMonaco: Plugin = {
  name: 'less-monaco',
  load: {
    filter: { id: /DiffEditorWidget\.js$/i },
    handler: (id) => Object.entries(stubs).find(([path]) => id.endsWith(`${monaco}editor/${path}`))?.[1],
  },
  transform: {
    filter: { id: /\/(editor\.all|edcore\.main)\.js$/ },
    handler(code, id) {
      const words = Object.entries(unused).find(([path]) => id.endsWith(monaco + path))?.[1];
      if (words === undefined) return null;
      const lines = code.split('\n');
      for (const word of words) if (!lines.some((line) => line.includes(word))) this.error(`Monaco has no ${word}: leave it out of the list`);
      return { code: lines.filter((line) => !words.some((word) => line.includes(word))).join('\n'), map: null };
    },
  },
};

/**
 * Loads the documentation explorer when it is first opened. GraphiQL refers to its component where
 * it creates the plugin. Otherwise it would load it, with a Markdown renderer and a combobox,
 * before the editor.
 */
const lazyDocs: Plugin = {
  name: 'lazy-docs',
  enforce: 'pre',
  resolveId: {
    filter: { id: /^\.\/components\/doc-explorer\.js$/ },
    async handler(source, importer) {
      if (!importer?.endsWith('/plugin-doc-explorer/dist/context.js')) return null;
      const found = await this.resolve(source, importer, { skipSelf: true });
      return found && `${found.id}?lazy`;
    },
  },
  load: {
    filter: { id: /\/doc-explorer\.js\?lazy$/ },
    handler: (id) => `
      import { createElement, lazy, Suspense } from 'react';
      import { Spinner } from '@graphiql/react';
      const Docs = lazy(() => import(${JSON.stringify(id.slice(0, -'?lazy'.length))}).then((m) => ({ default: m.DocExplorer })));
      export const DocExplorer = () => createElement(Suspense, { fallback: createElement(Spinner) }, createElement(Docs));`,
  },
};

/**
 * Lets the operations of the history have their own accessible names. GraphiQL names all of them
 * after what a click does.
 */
const namedHistory: Plugin = {
  name: 'named-history',
  transform: {
    filter: { id: /\/plugin-history\/dist\/components\.js$/ },
    handler(code) {
      const name = ', "aria-label": "Set active"';
      if (!code.includes(name)) this.error('GraphiQL no longer calls the operations of the history "Set active": leave this out');
      return { code: code.replace(name, ''), map: null };
    },
  },
};

/**
 * Preloads the editor in the page, so that browsers fetch it together with the script that imports
 * it.
 */
const editorFirst: Plugin = {
  name: 'editor-first',
  transformIndexHtml: {
    order: 'post',
    handler(html, { path, bundle }) {
      if (path !== '/index.html' || bundle === undefined) return [];
      const editor = Object.values(bundle).find((one) => one.type === 'chunk' && one.name === 'monaco-editor');
      if (editor?.type !== 'chunk') throw new Error('the editor has no chunk of its own');
      return [editor.fileName, ...editor.imports].filter((file) => !html.includes(file)).map((file) => ({
        tag: 'link',
        attrs: { rel: 'modulepreload', crossorigin: true, href: `./${file}` },
        injectTo: 'head' as const,
      }));
    },
  },
};

export default defineConfig({
  plugins: [lessMonaco, lazyDocs, namedHistory, editorFirst],
  // Relative addresses, so that a reverse proxy may put the gateway under any path.
  base: './',
  build: {
    target: 'es2023',
    // The licenses of bundled packages require that they are included.
    license: { fileName: 'licenses.md' },
    // No generated data: URLs: files are fetched when needed, and cached for good.
    assetsInlineLimit: 0,
    // The editor alone is 2.8 MB; it is served compressed.
    chunkSizeWarningLimit: 3000,
    rolldownOptions: {
      // The playground, and the operator's page of the admin port.
      input: ['index.html', 'operator.html'],
      // "use client" matters for server rendering only, which is not used here.
      onLog: (level, log, next) => log.code === 'MODULE_LEVEL_DIRECTIVE' || next(level, log),
    },
  },
  // For `npm run dev` next to a running gateway.
  server: { proxy: { '/graphql': 'http://127.0.0.1:8080', '/cache': 'http://127.0.0.1:8081', '/evict': 'http://127.0.0.1:8081' } },
});
