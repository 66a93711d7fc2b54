/** Bytes in the origin private file system: `pilotfish/KEY.bin` and, beside it, `pilotfish/KEY.json`. Workers only. */

import { PilotfishError } from '../errors.js';
import type { Meta, Store, Writer } from './store.js';

/** The store, or null where the browser gives none (no OPFS, or refused in a private window). */
export async function openOpfs(): Promise<Store | null> {
  try {
    const root = await navigator.storage.getDirectory();
    const folder = await root.getDirectoryHandle('pilotfish', { create: true });
    return new OpfsStore(folder);
  } catch {
    return null;
  }
}

class OpfsStore implements Store {
  readonly #folder: FileSystemDirectoryHandle;

  constructor(folder: FileSystemDirectoryHandle) {
    this.#folder = folder;
  }

  async keys(): Promise<string[]> {
    const keys: string[] = [];
    for await (const name of this.#folder.keys()) if (name.endsWith('.json')) keys.push(name.slice(0, -5));
    return keys;
  }

  async meta(key: string): Promise<Meta | undefined> {
    const file = await this.#file(`${key}.json`);
    if (file === undefined) return undefined;
    try {
      return JSON.parse(await file.text()) as Meta;
    } catch {
      return undefined; // cut while it was written: as if it were not there, the download starts anew
    }
  }

  async setMeta(key: string, meta: Meta): Promise<void> {
    const writer = await this.#writer(`${key}.json`);
    await writer.clear();
    await writer.append(new TextEncoder().encode(JSON.stringify(meta)));
    await writer.close();
  }

  async size(key: string): Promise<number> {
    return (await this.#file(`${key}.bin`))?.size ?? 0;
  }

  write(key: string): Promise<Writer> {
    return this.#writer(`${key}.bin`);
  }

  async read(key: string): Promise<Blob> {
    const file = await this.#file(`${key}.bin`);
    if (file === undefined) throw new PilotfishError('cache.failed', 'a cached file is gone; load it again');
    return file;
  }

  async remove(key: string): Promise<boolean> {
    const removed = await Promise.all([this.#remove(`${key}.bin`), this.#remove(`${key}.json`)]);
    return removed.includes(true);
  }

  async #file(name: string): Promise<File | undefined> {
    try {
      return await (await this.#folder.getFileHandle(name)).getFile();
    } catch (error) {
      if (named(error, 'NotFoundError')) return undefined;
      throw failed(error);
    }
  }

  async #remove(name: string): Promise<boolean> {
    try {
      await this.#folder.removeEntry(name);
      return true;
    } catch (error) {
      if (named(error, 'NotFoundError')) return false;
      throw failed(error);
    }
  }

  async #writer(name: string): Promise<Writer> {
    const attempt = async <T>(work: () => T | Promise<T>): Promise<T> => {
      try {
        return await work();
      } catch (error) {
        throw failed(error);
      }
    };
    const access = await attempt(async () =>
      (await this.#folder.getFileHandle(name, { create: true })).createSyncAccessHandle(),
    );
    let size = access.getSize();
    return {
      get size() {
        return size;
      },
      append: (chunk) =>
        attempt(() => {
          const written = access.write(chunk as Uint8Array<ArrayBuffer>, { at: size });
          // A short write is how some browsers say that the quota is used up.
          if (written !== chunk.length) throw new DOMException('a write was cut short', 'QuotaExceededError');
          size += written;
        }),
      clear: () =>
        attempt(() => {
          access.truncate(0);
          size = 0;
        }),
      close: () =>
        attempt(() => {
          access.flush();
          access.close();
        }),
    };
  }
}

function named(error: unknown, name: string): boolean {
  return error instanceof Error && error.name === name;
}

function failed(error: unknown): PilotfishError {
  if (error instanceof PilotfishError) return error;
  if (named(error, 'QuotaExceededError')) {
    return new PilotfishError(
      'cache.full',
      'the browser grants this site no more storage: remove cached models, or load with cache: false',
      { cause: error },
    );
  }
  const message = error instanceof Error ? error.message : String(error);
  return new PilotfishError('cache.failed', `the browser's storage failed: ${message}`, { cause: error });
}
