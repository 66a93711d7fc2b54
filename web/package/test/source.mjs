// Imports TypeScript sources of the package into Node: bundled by esbuild on the way.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';

const src = join(dirname(fileURLToPath(import.meta.url)), '../src');

/**
 * @param {Record<string, string>} from exported name -> file below `src`
 * @returns {Promise<any>} one module with those exports, so that all of them share the classes they use
 */
export async function source(from) {
  const folder = mkdtempSync(join(tmpdir(), 'pilotfish-'));
  const outfile = join(folder, 'bundle.mjs');
  const contents = Object.entries(from)
    .map(([name, file]) => `export { ${name} } from './${file}';`)
    .join('\n');
  await build({
    stdin: { contents, resolveDir: src, loader: 'ts' },
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    sourcemap: 'inline',
    outfile,
    logLevel: 'warning',
  });
  try {
    return await import(pathToFileURL(outfile).href);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
