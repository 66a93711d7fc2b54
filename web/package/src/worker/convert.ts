/** The engine's JSON (snake_case, guides by position) to the package's types (camelCase, guides by name), and back. */

import type { Handle, HandleOptions, WireAdapter, WireSession } from '../protocol.js';
import type {
  AdapterInfo,
  Cost,
  EngineInfo,
  Filter,
  ModelInfo,
  Progress,
  Sampling,
  SavedSession,
  SessionInfo,
  Step,
  TokenRules,
  WhenFull,
} from '../types.js';

/** Without a GPU, what describes one is left out. */
interface WireEngineInfo {
  processor: 'gpu' | 'cpu' | null;
  why: string | null;
  backend?: string;
  software?: boolean;
  features?: Record<string, boolean>;
  max_buffer?: number;
  max_binding?: number;
  matvec: string | null;
  cpu: EngineInfo['cpu'];
}

/** What a browser says about a GPU; wgpu passes on only its description. */
export type GpuInfo = Omit<NonNullable<EngineInfo['adapter']>, 'backend'>;

/** @param why why this module was taken; the engine knows more where it had a choice */
export function engineInfo(json: string, adapter: GpuInfo | null, why: string): EngineInfo {
  const wire = JSON.parse(json) as WireEngineInfo;
  const { backend, features = {} } = wire;
  return {
    backend: wire.processor,
    why: wire.why ?? why,
    adapter: backend === undefined || adapter === null ? null : { ...adapter, backend },
    software: wire.software ?? false,
    features: Object.keys(features).filter((feature) => features[feature]),
    limits: wire.max_buffer === undefined ? {} : { maxBuffer: wire.max_buffer, maxBinding: wire.max_binding ?? 0 },
    matvec: wire.matvec ?? '',
    cpu: wire.cpu,
  };
}

interface WireModelInfo {
  name: string;
  architecture: string;
  n_vocab: number;
  context_length: number;
  hidden: number;
  n_layers: number;
  n_heads: number;
  n_kv_heads: number;
  parameters: number;
  weight_bytes: number;
  tensor_types: Record<string, number>;
  license: string | null;
  has_chat_template: boolean;
}

export function modelInfo(json: string): ModelInfo {
  const wire = JSON.parse(json) as WireModelInfo;
  return {
    name: wire.name,
    architecture: wire.architecture,
    nVocab: wire.n_vocab,
    contextLength: wire.context_length,
    hidden: wire.hidden,
    nLayers: wire.n_layers,
    nHeads: wire.n_heads,
    nKvHeads: wire.n_kv_heads,
    parameters: wire.parameters,
    weightBytes: wire.weight_bytes,
    tensorTypes: wire.tensor_types,
    license: wire.license ?? null,
    hasChatTemplate: wire.has_chat_template,
  };
}

export function adapterInfo(json: string): AdapterInfo {
  const { base_matches, ...info } = JSON.parse(json) as Omit<AdapterInfo, 'baseMatches'> & {
    base_matches: boolean | null;
  };
  return { ...info, baseMatches: base_matches };
}

interface WireSessionInfo {
  samples: number;
  rows: { name: string; model: number; prompt_tokens: number; adapters: number[] }[];
  dispatches_per_step: number;
  weight_bytes_per_step: number;
  memory: { weights: number; adapters: number; kv: number; activations: number };
  context_length: number;
}

/** @param models names of the base's and the guides' models, as the engine counts them */
export function sessionInfo(json: string, models: readonly string[]): SessionInfo {
  const wire = JSON.parse(json) as WireSessionInfo;
  return {
    samples: wire.samples,
    rows: wire.rows.map(({ name, model, prompt_tokens, adapters }) => ({
      name,
      model: models[model] ?? '',
      promptTokens: prompt_tokens,
      adapters: adapters.length,
    })),
    dispatchesPerStep: wire.dispatches_per_step,
    weightBytesPerStep: wire.weight_bytes_per_step,
    memory: wire.memory,
    contextLength: wire.context_length,
  };
}

