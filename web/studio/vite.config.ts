import { svelte } from '@sveltejs/vite-plugin-svelte';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vite';

const source = (path: string) => fileURLToPath(new URL(path, import.meta.url));

// Cross-origin isolation, as the served page has it.
const headers = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
};

export default defineConfig({
  plugins: [svelte()],
  base: './',
  // The page's own tests and the simulated engine need no compiled engine: without one, the package's source will do.
  resolve: existsSync(source('../package/dist/index.js'))
    ? {}
    : { alias: { pilotfish: source('../package/src/index.ts') } },
  // The package finds its worker and wasm beside itself, so it must stay where it is.
  optimizeDeps: { exclude: ['pilotfish'] },
  worker: { format: 'es' },
  server: { headers },
  preview: { headers },
  build: {
    outDir: 'dist',
    target: 'es2022',
    // An inlined asset would be a data: URL, which a strict content security policy refuses.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
});
