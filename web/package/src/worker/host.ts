/**
 * The worker's end of the channel: owns the engine, its models and sessions, and answers the page's calls.
 * What differs between a browser and a test (the module, the cache, the look at the adapter) is handed in.
 */

import type { Cache } from '../cache/cache.js';
import { absorb, sha256 } from '../cache/sha256.js';
import { PilotfishError, toPlain } from '../errors.js';
import type {
  Answer,
  FromWorker,
  Handle,
  HandleOptions,
  MadeSession,
  Method,
  Params,
  Port,
  ToWorker,
  WireSource,
} from '../protocol.js';
import type { Progress } from '../types.js';
import { Asks } from './asks.js';
import {
  adapterInfo,
  cost,
  engineInfo,
  engineOptions,
  type GpuInfo,
  modelInfo,
  placed,
  placesOf,
  progress as readProgress,
  savedSession,
  step,
  tokensJson,
} from './convert.js';
import { Held } from './held.js';
import { nudgeWhile } from './nudge.js';
import { blobReader } from './reader.js';
import type { Surface, WasmAdapter, WasmEngine, WasmModel, WasmReward } from './surface.js';

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

type Handlers = { readonly [M in Method]: (params: Params<M>, call: Call) => Promise<Answer<M>> | Answer<M> };

export class Host {
  readonly #port: Port;
  readonly #around: Surroundings;
  readonly #calls = new Map<number, AbortController>();
  readonly #models = new Map<Handle, WasmModel>();
  readonly #adapters = new Map<Handle, WasmAdapter>();
  readonly #sessions = new Map<Handle, Held>();
  /** With what each does last: one call after the other. */
  readonly #rewards = new Map<Handle, { readonly reward: WasmReward; tail: Promise<unknown> }>();
  readonly #asks = new Asks((ask) => this.#say(ask));
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
    if ('ask' in message) {
      this.#asks.answer(message);
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

    next: ({ session }) =>
      this.#inTurn(session, async (held) => {
        try {
          const json = await held.session.next();
          return json === undefined ? undefined : step(json, held.guides);
        } catch (error) {
          // A reward that nobody waits for any more.
          if (held.stopping && error instanceof Error && 'code' in error && error.code === 'method.scorer')
            return undefined;
          throw error;
        }
      }),

    turn: ({ session, turn }, call) =>
      this.#inTurn(session, async (held) => {
        held.stopping = false;
        const reused = await held.turn(turn, this.#reporter(call));
        return { reused, info: held.info() };
      }),

    resume: ({ session, maxTokens, whenFull }) =>
      this.#inTurn(session, (held) => {
        held.stopping = false;
        return held.resume(maxTokens, whenFull);
      }),

    fork: ({ session }) => this.#inTurn(session, async (held) => this.#hold(held.fork(await held.session.fork()))),

    save: ({ session, lengths }) => this.#inTurn(session, (held) => savedSession(held.session.save(), lengths)),
    cost: ({ session }) => cost(this.#held(session).remote.cost()),

    setAdapters: ({ session, guide, uses }) =>
      this.#inTurn(session, async (held) => {
        await held.setAdapters(guide, uses, (handle) => this.#adapter(handle).share());
        return held.info();
      }),

    setWeight: ({ session, guide, weight }) =>
      this.#inTurn(session, (held) => {
        const index = held.guides.indexOf(guide);
        if (typeof weight === 'number') held.session.set_weight(index, weight);
        else held.session.set_schedule(index, JSON.stringify(weight));
      }),

    setShare: ({ session, guide, at, share }) =>
      this.#inTurn(session, (held) => held.session.set_share(held.place(guide), at, share)),

    setPreference: ({ session, guide, at, preference }) =>
      this.#inTurn(session, (held) =>
        held.session.set_preference(held.place(guide), at, Float32Array.from(preference)),
      ),

    setSampling: ({ session, sampling }) => this.#inTurn(session, (held) => held.setSampling(sampling)),
    setTokens: ({ session, tokens }) => this.#inTurn(session, (held) => held.session.set_tokens(tokensJson(tokens))),
    force: ({ session, ids }) => this.#inTurn(session, (held) => held.session.force(ids)),
    rest: ({ session }) => this.#inTurn(session, (held) => held.session.rest()),

    stop: ({ session }) => {
      // Not in turn: it reaches a search in the middle of its step.
      this.#held(session).stop();
      this.#asks.drop(session);
    },

    disposeSession: async ({ session }) => {
      const held = this.#sessions.get(session);
      if (held === undefined) return;
      held.stop();
      this.#asks.drop(session);
      this.#sessions.delete(session);
      await held.inTurn(() => held.free());
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
      this.#reporter(call),
    );
    if (call.signal.aborted) {
      session.free();
      call.signal.throwIfAborted();
    }
    return this.#hold(new Held(session, options, places, names, scored));
  }

  #hold(held: Held): MadeSession {
    const handle = this.#keep(this.#sessions, held);
    if (held.scored) {
      held.session.set_scorer((texts) =>
        held.stopping
          ? Promise.reject(new PilotfishError('closed', 'the text was stopped'))
          : this.#asks.ask(handle, texts),
      );
    }
    return { handle, info: held.info() };
  }

  #held(handle: Handle): Held {
    const held = this.#sessions.get(handle);
    if (held === undefined) throw new PilotfishError('closed', 'the session was disposed of');
    return held;
  }

  async #inTurn<T>(handle: Handle, work: (held: Held) => T | Promise<T>): Promise<T> {
    const held = this.#held(handle);
    return held.inTurn(() => work(held));
  }
}