/** JSON has no infinity: null stands for the log of nothing. */
type WireLog = number | null;

/** Of single rows there is nothing where only the mix was asked for. */
interface WireLogProbs {
  base?: WireLog;
  mix: WireLog;
  sampled: WireLog;
  guides: WireLog[];
}

interface WireStep {
  index: number;
  sample: number;
  id: number;
  text: string;
  stop: Step['stop'] | 'stopped';
  stop_string?: string;
  shifted?: number;
  reward?: number;
  log_probs: WireLogProbs;
  entropy?: number;
  /** Null for an infinite one. */
  kl?: number | null;
  weights: number[];
  temperature: number;
  candidates: ({ id: number; text: string } & WireLogProbs)[];
  logits?: WireLog[];
}

/** @param guides names in the order in which the engine has them */
export function step(json: string, guides: readonly string[]): Step {
  const wire = JSON.parse(json) as WireStep;
  const named = <T>(values: T[]) => Object.fromEntries(guides.map((name, index) => [name, values[index]]));
  const log = (value: WireLog | undefined) => (value === undefined ? Number.NaN : (value ?? Number.NEGATIVE_INFINITY));
  const logs = ({ base, mix, sampled, guides: each }: WireLogProbs) => ({
    base: log(base),
    mix: log(mix),
    sampled: log(sampled),
    guides: named(guides.map((_, at) => log(each[at]))) as Record<string, number>,
  });
  const { index, sample, id, text, stop, stop_string: stopString, reward, entropy, kl, temperature, logits } = wire;
  return {
    index,
    sample,
    id,
    text,
    // Who stops a text knows it.
    stop: stop === 'stopped' ? null : stop,
    ...(stopString !== undefined && { stopString }),
    shifted: wire.shifted ?? 0,
    ...(reward !== undefined && { reward }),
    logProbs: logs(wire.log_probs),
    entropy: entropy ?? Number.NaN,
    kl: kl === undefined ? Number.NaN : (kl ?? Number.POSITIVE_INFINITY),
    weights: named(wire.weights) as Record<string, number>,
    temperature,
    candidates: wire.candidates.map((candidate) => ({
      id: candidate.id,
      text: candidate.text,
      ...logs(candidate),
    })),
    ...(logits !== undefined && { logits: Float32Array.from(logits, log) }),
  };
}

export function cost(json: string): Cost {
  const { kv_peak: kvPeak, ...rest } = JSON.parse(json) as Omit<Cost, 'kvPeak'> & { kv_peak: number };
  return { ...rest, kvPeak };
}

/** @param lengths what was read of each sample: the engine may have made more */
export function savedSession(json: string, lengths: readonly number[]): SavedSession {
  const options = JSON.parse(json) as { continued: number[][] };
  const continued = options.continued.map((ids, sample) => ids.slice(0, lengths[sample] ?? 0));
  return { version: 1, options: { ...options, continued } };
}

export function progress(json: string): Progress {
  const { phase, done, total } = JSON.parse(json) as { phase: string; done: number; total: number };
  return { phase, loaded: done, total };
}

/** In the engine's words, which keep the penalties together. */
export interface EngineSampling {
  readonly penalties?: Readonly<Record<string, unknown>>;
  readonly [name: string]: unknown;
}

export function engineSampling(sampling: Partial<Sampling>): EngineSampling {
  const {
    repetitionPenalty: repetition,
    presencePenalty: presence,
    frequencyPenalty: frequency,
    noRepeatNgram: no_repeat_ngram,
    penaltyLastN: last_n,
    penalizePrompt: prompt,
    ...rest
  } = sampling;
  const all = { repetition, presence, frequency, no_repeat_ngram, last_n, prompt };
  const penalties = Object.fromEntries(Object.entries(all).filter(([, one]) => one !== undefined));
  return { ...mapKeys(rest, snake), ...(Object.keys(penalties).length > 0 && { penalties }) };
}

