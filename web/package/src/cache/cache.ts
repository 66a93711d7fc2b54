/** The kept models: one download at a time for each address, in all tabs of the site. */

import type { CacheEntry, CacheUsage } from '../types.js';
import { type DownloadOptions, download } from './download.js';
import { MemoryStore } from './memory.js';
import { openOpfs } from './opfs.js';
import { keyOf, type Store } from './store.js';

export class Cache {
  #opened: Promise<Store> | undefined;

  /** The file's bytes; downloaded unless they are here. With `keep: false` they are kept nowhere. */
  async get(url: string, keep: boolean, options: DownloadOptions): Promise<Blob> {
    if (!keep) return download(new MemoryStore(), url, options);
    const store = await this.#store();
    return locked(await keyOf(url), options.signal, () => download(store, url, options));
  }

  async list(): Promise<CacheEntry[]> {
    const store = await this.#store();
    const entries: CacheEntry[] = [];
    for (const key of await store.keys()) {
      const meta = await store.meta(key);
      if (meta === undefined) continue;
      const { url, size, complete, sha256, addedAt } = meta;
      entries.push({ url, size, complete, sha256, received: await store.size(key), addedAt: new Date(addedAt) });
    }
    return entries.sort((one, other) => other.addedAt.getTime() - one.addedAt.getTime());
  }

  async remove(url: string): Promise<boolean> {
    const key = await keyOf(url);
    const store = await this.#store();
    return locked(key, undefined, () => store.remove(key));
  }

  async usage(): Promise<CacheUsage> {
    const models = (await this.list()).reduce((sum, entry) => sum + entry.received, 0);
    const { usage = 0, quota = 0 } = await navigator.storage.estimate();
    return { models, used: usage, quota };
  }

  #store(): Promise<Store> {
    this.#opened ??= openOpfs().then((store) => store ?? new MemoryStore());
    return this.#opened;
  }
}

/** Holds the key's lock among all tabs: two writers of one file would spoil it. */
function locked<T>(key: string, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
  const options = signal === undefined ? {} : { signal };
  return navigator.locks.request(`pilotfish:${key}`, options, work) as Promise<T>;
}
