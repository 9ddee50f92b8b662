import { defineConfig } from 'vite';

export default defineConfig({
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