/** All settings after some of them were changed. */
export function changedSampling(old: EngineSampling, change: Partial<Sampling>): EngineSampling {
  const { penalties, ...rest } = engineSampling(change);
  const all = { ...old, ...rest };
  return penalties === undefined ? all : { ...all, penalties: { ...old.penalties, ...penalties } };
}

export function tokensJson(tokens: TokenRules): string {
  return JSON.stringify(wireTokens(tokens));
}

function wireTokens({ logitBias: scores, banned, allowed }: TokenRules): object {
  return { scores, banned, allowed };
}

/** The engine's options, with handles where it has places. */
export function engineOptions(options: WireSession): HandleOptions & Readonly<Record<string, unknown>> {
  const { prompt, guides, sampling, filter, tokens, whenFull, ...rest } = options;
  const scheduled = guides.filter(({ weight }) => typeof weight !== 'number');
  return {
    ...(mapKeys(rest, snake) as Pick<HandleOptions, 'adapters'>),
    ...{ prompt },
    guides: guides.map(({ weight, ...guide }) => ({
      ...guide,
      weight: typeof weight === 'number' ? weight : (weight[0]?.[1] ?? 1),
    })),
    ...(scheduled.length > 0 && { schedules: Object.fromEntries(scheduled.map(({ name, weight }) => [name, weight])) }),
    ...(tokens !== undefined && { tokens: wireTokens(tokens) }),
    sampling: engineSampling(sampling),
    filter: filter === undefined || filter === null ? null : filterJson(filter),
    ...(whenFull !== undefined && { when_full: engineWhenFull(whenFull) }),
  };
}

export function engineWhenFull(whenFull: WhenFull): unknown {
  return whenFull === 'stop' ? whenFull : { shift: whenFull === 'shift' ? {} : whenFull };
}

/** Where handles stand in the lists of models and adapters that go beside the options. */
export interface Places {
  readonly models: readonly Handle[];
  readonly adapters: readonly Handle[];
}

export function placesOf({ adapters = [], guides }: HandleOptions): Places {
  const distinct = (handles: readonly (Handle | null | undefined)[]) =>
    [...new Set(handles)].filter((handle) => handle !== undefined && handle !== null);
  const uses = [adapters, ...guides.map((guide) => guide.adapters ?? [])].flat();
  return { models: distinct(guides.map(({ model }) => model)), adapters: distinct(uses.map((use) => use.adapter)) };
}

/** The engine's options, as it takes them. */
export function placed(options: HandleOptions, { models, adapters: of }: Places): object {
  const { adapters, guides } = options;
  return {
    ...options,
    ...(adapters !== undefined && { adapters: placedUses(adapters, of) }),
    guides: guides.map(({ model, adapters, ...guide }) => ({
      ...guide,
      ...(model !== undefined && model !== null && { model: models.indexOf(model) }),
      ...(adapters !== undefined && { adapters: placedUses(adapters, of) }),
    })),
  };
}

export function placedUses(uses: readonly WireAdapter[], places: readonly Handle[]): object[] {
  return uses.map(({ adapter, ...use }) => ({ adapter: places.indexOf(adapter), ...use }));
}

function filterJson({ row, plausibility, topK, topP, typicalP }: Filter): object {
  if (plausibility !== undefined) return { row, kind: 'plausibility', alpha: plausibility };
  if (typicalP !== undefined) return { row, kind: 'typical_p', p: typicalP };
  return topK !== undefined ? { row, kind: 'top_k', k: topK } : { row, kind: 'top_p', p: topP };
}

const snake = (name: string) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

function mapKeys<V>(record: Readonly<Record<string, V>> | object, rename: (name: string) => string): Record<string, V> {
  return Object.fromEntries(Object.entries(record).map(([name, value]) => [rename(name), value as V]));
}
