/**
 * The worker's end of the channel: owns the engine, its models and sessions, and answers the page's calls.
 * What differs between a browser and a test (the module, the cache, the look at the adapter) is handed in.
 */

import type { Cache } from '../cache/cache.js';
import { absorb, sha256 } from '../cache/sha256.js';
import { PilotfishError, toPlain } from '../errors.js';
import type {
  FromWorker,
  Handle,
  HandleOptions,
  MadeSession,
  Params,
  Port,
  ToWorker,
  WireSource,
} from '../protocol.js';
import type { ThreadStart } from '../threads.js';
import { adapterInfo, engineInfo, engineOptions, type GpuInfo, modelInfo, placed, placesOf } from './convert.js';
import { type Call, type Handlers, reporter } from './handlers.js';
import { Held } from './held.js';
import { nudgeWhile } from './nudge.js';
import { blobReader } from './reader.js';
import { Sessions } from './sessions.js';
import type { Surface, WasmAdapter, WasmEngine, WasmModel, WasmReward } from './surface.js';

export interface Surroundings {
  readonly cache: Pick<Cache, 'get' | 'list' | 'remove' | 'usage'>;
  /** Chooses the module that suits the options and the machine, and instantiates it. */
  start(options: Params<'open'>): Promise<Started>;
}

export interface Started {
  readonly surface: Surface;
  readonly memory: WebAssembly.Memory;
  /** The GPU, as the browser describes it. */
  readonly adapter: GpuInfo | null;
  /** Why this module. */
  readonly why: string;
  /** Bytes that a model may take; null where it goes to a GPU. */
  readonly limit: number | null;
  open(): Promise<WasmEngine>;
}

/** Bytes that the engine takes beside a model's weights. */
const BESIDE = 128 * 2 ** 20;

function tooLarge(bytes: number, limit: number): PilotfishError {
  const mib = (size: number) => `${Math.ceil(size / 2 ** 20)} MiB`;
  return new PilotfishError(
    'cpu.too_large',
    `the model takes ${mib(bytes)} and ${mib(BESIDE)} beside it, and WebAssembly may have ${mib(limit)} here: take a smaller model, or one with fewer bits`,
  );
}

