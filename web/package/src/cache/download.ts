/**
 * A download that survives being cut. What arrived is kept; the rest is asked for by `Range`, guarded by the file's ETag or
 * date, so that two versions are never joined. RFC 9110: ranges in section 14, `If-Range` in 13.1.5.
 */

import { PilotfishError } from '../errors.js';
import { absorb, type Sha256, sha256 } from './sha256.js';
import { keyOf, type Meta, type Store, type Writer } from './store.js';

export interface DownloadOptions {
  readonly sha256?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((phase: 'download' | 'verify', loaded: number, total: number) => void) | undefined;
  /** Waiting times in ms before trying again; as many times in a row as there are, an attempt may bring no byte. */
  readonly pauses?: readonly number[];
}

const defaultPauses = [250, 500, 1000, 2000, 4000];
/** Statuses after which trying again makes sense. */
const passing = new Set([408, 425, 429, 500, 502, 503, 504]);

/** The whole content of `url`, from the store or from the network into the store. */
export async function download(store: Store, url: string, options: DownloadOptions = {}): Promise<Blob> {
  const key = await keyOf(url);
  const known = await store.meta(key);
  if (known?.complete === true && known.size === (await store.size(key))) {
    if (options.sha256 === undefined || options.sha256 === known.sha256) return store.read(key);
    await store.remove(key); // another content is wanted now
  }
  const run = new Run(store, key, url, options);
  await run.toTheEnd();
  return store.read(key);
}

/** What one response means for what we have. */
type Offer =
  | { readonly kind: 'bytes'; readonly from: 0 | 'here'; readonly body: ReadableStream<Uint8Array> }
  | { readonly kind: 'complete' }
  | { readonly kind: 'restart' };

class Run {
  readonly #store: Store;
  readonly #key: string;
  readonly #url: string;
  readonly #options: DownloadOptions;
  #meta: Meta;
  #hash: Sha256 | undefined;

  constructor(store: Store, key: string, url: string, options: DownloadOptions) {
    this.#store = store;
    this.#key = key;
    this.#url = url;
    this.#options = options;
    this.#meta = blank(url);
  }

  async toTheEnd(): Promise<void> {
    const resumable = await this.#takeUp();
    const writer = await this.#store.write(this.#key);
    try {
      if (!resumable) await this.#startOver(writer);
      await this.#fetchAll(writer);
    } finally {
      await writer.close();
    }
    await this.#verify(writer.size);
  }

  /** Takes up what an earlier run left, when it can still be told apart from another version; false when there is nothing. */
  async #takeUp(): Promise<boolean> {
    const kept = await this.#store.meta(this.#key);
    const size = await this.#store.size(this.#key);
    const { sha256: expected, signal, onProgress } = this.#options;
    const guarded = kept !== undefined && (kept.etag !== null || kept.lastModified !== null || expected !== undefined);
    if (size === 0 || !guarded || (kept.size !== null && size > kept.size)) return false;
    this.#meta = { ...kept, complete: false, sha256: null };
    this.#hash = await sha256();
    const blob = await this.#store.read(this.#key);
    await absorb(this.#hash, blob, signal, (done) => onProgress?.('verify', done, size));
    return true;
  }

