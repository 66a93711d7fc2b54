// Where things are: the repository's root, and the cache outside it.

import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = resolve(fileURLToPath(import.meta.url), '../../..');

/** Downloaded models and tools: `$PILOTFISH_CACHE`, or `pilotfish` in the user's cache folder. */
export const cacheDir = resolve(
  process.env.PILOTFISH_CACHE ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'pilotfish'),
);

/** Finished model files: `NAME.gguf`. */
export const modelsDir = join(cacheDir, 'models');
