// "Up to date" means: the inputs have the content they had when the outputs were made, and the outputs are still there.
// Content, not times: a checkout or a merge touches times without changing anything.

import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './paths.mjs';

const skipped = new Set(['node_modules', 'dist', 'target', '.git', '.svelte-kit', 'wasm']);

/** @param {string} path @param {import('node:crypto').Hash} hash */
function absorb(path, hash) {
  const full = join(root, path);
  if (!existsSync(full)) return;
  if (statSync(full).isFile()) {
    hash.update(`${path}\0`).update(readFileSync(full));
    return;
  }
  for (const name of readdirSync(full).sort()) {
    if (!skipped.has(name)) absorb(`${path}/${name}`, hash);
  }
}

/**
 * @param {string} name of the step
 * @param {{ inputs: string[], outputs: string[], salt?: string }} of paths below the root; folders count with all they hold
 * @returns {{ fresh: boolean, keep(): void }}
 */
export function stamp(name, { inputs, outputs, salt = '' }) {
  const folder = join(root, '.cache/stamps');
  const file = join(folder, name);
  const hash = createHash('sha256').update(salt);
  for (const path of inputs) absorb(path, hash);
  const now = hash.digest('hex');
  const there = outputs.every((path) => existsSync(join(root, path)));
  return {
    fresh: there && existsSync(file) && readFileSync(file, 'utf8') === now,
    keep() {
      mkdirSync(folder, { recursive: true });
      writeFileSync(file, now);
    },
  };
}
