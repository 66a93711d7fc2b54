/** Bytes in memory: for `cache: false`, and where a browser has no private storage (some private windows). */

import type { Meta, Store, Writer } from './store.js';

/** Chunks are joined into blobs of this size, which browsers may move to disk. */
const joinedAt = 16 * 1024 * 1024;

interface Held {
  blobs: Blob[];
  loose: Uint8Array<ArrayBuffer>[];
  looseSize: number;
  size: number;
}

export class MemoryStore implements Store {
  readonly #metas = new Map<string, Meta>();
  readonly #files = new Map<string, Held>();

  async keys(): Promise<string[]> {
    return [...this.#metas.keys()];
  }

  async meta(key: string): Promise<Meta | undefined> {
    return this.#metas.get(key);
  }

  async setMeta(key: string, meta: Meta): Promise<void> {
    this.#metas.set(key, meta);
  }

  async size(key: string): Promise<number> {
    return this.#files.get(key)?.size ?? 0;
  }

  async write(key: string): Promise<Writer> {
    const held = this.#files.get(key) ?? { blobs: [], loose: [], looseSize: 0, size: 0 };
    this.#files.set(key, held);
    return {
      get size() {
        return held.size;
      },
      async append(chunk) {
        held.loose.push(chunk.slice());
        held.looseSize += chunk.length;
        held.size += chunk.length;
        if (held.looseSize >= joinedAt) join(held);
      },
      async clear() {
        Object.assign(held, { blobs: [], loose: [], looseSize: 0, size: 0 });
      },
      async close() {},
    };
  }

  async read(key: string): Promise<Blob> {
    const held = this.#files.get(key);
    if (held === undefined) return new Blob([]);
    join(held);
    return new Blob(held.blobs);
  }

  async remove(key: string): Promise<boolean> {
    const had = this.#metas.delete(key);
    return this.#files.delete(key) || had;
  }
}

function join(held: Held): void {
  if (held.loose.length > 0) held.blobs.push(new Blob(held.loose));
  held.loose = [];
  held.looseSize = 0;
}
