import { Adapter, type Adapters, wireAdapters } from './adapter.js';
import type { Channel } from './channel.js';
import { PilotfishError } from './errors.js';
import type { Handle, WireGuide, WirePrompt, WireSession } from './protocol.js';
import { Session } from './session.js';
import { loadParams, wireSource } from './source.js';
import type {
  Filter,
  LoadOptions,
  Message,
  ModelInfo,
  PeftSource,
  Progress,
  Prompt,
  Sampling,
  Source,
  TokenRules,
  Weight,
} from './types.js';

/**
 * What steers: adapters over a model's weights (a reward model of GenARM is one, over the base's own), a sentence read by the
 * base itself, or a second model with the same vocabulary.
 */
export type Guide =
  | {
      /** Loaded for the base, or for another model with its vocabulary; several are a soup. */
      readonly adapter: Adapters;
      /** Add only what the adapter changes: then negative weights turn it round. Otherwise all of a reward model's log-probability. */
      readonly relative?: boolean;
      /** Of either sign, or points over steps; 1 when left out. */
      readonly weight?: Weight;
      readonly context?: never;
      readonly against?: never;
      readonly model?: never;
    }
  | {
      /** The base, told this, speaks for the guide: `weight` times what it changes. */
      readonly context: string;
      /** Told this instead, the base speaks against it; the plain prompt when left out. */
      readonly against?: string | null;
      /** Of either sign, or points over steps; 1 when left out. */
      readonly weight?: Weight;
      readonly model?: never;
      readonly adapter?: never;
    }
  | {
      /** A model with the base's vocabulary, loaded by the same `Pilotfish`. */
      readonly model: Model;
      /** Of either sign, or points over steps; 1 when left out. */
      readonly weight?: Weight;
      readonly context?: never;
      readonly against?: never;
      readonly adapter?: never;
    };

export type SessionOptions<Name extends string = string> = Prompt &
  Partial<Sampling> & {
    /** Any number of guides, by name. */
    readonly guides?: Readonly<Record<Name, Guide>>;
    /** Adapters of the base itself: a tuned base. */
    readonly adapter?: Adapters;
    /** Divide by the sum of weights (the base's is 1) instead of adding. */
    readonly normalize?: boolean;
    readonly filter?: Filter | null;
    /** Scores, banned and allowed tokens; `session.setTokens` changes them. */
    readonly tokens?: TokenRules;
    /** The first tokens of the answer, whatever the mix says; at most 256. */
    readonly forced?: readonly number[] | Uint32Array;
    /** Texts that end the answer wherever they appear; neither they nor a part of them is given out. */
    readonly stop?: string | readonly string[];
    /** `logits`: every step brings the mixed logits of the whole vocabulary. */
    readonly return?: 'logits';
    /** Tokens that prompt and continuation may take together. */
    readonly contextLength?: number;
    readonly maxTokens?: number;
    /** How many steps the GPU may be ahead of what was read. A slider acts after so many. */
    readonly inFlight?: number;
    /** Aborts the prefill; later, stops the session and makes its iteration throw the reason. */
    readonly signal?: AbortSignal;
    readonly onProgress?: (progress: Progress) => void;
  };

/** A model on the GPU. */
export class Model {
  readonly info: ModelInfo;
  readonly #channel: Channel;
  readonly #handle: Handle;
  #disposed = false;

  /** @internal */
  constructor(channel: Channel, handle: Handle, info: ModelInfo) {
    this.#channel = channel;
    this.#handle = handle;
    this.info = info;
  }

  /** Token ids of a text. `special` lets names of special tokens in the text stand for them; no start token is added. */
  async tokenize(text: string, { special = false }: { readonly special?: boolean } = {}): Promise<Uint32Array> {
    return this.#channel.call('tokenize', { model: this.#live(), text, special });
  }

  async detokenize(ids: readonly number[] | Uint32Array): Promise<string> {
    return this.#channel.call('detokenize', { model: this.#live(), ids: Uint32Array.from(ids) });
  }

  /** The text that the file's chat template makes of a conversation, ready for the assistant's turn. */
  async chat(messages: readonly Message[]): Promise<string> {
    return this.#channel.call('chat', { model: this.#live(), messages });
  }

