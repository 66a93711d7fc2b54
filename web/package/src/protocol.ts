/**
 * What crosses between the page and the worker. One request, one answer, with the same `id`; progress in between; an abort on
 * the way. Models and sessions live in the worker and are named by handles.
 */

import type { PlainError } from './errors.js';
import type { ThreadStart } from './threads.js';
import type {
  AdapterInfo,
  Backend,
  CacheEntry,
  CacheUsage,
  Cost,
  EngineInfo,
  Filter,
  Message,
  ModelInfo,
  Precision,
  Progress,
  Sampling,
  SavedSession,
  SessionInfo,
  Step,
  TokenRules,
  Weight,
  WhenFull,
} from './types.js';

export type Handle = number;

export type WireSource = { readonly url: string } | { readonly blob: Blob } | { readonly file: FileSystemFileHandle };

export type WirePrompt =
  { readonly chat: readonly Message[] } | { readonly text: string } | { readonly ids: readonly number[] };

export interface WireGuide {
  readonly name: string;
  readonly weight: Weight;
  readonly context?: string;
  readonly against?: string | null;
  readonly model?: Handle;
  readonly adapters?: readonly WireAdapter[];
  readonly relative?: boolean;
}

/** An adapter as a row uses it. */
export interface WireAdapter {
  readonly adapter: Handle;
  readonly share: number;
  readonly preference: readonly number[];
}

export type WireAdapterSource =
  { readonly gguf: WireSource } | { readonly config: WireSource; readonly weights: WireSource };

/** `reward` is a guide's name; without one, the page is asked. */
export type WireMethod = { readonly name: string; readonly reward?: string } & Readonly<
  Record<string, number | string>
>;

export interface WireSession {
  readonly prompt: WirePrompt;
  readonly guides: readonly WireGuide[];
  /** The base's own. */
  readonly adapters?: readonly WireAdapter[];
  readonly sampling: Partial<Sampling>;
  readonly normalize?: boolean;
  readonly filter?: Filter | null;
  readonly tokens?: TokenRules;
  readonly forced?: readonly number[];
  readonly stop?: readonly string[];
  readonly return?: 'mix' | 'logits';
  readonly samples?: number;
  readonly method?: WireMethod;
  readonly whenFull?: WhenFull;
  readonly contextLength?: number;
  readonly poolLength?: number;
  readonly maxTokens?: number;
  readonly inFlight?: number;
}

/** The engine's own options, but with handles where it has places. */
export interface HandleOptions {
  readonly guides: readonly {
    readonly name: string;
    readonly context?: string;
    readonly against?: string | null;
    readonly model?: Handle | null;
    readonly adapters?: readonly WireAdapter[];
  }[];
  readonly adapters?: readonly WireAdapter[];
}

/** What the next turn changes; what is left out stays. */
export interface WireTurn {
  readonly prompt: WirePrompt;
  /** Of context guides, by name. */
  readonly contexts?: Readonly<Record<string, { readonly context: string; readonly against: string | null }>>;
  readonly forced?: readonly number[];
  readonly stop?: readonly string[];
  readonly maxTokens?: number;
  readonly whenFull?: WhenFull;
}

export interface MadeSession {
  readonly handle: Handle;
  readonly info: SessionInfo;
}

export interface OpenParams {
  readonly backend?: Backend;
  readonly precision?: Precision;
  readonly threads?: number;
  readonly matvec?: string;
  readonly power?: string;
  readonly subgroups?: boolean;
}

/** The worker's methods: what each takes and answers. */
export interface Methods {
  open(params: OpenParams): EngineInfo;
  /** With what is known of the engine since. */
  load(params: { source: WireSource; sha256?: string; cache: boolean }): {
    handle: Handle;
    info: ModelInfo;
    engine: EngineInfo;
  };
  tokenize(params: { model: Handle; text: string; special: boolean }): Uint32Array;
  detokenize(params: { model: Handle; ids: Uint32Array }): string;
  chat(params: { model: Handle; messages: readonly Message[] }): string;
  disposeModel(params: { model: Handle }): void;
  loadAdapter(params: { model: Handle; source: WireAdapterSource; sha256?: string; cache: boolean }): {
    handle: Handle;
    info: AdapterInfo;
  };
  disposeAdapter(params: { adapter: Handle }): void;
  reward(params: { model: Handle; prompt: WirePrompt; class?: string; contextLength?: number }): Handle;
  score(params: { reward: Handle; texts: readonly string[] }): Float32Array;
  disposeReward(params: { reward: Handle }): void;
  /** With `scored`, the page is asked for rewards. */
  session(params: { model: Handle; options: WireSession; scored: boolean }): MadeSession;
  restore(params: { model: Handle; options: HandleOptions; scored: boolean }): MadeSession;
  turn(params: { session: Handle; turn: WireTurn }): { reused: number; info: SessionInfo };
  resume(params: { session: Handle; maxTokens?: number; whenFull?: WhenFull }): void;
  fork(params: { session: Handle }): MadeSession;
  /** `lengths`: what was read of each sample. */
  save(params: { session: Handle; lengths: readonly number[] }): SavedSession;
  cost(params: { session: Handle }): Cost;
  setAdapters(params: { session: Handle; guide: string | null; uses: readonly WireAdapter[] }): SessionInfo;
  next(params: { session: Handle }): Step | undefined;
  setWeight(params: { session: Handle; guide: string; weight: Weight }): void;
  setShare(params: { session: Handle; guide: string | null; at: number; share: number }): void;
  setPreference(params: { session: Handle; guide: string | null; at: number; preference: readonly number[] }): void;
  setSampling(params: { session: Handle; sampling: Partial<Sampling> }): void;
  setTokens(params: { session: Handle; tokens: TokenRules }): void;
  force(params: { session: Handle; ids: Uint32Array }): void;
  rest(params: { session: Handle }): string;
  stop(params: { session: Handle }): void;
  disposeSession(params: { session: Handle }): void;
  cacheList(params: Record<string, never>): CacheEntry[];
  cacheRemove(params: { url: string }): boolean;
  cacheUsage(params: Record<string, never>): CacheUsage;
  memory(params: Record<string, never>): { wasm: number };
}

export type Method = keyof Methods;
export type Params<M extends Method> = Parameters<Methods[M]>[0];
export type Answer<M extends Method> = ReturnType<Methods[M]>;

export type ToWorker =
  | { readonly [M in Method]: { readonly id: number; readonly method: M; readonly params: Params<M> } }[Method]
  | { readonly id: number; readonly abort: true }
  | Asked
  | Joined;

/** The worker asks for the rewards of texts, which the page answers with the same `ask`. */
export interface Ask {
  readonly ask: number;
  readonly session: Handle;
  readonly texts: readonly string[];
}
export type Asked = { readonly ask: number } & ({ readonly scores: Float32Array } | { readonly error: PlainError });

/** The worker asks for threads, and the page says how many have joined. */
export interface Wanted {
  readonly threads: number;
  readonly start: ThreadStart;
}
export interface Joined {
  readonly joined: number;
}

export type FromWorker =
  | { readonly id: number; readonly answer: unknown }
  | { readonly id: number; readonly error: PlainError }
  | { readonly id: number; readonly progress: Progress }
  | { readonly crash: PlainError }
  | Ask
  | Wanted;

/** The end of a message channel: a `Worker`, a worker's own scope, or (in tests) a `MessagePort`. */
export interface Port {
  postMessage(message: unknown): void;
  addEventListener(type: 'message', listener: (event: MessageEvent) => void): void;
}
