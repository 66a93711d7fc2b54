import { Channel } from './channel.js';
import { PilotfishError } from './errors.js';
import { Model, withoutUndefined } from './model.js';
import { absolute, loadParams, wireSource } from './source.js';
import type { CacheEntry, CacheUsage, EngineInfo, LoadOptions, OpenOptions, Source } from './types.js';

/** The models that were downloaded and kept in the browser's private storage (OPFS) of this site. */
export class ModelCache {
  readonly #channel: Channel;

  /** @internal */
  constructor(channel: Channel) {
    this.#channel = channel;
  }

  /** Everything kept, newest first, with what is only half there. */
  list(): Promise<CacheEntry[]> {
    return this.#channel.call('cacheList', {});
  }

  /** Removes one file; false when there was none. */
  remove(url: string | URL): Promise<boolean> {
    return this.#channel.call('cacheRemove', { url: absolute(url) });
  }

  usage(): Promise<CacheUsage> {
    return this.#channel.call('cacheUsage', {});
  }
}

/**
 * One engine: a worker with the WebAssembly module and a GPU device of its own, or with threads of the CPU.
 *
 * ```ts
 * const pf = await Pilotfish.open();
 * const model = await pf.load('/models/smollm2.gguf', { onProgress: ({ loaded, total }) => bar(loaded / total) });
 * const session = await model.session({
 *   messages: [{ role: 'user', content: 'How was your day?' }],
 *   guides: { cheerful: { context: 'You are relentlessly cheerful.', weight: 1.5 } },
 * });
 * for await (const step of session) show(step.text);
 * ```
 */
export class Pilotfish {
  readonly cache: ModelCache;
  /** Resolves, with the reason, when this instance can no longer be used: `close()`, or a crash of the worker. */
  readonly closed: Promise<PilotfishError>;
  readonly #channel: Channel;
  #info: EngineInfo;

  private constructor(channel: Channel, info: EngineInfo) {
    this.#channel = channel;
    this.#info = info;
    this.cache = new ModelCache(channel);
    this.closed = channel.closed;
  }

  /** What it runs on. Where the GPU is software, the first model decides between that and the CPU: look again after it. */
  get info(): EngineInfo {
    return this.#info;
  }

  /**
   * Starts the worker, loads the WebAssembly module that suits the machine and opens the GPU, or starts threads.
   * @throws PilotfishError `gpu.unavailable` where the GPU was asked for and there is no WebGPU, `cpu.no_simd` where the browser is too
   *   old for the CPU backend, `worker.crashed` when the worker cannot start
   */
  static async open(options: OpenOptions = {}): Promise<Pilotfish> {
    // Written exactly so, as the next: bundlers look for these expressions.
    const worker = options.worker?.() ?? new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
    const thread = options.thread ?? (() => new Worker(new URL('./thread.js', import.meta.url), { type: 'module' }));
    const channel = new Channel(worker, thread);
    const { backend, precision, threads, matvec, power, subgroups } = options;
    const params = withoutUndefined({ backend, precision, threads, matvec, power, subgroups });
    try {
      const info = await channel.call('open', params, { signal: options.signal });
      return new Pilotfish(channel, info);
    } catch (error) {
      channel.end(new PilotfishError('closed', 'the engine could not be opened'));
      throw error;
    }
  }

  /**
   * Loads a GGUF model. A URL is downloaded into the cache first; a download that was cut goes on where it
   * stopped, within this call and in later ones.
   */
  async load(source: Source, options: LoadOptions = {}): Promise<Model> {
    const { signal, onProgress } = options;
    const params = { source: wireSource(source), ...loadParams(options) };
    const { handle, info, engine } = await this.#channel.call('load', params, { signal, onProgress });
    this.#info = engine;
    return new Model(this.#channel, handle, info);
  }

  /** Bytes of the engine's WebAssembly memory. It never shrinks, so this is also the most there ever was. */
  async memory(): Promise<{ readonly wasm: number }> {
    return this.#channel.call('memory', {});
  }

  /** Ends the worker, its threads, and frees the GPU. Whatever still waits is rejected with code `closed`. */
  close(): void {
    this.#channel.end(new PilotfishError('closed', 'this instance was closed'));
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
