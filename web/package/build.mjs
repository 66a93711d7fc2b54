// Builds `dist`: three bundles (page, worker and thread) with nothing left to resolve, the wasm beside them, and the types.

import { cpSync, existsSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { spawnSync } from 'node:child_process';
import { build } from 'esbuild';

const here = dirname(fileURLToPath(import.meta.url));
process.chdir(here);
const modules = [
  'pilotfish.js',
  ...['cpu', 'cpu-threads', 'cpu-threads-relaxed'].map((name) => `${name}/pilotfish.js`),
];
if (!modules.every((module) => existsSync(`src/wasm/${module}`))) {
  console.error(
    'web/package/src/wasm lacks a compiled engine: run `npm run build` at the root of the repository, which compiles the engine',
  );
  process.exit(1);
}

rmSync('dist', { recursive: true, force: true });
await build({
  entryPoints: ['src/index.ts', 'src/worker.ts', 'src/thread.ts'],
  outdir: 'dist',
  bundle: true,
  format: 'esm',
  target: 'es2022',
  // Stay files of their own, of which one is fetched.
  external: modules.map((module) => `./wasm/${module}`),
  legalComments: 'inline',
});
cpSync('src/wasm', 'dist/wasm', { recursive: true });

for (const project of ['tsconfig.json', 'tsconfig.worker.json']) {
  const tsc = join(dirname(fileURLToPath(import.meta.resolve('typescript/package.json'))), 'bin/tsc');
  const { status } = spawnSync(process.execPath, [tsc, '-p', project], { stdio: 'inherit' });
  if (status !== 0) process.exit(status ?? 1);
}
