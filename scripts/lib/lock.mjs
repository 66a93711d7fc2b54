// One writer at a time in the cache folder: a file that names its holder. A holder that is gone does not block.

import { closeSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { note } from './say.mjs';

/** @param {string} path */
function take(path) {
  try {
    const file = openSync(path, 'wx');
    writeSync(file, `${hostname()} ${process.pid}`);
    closeSync(file);
    return true;
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code === 'EEXIST') return false;
    throw error;
  }
}

/** @param {string} holder as the file names it */
function isGone(holder) {
  const [host, pid] = holder.split(' ');
  // An empty file is a holder between creating and writing; another machine's process cannot be asked.
  if (pid === undefined || host !== hostname()) return false;
  try {
    process.kill(Number(pid), 0);
    return false;
  } catch (error) {
    return /** @type {NodeJS.ErrnoException} */ (error).code === 'ESRCH';
  }
}

/**
 * Moves a dead holder's file away. Of two processes that see it, the second may move the first one's new file: it looks at
 * what it moved, and puts a living holder's file back.
 * @param {string} path
 * @returns {boolean} whether the way is free
 */
function clearDead(path) {
  const aside = `${path}.${process.pid}`;
  try {
    if (!isGone(readFileSync(path, 'utf8'))) return false;
    renameSync(path, aside);
    if (!isGone(readFileSync(aside, 'utf8'))) {
      renameSync(aside, path);
      return false;
    }
    rmSync(aside);
    return true;
  } catch {
    return false; // released or cleared between two looks: the next attempt takes it
  }
}

/**
 * Runs `work` while holding the lock file at `path`; waits, saying so, while another process holds it.
 * @template T
 * @param {string} path
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function withLock(path, work) {
  mkdirSync(dirname(path), { recursive: true });
  for (let waited = 0; !take(path); waited += 1) {
    if (clearDead(path)) continue;
    if (waited === 0) note(`another process is using the cache (${path}): waiting for it`);
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  const release = () => rmSync(path, { force: true });
  process.once('exit', release);
  try {
    return await work();
  } finally {
    process.off('exit', release);
    release();
  }
}
