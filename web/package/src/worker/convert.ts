/** The engine's JSON (snake_case, guides by position) to the package's types (camelCase, guides by name), and back. */

import type { WireSession } from '../protocol';
import type { EngineInfo, ModelInfo, Progress, Sampling, SessionInfo, Step } from '../types';

interface WireEngineInfo {
  adapter: EngineInfo['adapter'];
  software: boolean;
  features: string[];
  limits: Record<string, number>;
  matvec: string;
}

export function engineInfo(json: string): EngineInfo {
  const { adapter, software, features, limits, matvec } = JSON.parse(json) as WireEngineInfo;
  return { adapter, software, features, matvec, limits: mapKeys(limits, camel) };
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

interface WireSessionInfo {
  rows: { name: string; model: string; prompt_tokens: number }[];
  dispatches_per_step: number;
  weight_bytes_per_step: number;
  memory: { weights: number; kv: number; activations: number };
  context_length: number;
}

export function sessionInfo(json: string): SessionInfo {
  const wire = JSON.parse(json) as WireSessionInfo;
  return {
    rows: wire.rows.map(({ name, model, prompt_tokens }) => ({ name, model, promptTokens: prompt_tokens })),
    dispatchesPerStep: wire.dispatches_per_step,
    weightBytesPerStep: wire.weight_bytes_per_step,
    memory: wire.memory,
    contextLength: wire.context_length,
  };
}

interface WireStep {
  index: number;
  id: number;
  text: string;
  stop: Step['stop'];
  log_probs: { base: number; mix: number; guides: number[] };
  entropy: number;
  kl: number;
  weights: number[];
  temperature: number;
  candidates: { id: number; text: string; base: number; mix: number; guides: number[] }[];
}

/** @param guides names in the order in which the engine has them */
export function step(json: string, guides: readonly string[]): Step {
  const wire = JSON.parse(json) as WireStep;
  const byName = (values: number[]) =>
    Object.fromEntries(guides.map((name, index) => [name, values[index] ?? Number.NaN]));
  const { index, id, text, stop, entropy, kl, temperature } = wire;
  return {
    index,
    id,
    text,
    stop,
    logProbs: { base: wire.log_probs.base, mix: wire.log_probs.mix, guides: byName(wire.log_probs.guides) },
    entropy,
    kl,
    weights: byName(wire.weights),
    temperature,
    candidates: wire.candidates.map((candidate) => ({
      id: candidate.id,
      text: candidate.text,
      base: candidate.base,
      mix: candidate.mix,
      guides: byName(candidate.guides),
    })),
  };
}

export function progress(json: string): Progress {
  const { phase, done, total } = JSON.parse(json) as { phase: string; done: number; total: number };
  return { phase, loaded: done, total };
}

export function samplingJson(sampling: Partial<Sampling>): string {
  return JSON.stringify(mapKeys(sampling, snake));
}

/** @param modelIndex where a guide's model stands in the list that goes beside the options */
export function sessionJson(options: WireSession, modelIndex: ReadonlyMap<number, number>): string {
  const { prompt, guides, sampling, ...rest } = options;
  return JSON.stringify({
    prompt,
    guides: guides.map(({ model, ...guide }) =>
      model === undefined ? guide : { name: guide.name, weight: guide.weight, model: modelIndex.get(model) },
    ),
    sampling: mapKeys(sampling, snake),
    ...mapKeys(rest, snake),
  });
}

const camel = (name: string) => name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
const snake = (name: string) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

function mapKeys<V>(record: Readonly<Record<string, V>> | object, rename: (name: string) => string): Record<string, V> {
  return Object.fromEntries(Object.entries(record).map(([name, value]) => [rename(name), value as V]));
}
