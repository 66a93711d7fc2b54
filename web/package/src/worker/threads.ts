/** Starts the CPU backend's threads: workers of this worker, over the same module and memory. */

import type { ModuleName } from '../modules.js';

/** What a thread is told. */
export interface ThreadStart {
  readonly name: ModuleName;
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
}

/** Longest time in ms that a thread may take to come; the engine goes on without those that do not. */
const patience = 10_000;

/**
 * Starts `count` threads and waits until each has joined or failed.
 * @param make makes a worker of `thread.js`
 * @returns how many have joined
 */
export async function startThreads(count: number, start: ThreadStart, make: () => Worker): Promise<number> {
  const joined = await Promise.all(Array.from({ length: count }, () => startThread(start, make)));
  return joined.filter(Boolean).length;
}

function startThread(start: ThreadStart, make: () => Worker): Promise<boolean> {
  return new Promise((resolve) => {
    let worker: Worker;
    let failed: ((event: Event) => void) | undefined;
    const settle = (joined: boolean) => {
      clearTimeout(late);
      if (failed) worker?.removeEventListener('error', failed);
      if (!joined) worker?.terminate();
      resolve(joined);
    };
    const late = setTimeout(() => settle(false), patience);
    try {
      worker = make();
      worker.addEventListener('message', ({ data }: MessageEvent<boolean>) => settle(data), { once: true });
      failed = (event: Event) => {
        // Otherwise it would be this worker's error, too. One of a thread that has joined should be: its work may be half done.
        event.preventDefault();
        settle(false);
      };
      worker.addEventListener('error', failed, { once: true });
      worker.postMessage(start);
    } catch {
      // A policy may forbid workers of workers.
      settle(false);
    }
  });
}