  async #startOver(writer: Writer): Promise<void> {
    await writer.clear();
    this.#hash = await sha256();
    this.#meta = blank(this.#url);
  }

  async #fetchAll(writer: Writer): Promise<void> {
    const { signal, pauses = defaultPauses } = this.#options;
    for (let failures = 0; ;) {
      signal?.throwIfAborted();
      const before = writer.size;
      let trouble: unknown;
      try {
        if (await this.#attempt(writer)) return;
        trouble = new Error(`the connection ended after ${writer.size} of ${this.#meta.size ?? 'unknown'} bytes`);
      } catch (error) {
        signal?.throwIfAborted();
        if (error instanceof PilotfishError && error.code !== 'download.interrupted') throw error;
        trouble = error;
      }
      failures = writer.size > before ? 0 : failures + 1;
      const pause = pauses[Math.max(failures - 1, 0)];
      if (pause === undefined) {
        const why = trouble instanceof Error ? trouble.message : String(trouble);
        const message =
          writer.size === 0
            ? `${this.#url} could not be downloaded: ${why}. Is the device online, and does the server allow this page (CORS)?`
            : `the download of ${this.#url} was cut at byte ${writer.size} and could not be resumed: ${why}. ` +
              'What arrived is kept: load it again to go on.';
        throw new PilotfishError('download.interrupted', message, { cause: trouble });
      }
      await sleep(pause, signal);
    }
  }

  /** One request; true when the file is whole after it. */
  async #attempt(writer: Writer): Promise<boolean> {
    const offer = await this.#ask(writer.size);
    if (offer.kind === 'complete') return true;
    if (offer.kind === 'restart') {
      await this.#startOver(writer);
      return false;
    }
    if (offer.from === 0 && writer.size > 0) {
      const fresh = this.#meta;
      await this.#startOver(writer);
      this.#meta = fresh;
    }
    await this.#store.setMeta(this.#key, this.#meta);
    const { onProgress } = this.#options;
    const total = this.#meta.size ?? 0;
    onProgress?.('download', writer.size, total);
    for await (const chunk of chunksOf(offer.body)) {
      await writer.append(chunk);
      this.#hash?.update(chunk);
      onProgress?.('download', writer.size, total);
    }
    return this.#meta.size === null || writer.size === this.#meta.size;
  }

  async #ask(have: number): Promise<Offer> {
    const headers: Record<string, string> = {};
    const guard = this.#meta.etag ?? this.#meta.lastModified;
    if (have > 0) {
      headers.Range = `bytes=${have}-`;
      // Across origins `If-Range` would need the server's permission by preflight; there the answer's headers are compared.
      if (guard !== null && sameOrigin(this.#url)) headers['If-Range'] = guard;
    }
    const { signal } = this.#options;
    // The browser's own cache would keep a second copy of a file that is kept here.
    const response = await fetch(this.#url, {
      headers,
      cache: 'no-store',
      ...(signal === undefined ? {} : { signal }),
    });
    if (response.status === 416 && have > 0) {
      const total = /^bytes \*\/(\d+)$/.exec(response.headers.get('Content-Range') ?? '')?.[1];
      await response.body?.cancel();
      const whole = Number(total) === have && this.#meta.size === have;
      return { kind: whole ? 'complete' : 'restart' };
    }
    if (!response.ok || response.body === null) {
      await response.body?.cancel();
      const message = `${this.#url} answered ${response.status} ${response.statusText}`.trim();
      throw new PilotfishError(passing.has(response.status) ? 'download.interrupted' : 'download.http', message);
    }
    return this.#read(response, response.body, have);
  }

  /** Decides whether the body continues what is here, and remembers what the server says about the file. */
  async #read(response: Response, body: ReadableStream<Uint8Array>, have: number): Promise<Offer> {
    const etag = response.headers.get('ETag');
    const encoded = (response.headers.get('Content-Encoding') ?? 'identity') !== 'identity';
    const said = {
      // A weak ETag does not promise the same bytes.
      etag: etag === null || etag.startsWith('W/') ? null : etag,
      lastModified: response.headers.get('Last-Modified'),
    };
    if (response.status !== 206) {
      const length = encoded ? null : response.headers.get('Content-Length');
      this.#meta = { ...blank(this.#url), ...said, size: length === null ? null : Number(length) };
      return { kind: 'bytes', from: 0, body };
    }
    const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(response.headers.get('Content-Range') ?? '');
    // Across origins `Content-Range` may be hidden; the length of the rest says as much.
    const rest = response.headers.get('Content-Length');
    const total =
      range?.[2] !== undefined && range[2] !== '*' ? Number(range[2]) : rest === null ? null : have + Number(rest);
    const differs = (one: string | number | null, other: string | number | null) =>
      one !== null && other !== null && one !== other;
    const other =
      encoded ||
      (range !== null && Number(range[1]) !== have) ||
      differs(total, this.#meta.size) ||
      differs(said.etag, this.#meta.etag) ||
      differs(said.lastModified, this.#meta.lastModified);
    if (other) {
      await body.cancel();
      return { kind: 'restart' };
    }
    this.#meta = { ...this.#meta, size: this.#meta.size ?? total };
    return { kind: 'bytes', from: 'here', body };
  }

  async #verify(size: number): Promise<void> {
    const found = this.#hash?.hex() ?? null;
    const expected = this.#options.sha256;
    if (expected !== undefined && found !== expected) {
      await this.#store.remove(this.#key);
      throw new PilotfishError(
        'download.hash_mismatch',
        `${this.#url} has the wrong content and was removed: expected sha256 ${expected}, found ${found} (${size} bytes)`,
      );
    }
    await this.#store.setMeta(this.#key, { ...this.#meta, size, sha256: found, complete: true });
  }
}

function blank(url: string): Meta {
  return { url, size: null, etag: null, lastModified: null, sha256: null, complete: false, addedAt: Date.now() };
}

function sameOrigin(url: string): boolean {
  return typeof location === 'undefined' || new URL(url).origin === location.origin;
}

async function* chunksOf(body: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  const reader = body.getReader();
  try {
    for (let read = await reader.read(); !read.done; read = await reader.read()) yield read.value;
  } finally {
    // Frees the connection when the loop was left early, by an abort or a full disk.
    reader.cancel().catch(() => undefined);
  }
}

function sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', abort);
      resolve();
    }, ms);
    signal?.addEventListener('abort', abort, { once: true });
  });
}