export class Host {
  readonly #port: Port;
  readonly #around: Surroundings;
  readonly #calls = new Map<number, AbortController>();
  readonly #models = new Map<Handle, WasmModel>();
  readonly #adapters = new Map<Handle, WasmAdapter>();
  /** With what each does last: one call after the other. */
  readonly #rewards = new Map<Handle, { readonly reward: WasmReward; tail: Promise<unknown> }>();
  readonly #sessions = new Sessions({
    say: (ask) => this.#say(ask),
    newHandle: () => this.#nextHandle++,
    adapter: (handle) => this.#adapter(handle),
  });
  #nextHandle = 1;
  #crashed = false;
  #threadsJoined: (() => void) | undefined;
  #engine: (Started & { readonly engine: WasmEngine }) | undefined;

  constructor(port: Port, surroundings: Surroundings) {
    this.#port = port;
    this.#around = surroundings;
    port.addEventListener('message', (event: MessageEvent) => void this.#hear(event.data as ToWorker));
  }

  /** Tells the page that nothing here can be used any more. Only the first reason counts. */
  crash(reason: PilotfishError): void {
    if (this.#crashed) return;
    this.#crashed = true;
    this.#say({ crash: toPlain(reason) });
  }

  /** Tells the page that the engine panicked. */
  panicked(message: string): void {
    this.crash(new PilotfishError('internal', `the engine panicked: ${message}`));
  }

  /** Asks the page for threads, and returns when each has joined or failed. */
  startThreads(threads: number, start: ThreadStart): Promise<void> {
    return new Promise((resolve) => {
      this.#threadsJoined = resolve;
      this.#say({ threads, start });
    });
  }

  async #hear(message: ToWorker): Promise<void> {
    if ('abort' in message) {
      this.#calls.get(message.id)?.abort();
      return;
    }
    if ('ask' in message) {
      this.#sessions.answer(message);
      return;
    }
    if ('joined' in message) {
      this.#threadsJoined?.();
      return;
    }
    const { id, method, params } = message;
    const abort = new AbortController();
    this.#calls.set(id, abort);
    const call: Call = {
      signal: abort.signal,
      progress: (progress) => this.#say({ id, progress }),
    };
    try {
      const handle = this.#handlers[method] as (params: unknown, call: Call) => unknown;
      this.#say({ id, answer: await handle(params, call) });
    } catch (error) {
      // After an abort nobody listens: the page has rejected the call already.
      this.#say({ id, error: toPlain(error) });
    } finally {
      this.#calls.delete(id);
    }
  }

  #say(message: FromWorker): void {
    this.#port.postMessage(message);
  }

  readonly #handlers: Handlers = {
    open: async (params) => {
      const started = await this.#around.start(params);
      started.surface.on_panic((message) => this.panicked(message));
      const engine = await started.open();
      this.#engine = { ...started, engine };
      if (started.adapter !== null) nudgeWhile(() => !this.#crashed && this.#calls.size > 0, engine);
      return this.#info();
    },

    load: async ({ source, sha256: expected, cache }, call) => {
      const blob = await this.#blob(source, expected, cache, call);
      const { engine, limit } = this.#open();
      // The weights take what their file does; the engine refuses what cannot be addressed at all.
      if (limit !== null && blob.size + BESIDE > limit) throw tooLarge(blob.size, limit);
      const model = await engine.load(blobReader(blob), reporter(call));
      if (call.signal.aborted) {
        model.free();
        call.signal.throwIfAborted();
      }
      return { handle: this.#keep(this.#models, model), info: modelInfo(model.info()), engine: this.#info() };
    },

    tokenize: ({ model, text, special }) => this.#model(model).tokenize(text, special),
    detokenize: ({ model, ids }) => this.#model(model).detokenize(ids),
    chat: ({ model, messages }) => this.#model(model).chat(JSON.stringify(messages)),

    disposeModel: ({ model }) => {
      this.#models.get(model)?.free();
      this.#models.delete(model);
    },

    loadAdapter: async ({ model, source, sha256: expected, cache }, call) => {
      const { Adapter } = this.#open().surface;
      const bytes = async (from: WireSource, hash?: string) =>
        new Uint8Array(await (await this.#blob(from, hash, cache, call)).arrayBuffer());
      const made =
        'gguf' in source
          ? { file: await bytes(source.gguf, expected) }
          : { config: await bytes(source.config), file: await bytes(source.weights, expected) };
      call.signal.throwIfAborted();
      // Read only now: the model may have been disposed of while the adapter came.
      const on = this.#model(model);
      const adapter =
        made.config === undefined
          ? Adapter.from_gguf(on, made.file)
          : Adapter.from_peft(on, new TextDecoder().decode(made.config), made.file);
      return { handle: this.#keep(this.#adapters, adapter), info: adapterInfo(adapter.info()) };
    },

    disposeAdapter: ({ adapter }) => {
      this.#adapters.get(adapter)?.free();
      this.#adapters.delete(adapter);
    },

    reward: ({ model, prompt, class: className, contextLength = 0 }) => {
      const { surface, engine } = this.#open();
      const json = JSON.stringify(prompt);
      const reward = surface.RewardModel.create(engine, this.#model(model), json, className, contextLength);
      return this.#keep(this.#rewards, { reward, tail: Promise.resolve() });
    },

    score: async ({ reward, texts }) => {
      const held = this.#rewards.get(reward);
      if (held === undefined) throw new PilotfishError('closed', 'the reward model was disposed of');
      const mine = held.tail.then(() => held.reward.score(texts));
      held.tail = mine.catch(() => undefined);
      return mine;
    },

    disposeReward: async ({ reward }) => {
      const held = this.#rewards.get(reward);
      this.#rewards.delete(reward);
      await held?.tail;
      held?.reward.free();
    },

    session: ({ model, options, scored }, call) => this.#session(model, engineOptions(options), scored, call),
    restore: ({ model, options, scored }, call) => this.#session(model, options, scored, call),

    ...this.#sessions.handlers,

    cacheList: () => this.#around.cache.list(),
    cacheRemove: ({ url }) => this.#around.cache.remove(url),
    cacheUsage: () => this.#around.cache.usage(),
    memory: () => ({ wasm: this.#open().memory.buffer.byteLength }),
  };

  async #blob(source: WireSource, expected: string | undefined, keep: boolean, call: Call): Promise<Blob> {
    const { signal } = call;
    if ('url' in source) {
      return this.#around.cache.get(source.url, keep, {
        sha256: expected,
        signal,
        onProgress: (phase, loaded, total) => call.progress({ phase, loaded, total }),
      });
    }
    const blob = 'blob' in source ? source.blob : await source.file.getFile();
    if (expected !== undefined) {
      const hash = await sha256();
      await absorb(hash, blob, signal, (loaded) => call.progress({ phase: 'verify', loaded, total: blob.size }));
      const found = hash.hex();
      if (found !== expected) {
        const name = 'name' in blob && typeof blob.name === 'string' ? blob.name : 'the file';
        const message = `${name} has the wrong content: expected sha256 ${expected}, found ${found}`;
        throw new PilotfishError('source.hash_mismatch', message);
      }
    }
    return blob;
  }

  #keep<T>(kept: Map<Handle, T>, value: T): Handle {
    const handle = this.#nextHandle++;
    kept.set(handle, value);
    return handle;
  }

  #info() {
    const { engine, adapter, why } = this.#open();
    return engineInfo(engine.info(), adapter, why);
  }

  #open() {
    if (this.#engine === undefined) throw new PilotfishError('closed', 'the engine is not open');
    return this.#engine;
  }

  #model(handle: Handle): WasmModel {
    const model = this.#models.get(handle);
    if (model === undefined) throw new PilotfishError('closed', 'the model was disposed of');
    return model;
  }

  #adapter(handle: Handle): WasmAdapter {
    const adapter = this.#adapters.get(handle);
    if (adapter === undefined) throw new PilotfishError('closed', 'the adapter was disposed of');
    return adapter;
  }

  async #session(model: Handle, options: HandleOptions, scored: boolean, call: Call): Promise<MadeSession> {
    const { surface, engine } = this.#open();
    const places = placesOf(options);
    const base = this.#model(model);
    const models = places.models.map((handle) => this.#model(handle));
    const adapters = places.adapters.map((handle) => this.#adapter(handle));
    const names = [base, ...models].map((one) => modelInfo(one.info()).name);
    const session = await surface.Session.create(
      engine,
      base,
      JSON.stringify(placed(options, places)),
      models.map((one) => one.share()),
      adapters.map((one) => one.share()),
      reporter(call),
    );
    if (call.signal.aborted) {
      session.free();
      call.signal.throwIfAborted();
    }
    return this.#sessions.hold(new Held(session, options, places, names, scored));
  }
}
