import { defineConfig, type Plugin } from 'vite';

/** Parts of Monaco that no language here uses: a tenth of it. The words are in the paths of its editor.all.js. */
const unused = [
  'anchorSelect',
  'codeAction',
  'codelens',
  'colorPicker',
  'diffEditorBreadcrumbs',
  'dropIntoEditor',
  'fontZoom',
  'inPlaceReplace',
  'inlayHints',
  'inlineCompletions',
  'suggestInlineCompletions',
  'inlineEdit',
  'linkedEditing',
  'parameterHints',
  'rename',
  'semanticTokens',
  'stickyScroll',
  'wordPartOperations',
];

const lessMonaco: Plugin = {
  name: 'less-monaco',
  transform(code, id) {
    if (!id.endsWith('/monaco-editor/esm/vs/editor/editor.all.js')) return null;
    const lines = code.split('\n');
    for (const word of unused) if (!lines.some((line) => line.includes(word))) this.error(`Monaco has no ${word}: leave it out of the list`);
    return { code: lines.filter((line) => !unused.some((word) => line.includes(word))).join('\n'), map: null };
  },
};

export default defineConfig({
  plugins: [lessMonaco],
  // Relative addresses, so that a reverse proxy may put the gateway under any path.
  base: './',
  build: {
    target: 'es2023',
    // What is bundled asks for its licences to go along with it.
    license: { fileName: 'licenses.md' },
    // No data: addresses of our making: files are fetched when needed and cached for good.
    assetsInlineLimit: 0,
    // The editor alone has 2.8 MB; it is served compressed.
    chunkSizeWarningLimit: 3000,
    rolldownOptions: {
      // The playground, and the operator's page of the admin port.
      input: ['index.html', 'operator.html'],
      // "use client" concerns server rendering, and there is none here.
      onLog: (level, log, next) => log.code === 'MODULE_LEVEL_DIRECTIVE' || next(level, log),
    },
  },
  // `npm run dev` beside a gateway that runs.
  server: { proxy: { '/graphql': 'http://127.0.0.1:8080', '/cache': 'http://127.0.0.1:8081', '/evict': 'http://127.0.0.1:8081' } },
});