  /**
   * Loads an adapter for this model: a GGUF file, or the two files of a PEFT directory. The model's weights stay as they are;
   * only rows that name the adapter run under it.
   */
  async loadAdapter(source: Source | PeftSource, options: LoadOptions = {}): Promise<Adapter> {
    const { signal, onProgress } = options;
    const on = this.#live();
    const wire = isPeft(source)
      ? { config: wireSource(source.config), weights: wireSource(source.weights) }
      : { gguf: wireSource(source) };
    const params = { model: on, source: wire, ...loadParams(options) };
    const { handle, info } = await this.#channel.call('loadAdapter', params, { signal, onProgress });
    return new Adapter(this.#channel, handle, on, info);
  }

  /** Allocates the rows' caches, reads the prompts, and stands ready to generate. */
  async session<const Name extends string = string>(options: SessionOptions<Name>): Promise<Session<Name>> {
    const wire = this.#wire(options);
    const { signal, onProgress } = options;
    const made = await this.#channel.call('session', { model: this.#live(), options: wire }, { signal, onProgress });
    return new Session<Name>(this.#channel, made.handle, made.info, Object.keys(options.guides ?? {}), signal);
  }

  /** Frees the model. Sessions that use it keep what they need until they are disposed of. */
  async dispose(): Promise<void> {
    if (this.#disposed) return;
    this.#disposed = true;
    await this.#channel.call('disposeModel', { model: this.#handle });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }

  #live(): Handle {
    if (this.#disposed) throw new PilotfishError('closed', `the model ${this.info.name} was disposed of`);
    return this.#handle;
  }

  #wire<Name extends string>(options: SessionOptions<Name>): WireSession {
    const guides = Object.entries<Guide>(options.guides ?? {}).map(([name, guide]): WireGuide => {
      const weight = guide.weight ?? 1;
      if (guide.adapter !== undefined) {
        const { on, uses } = wireAdapters(this.#channel, guide.adapter, `guide ${name}`);
        const relative = guide.relative === true ? { relative: true } : {};
        return { name, weight, adapters: uses, ...relative, ...(on === this.#handle ? {} : { model: on }) };
      }
      if (guide.model === undefined) return { name, weight, context: guide.context, against: guide.against ?? null };
      if (guide.model.#channel !== this.#channel) {
        throw new PilotfishError('argument.invalid', `guide ${name}: its model belongs to another Pilotfish instance`);
      }
      return { name, weight, model: guide.model.#live() };
    });
    const { normalize, filter, tokens, contextLength, maxTokens, inFlight } = options;
    const forced = options.forced === undefined ? undefined : Array.from(options.forced);
    const stop = typeof options.stop === 'string' ? [options.stop] : options.stop;
    const own = options.adapter === undefined ? undefined : wireAdapters(this.#channel, options.adapter, 'the base');
    if (own !== undefined && own.on !== this.#handle) {
      throw new PilotfishError('argument.invalid', "the base's adapter was loaded for another model");
    }
    return {
      prompt: wirePrompt(options),
      guides,
      ...(own === undefined ? {} : { adapters: own.uses }),
      sampling: samplingOf(options),
      ...withoutUndefined({ normalize, filter, tokens, forced, stop, return: options.return }),
      ...withoutUndefined({ contextLength, maxTokens, inFlight }),
    };
  }
}

function isPeft(source: Source | PeftSource): source is PeftSource {
  return typeof source === 'object' && 'config' in source && 'weights' in source;
}

function wirePrompt({ messages, prompt, ids }: Prompt): WirePrompt {
  const given = [messages, prompt, ids].filter((one) => one !== undefined).length;
  if (given !== 1) {
    throw new PilotfishError('argument.invalid', `give exactly one of messages, prompt and ids; found ${given}`);
  }
  if (messages !== undefined) return { chat: messages };
  return prompt !== undefined ? { text: prompt } : { ids: Array.from(ids ?? []) };
}

/** Of all options, those that say how a token is drawn. */
function samplingOf(options: Partial<Sampling>): Partial<Sampling> {
  const { temperature, topK, topP, minP, typicalP, seed, minTokens, ignoreEos } = options;
  const { repetitionPenalty, presencePenalty, frequencyPenalty, noRepeatNgram, penaltyLastN, penalizePrompt } = options;
  return withoutUndefined({
    ...{ temperature, topK, topP, minP, typicalP, seed, minTokens, ignoreEos },
    ...{ repetitionPenalty, presencePenalty, frequencyPenalty, noRepeatNgram, penaltyLastN, penalizePrompt },
  });
}

type WithoutUndefined<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

export function withoutUndefined<T extends object>(options: T): WithoutUndefined<T> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as WithoutUndefined<T>;
}
