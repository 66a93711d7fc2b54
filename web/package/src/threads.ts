/**
 * Starts the CPU backend's threads: workers over the engine's module and memory.
 *
 * The page makes them for its worker, which could make them itself. But inside of a worker, `new Worker` waits until the browser has
 * entered the new one in its books, and Firefox (153, found 2026-11-30) may wait for ever there: parent and child sleep on one
 * condition variable, and on a busy machine the wake-up meant for the parent goes to the child.
 */

import type { ModuleName } from './modules.js';

/** What a thread is told. */
export interface ThreadStart {
  readonly name: ModuleName;
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
}

/** Longest time in ms that a thread may take to come; the engine goes on without those that do not. */
const patience = 10_000;

export class Threads {
  readonly #make: () => Worker;
  readonly #crashed: (message: string) => void;
  readonly #workers = new Set<Worker>();

  /**
   * @param make makes a worker of `thread.js`
   * @param crashed hears of a thread that failed after it had joined: its work may be half done
   */
  constructor(make: () => Worker, crashed: (message: string) => void) {
    this.#make = make;
    this.#crashed = crashed;
  }

  /**
   * Starts `count` threads and waits until each has joined or failed.
   * @returns how many have joined
   */
  async start(count: number, start: ThreadStart): Promise<number> {
    const joined = await Promise.all(Array.from({ length: count }, () => this.#start(start)));
    return joined.filter(Boolean).length;
  }

  end(): void {
    for (const worker of this.#workers) worker.terminate();
    this.#workers.clear();
  }

  #start(start: ThreadStart): Promise<boolean> {
    return new Promise((resolve) => {
      let worker: Worker | undefined;
      let settled = false;
      const settle = (joined: boolean) => {
        if (settled) return;
        settled = true;
        clearTimeout(late);
        if (!joined && worker !== undefined) {
          worker.terminate();
          this.#workers.delete(worker);
        }
        resolve(joined);
      };
      const late = setTimeout(() => settle(false), patience);
      try {
        worker = this.#make();
        this.#workers.add(worker);
        worker.addEventListener('message', ({ data }: MessageEvent<boolean>) => settle(data), { once: true });
        worker.addEventListener('error', (event) => {
          // Otherwise it would be the page's error, too.
          event.preventDefault();
          if (settled) this.#crashed(event.message);
          else settle(false);
        });
        worker.postMessage(start);
      } catch {
        // A policy may forbid workers.
        settle(false);
      }
    });
  }
}
