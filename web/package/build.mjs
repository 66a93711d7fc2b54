// Builds `dist`: two bundles (page and worker) with nothing left to resolve, the wasm beside them, and the types.

import { cpSync, existsSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { spawnSync } from 'node:child_process';
import { build } from 'esbuild';

const here = dirname(fileURLToPath(import.meta.url));
process.chdir(here);
if (!existsSync('src/wasm/pilotfish_bg.wasm')) {
  console.error(
    'web/package/src/wasm is empty: run `npm run build` at the root of the repository, which compiles the engine',
  );
  process.exit(1);
}

rmSync('dist', { recursive: true, force: true });
await build({
  entryPoints: ['src/index.ts', 'src/worker.ts'],
  outdir: 'dist',
  bundle: true,
  format: 'esm',
  target: 'es2022',
  // Stays a file of its own: it finds the wasm beside itself, by an expression that bundlers know.
  external: ['./wasm/pilotfish.js'],
  legalComments: 'inline',
});
cpSync('src/wasm', 'dist/wasm', { recursive: true });

for (const project of ['tsconfig.json', 'tsconfig.worker.json']) {
  const tsc = join(dirname(fileURLToPath(import.meta.resolve('typescript/package.json'))), 'bin/tsc');
  const { status } = spawnSync(process.execPath, [tsc, '-p', project], { stdio: 'inherit' });
  if (status !== 0) process.exit(status ?? 1);
}
