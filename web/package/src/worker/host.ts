/**
 * The worker's end of the channel: owns the engine, its models and sessions, and answers the page's calls.
 * What differs between a browser and a test (the module, the cache, the look at the adapter) is handed in.
 */

import type { Cache } from '../cache/cache.js';
import { absorb, sha256 } from '../cache/sha256.js';
import { PilotfishError, toPlain } from '../errors.js';
import type { Answer, FromWorker, Handle, Method, Params, Port, ToWorker, WireSource } from '../protocol.js';
import type { Progress, Sampling } from '../types.js';
import {
  adapterInfo,
  engineInfo,
  type GpuInfo,
  modelInfo,
  progress as readProgress,
  samplingJson,
  sessionInfo,
  sessionJson,
  step,
  tokensJson,
} from './convert.js';
import { nudgeWhile } from './nudge.js';
import { blobReader } from './reader.js';
import type { Surface, WasmAdapter, WasmEngine, WasmModel, WasmSession } from './surface.js';

export interface Surroundings {
  readonly cache: Pick<Cache, 'get' | 'list' | 'remove' | 'usage'>;
  /** Instantiates the module. */
  surface(): Promise<{ readonly surface: Surface; readonly memory: WebAssembly.Memory }>;
  /** Opens the engine as the options say. */
  open(surface: Surface, options: Params<'open'>): Promise<{ engine: WasmEngine; adapter: GpuInfo }>;
}

interface Call {
  readonly signal: AbortSignal;
  progress(progress: Progress): void;
}

interface HeldSession {
  readonly session: WasmSession;
  readonly guides: readonly string[];
  /** As last set: the engine takes all settings together, the page may change one. */
  sampling: Partial<Sampling>;
  /** What was asked for last: the engine does one thing after another, however fast they are asked for. */
  tail: Promise<unknown>;
}

type Handlers = { readonly [M in Method]: (params: Params<M>, call: Call) => Promise<Answer<M>> | Answer<M> };

export class Host {
  readonly #port: Port;
  readonly #around: Surroundings;
  readonly #calls = new Map<number, AbortController>();
  readonly #models = new Map<Handle, WasmModel>();
  readonly #adapters = new Map<Handle, WasmAdapter>();
  readonly #sessions = new Map<Handle, HeldSession>();
  #nextHandle = 1;
  #crashed = false;
  #engine: { surface: Surface; memory: WebAssembly.Memory; engine: WasmEngine } | undefined;

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

  async #hear(message: ToWorker): Promise<void> {
    if ('abort' in message) {
      this.#calls.get(message.id)?.abort();
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
      const { surface, memory } = await this.#around.surface();
      surface.on_panic((message) => this.crash(new PilotfishError('internal', `the engine panicked: ${message}`)));
      const { engine, adapter } = await this.#around.open(surface, params);
      this.#engine = { surface, memory, engine };
      nudgeWhile(() => !this.#crashed && this.#calls.size > 0, engine);
      return engineInfo(engine.info(), adapter);
    },

    load: async ({ source, sha256: expected, cache }, call) => {
      const blob = await this.#blob(source, expected, cache, call);
      const model = await this.#open().engine.load(blobReader(blob), this.#reporter(call));
      if (call.signal.aborted) {
        model.free();
        call.signal.throwIfAborted();
      }
      return { handle: this.#keep(this.#models, model), info: modelInfo(model.info()) };
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

    session: async ({ model, options }, call) => {
      const { surface, engine } = this.#open();
      const uses = [options.adapters ?? [], ...options.guides.map((guide) => guide.adapters ?? [])].flat();
      const modelHandles = distinct(options.guides.map((guide) => guide.model));
      const adapterHandles = distinct(uses.map((use) => use.adapter));
      const json = sessionJson(options, { models: placesOf(modelHandles), adapters: placesOf(adapterHandles) });
      const base = this.#model(model);
      const models = modelHandles.map((handle) => this.#model(handle));
      const adapters = adapterHandles.map((handle) => this.#adapter(handle));
      const names = [base, ...models].map((one) => modelInfo(one.info()).name);
      const session = await surface.Session.create(
        engine,
        base,
        json,
        models.map((one) => one.share()),
        adapters.map((one) => one.share()),
        this.#reporter(call),
      );
      if (call.signal.aborted) {
        session.free();
        call.signal.throwIfAborted();
      }
      const guides = options.guides.map((guide) => guide.name);
      const handle = this.#keep(this.#sessions, {
        session,
        guides,
        sampling: options.sampling,
        tail: Promise.resolve(),
      });
      return { handle, info: sessionInfo(session.info(), names) };
    },

    next: ({ session }) =>
      this.#inTurn(session, async (held) => {
        const json = await held.session.next();
        return json === undefined ? undefined : step(json, held.guides);
      }),

    setWeight: ({ session, guide, weight }) =>
      this.#inTurn(session, (held) => {
        const index = held.guides.indexOf(guide);
        if (typeof weight === 'number') held.session.set_weight(index, weight);
        else held.session.set_schedule(index, JSON.stringify(weight));
      }),

    setShare: ({ session, guide, at, share }) =>
      this.#inTurn(session, (held) => held.session.set_share(place(held, guide), at, share)),

    setPreference: ({ session, guide, at, preference }) =>
      this.#inTurn(session, (held) =>
        held.session.set_preference(place(held, guide), at, Float32Array.from(preference)),
      ),

    setSampling: ({ session, sampling }) =>
      this.#inTurn(session, (held) => {
        const all = { ...held.sampling, ...sampling };
        held.session.set_sampling(samplingJson(all));
        held.sampling = all;
      }),

    setTokens: ({ session, tokens }) => this.#inTurn(session, (held) => held.session.set_tokens(tokensJson(tokens))),
    force: ({ session, ids }) => this.#inTurn(session, (held) => held.session.force(ids)),
    rest: ({ session }) => this.#inTurn(session, (held) => held.session.rest()),
    stop: ({ session }) => this.#inTurn(session, (held) => held.session.stop()),

    disposeSession: async ({ session: handle }) => {
      const held = this.#sessions.get(handle);
      if (held === undefined) return;
      const freed = this.#inTurn(handle, ({ session }) => session.free());
      this.#sessions.delete(handle);
      await freed;
    },

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

  #reporter(call: Call): (json: string) => boolean {
    return (json) => {
      if (!call.signal.aborted) call.progress(readProgress(json));
      return !call.signal.aborted;
    };
  }

  #keep<T>(kept: Map<Handle, T>, value: T): Handle {
    const handle = this.#nextHandle++;
    kept.set(handle, value);
    return handle;
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

  /** Does something with a session when all that was asked before is done: a running step has it borrowed. */
  async #inTurn<T>(handle: Handle, work: (held: HeldSession) => T | Promise<T>): Promise<T> {
    const held = this.#sessions.get(handle);
    if (held === undefined) throw new PilotfishError('closed', 'the session was disposed of');
    const mine = held.tail.then(() => work(held));
    held.tail = mine.catch(() => undefined);
    return mine;
  }
}

function distinct(handles: readonly (Handle | undefined)[]): Handle[] {
  return [...new Set(handles)].filter((handle) => handle !== undefined);
}

function placesOf(handles: readonly Handle[]): Map<Handle, number> {
  return new Map(handles.map((handle, index) => [handle, index]));
}

/** Where the engine has a guide; nothing stands for the base. */
function place(held: HeldSession, guide: string | null): number | undefined {
  return guide === null ? undefined : held.guides.indexOf(guide);
}
