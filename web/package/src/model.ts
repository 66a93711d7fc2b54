import { Adapter, type Adapters, wireAdapters } from './adapter.js';
import type { Channel } from './channel.js';
import { PilotfishError } from './errors.js';
import type { Handle, HandleOptions, WireAdapter, WireGuide, WireSession } from './protocol.js';
import { promptOf } from './prompt.js';
import { RewardModel } from './reward.js';
import { wireMethod } from './scorer.js';
import { Session } from './session.js';
import { loadParams, wireSource } from './source.js';
import type {
  Filter,
  LoadOptions,
  Message,
  Method,
  ModelInfo,
  PeftSource,
  Progress,
  Prompt,
  Sampling,
  SavedSession,
  Scorer,
  Source,
  TokenRules,
  Weight,
  WhenFull,
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
    /**
     * `logits`: every step brings the mixed logits of the whole vocabulary. `mix`: of its report only what is the mix's own, which makes
     * guides cheaper on the CPU; searches report as ever.
     */
    readonly return?: 'mix' | 'logits';
    /** Texts of the same prompt that are made at once; sample `i` has the seed plus `i`. Rows times samples may be 32. */
    readonly samples?: number;
    /** How tokens are chosen; from the mix when left out. */
    readonly method?: Method<Name>;
    /** What happens when the context is full; `stop` when left out. A search above the step stops. */
    readonly whenFull?: WhenFull;
    /** Tokens that prompt and continuation may take together. */
    readonly contextLength?: number;
    /** Positions of keys and values over all rows, forks included; what rows and samples need when left out. */
    readonly poolLength?: number;
    readonly maxTokens?: number;
    /** How many steps the GPU may be ahead of what was read. A slider acts after so many. */
    readonly inFlight?: number;
    /** Aborts the prefill; later, stops the session and makes its iteration throw the reason. */
    readonly signal?: AbortSignal;
    readonly onProgress?: (progress: Progress) => void;
  };

/** What a saved session cannot hold: adapters and models of its guides, a function that rewards. */
export interface RestoreOptions {
  /** By the name of the guide; shares and preferences are the saved ones. */
  readonly guides?: Readonly<Record<string, { readonly adapter: Adapters } | { readonly model: Model }>>;
  /** The base's own. */
  readonly adapter?: Adapters;
  readonly reward?: Scorer;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: Progress) => void;
}

/** How a reward model reads. */
export interface RewardOptions {
  /** The score that is the reward, by label or number. */
  readonly class?: string | number;
  /** Tokens that prompt and text may take together; at most 4,096 when left out. */
  readonly contextLength?: number;
}

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

  /**
   * Readies this model to reward what is said after a prompt: it must have the head of a classifier (`cls.output.weight`, as
   * llama.cpp's converter writes it for reward models and rerankers). It need not share the base's vocabulary. `class` names one of
   * its scores, by label or number; left out, the model has one score, or those labelled `yes` and `no`.
   * @throws PilotfishError `reward.class`, `reward.needs_text`
   */
  async reward(options: Prompt & RewardOptions): Promise<RewardModel> {
    const { class: className, contextLength } = options;
    const wire = { class: className === undefined ? undefined : String(className), contextLength };
    const params = { model: this.#live(), prompt: promptOf(options), ...withoutUndefined(wire) };
    return new RewardModel(this.#channel, await this.#channel.call('reward', params));
  }

  /** Allocates the rows' caches, reads the prompts, and stands ready to generate. */
  async session<const Name extends string = string>(options: SessionOptions<Name>): Promise<Session<Name>> {
    const { signal, onProgress } = options;
    const { wire, reward } = this.#wire(options);
    const params = { model: this.#live(), options: wire, scored: reward !== undefined };
    const made = await this.#channel.call('session', params, { signal, onProgress });
    const on = this.#modelsOf(wire.guides);
    return new Session<Name>(this.#channel, made, { on, reward, signal });
  }

  /**
   * Goes on from what `session.save()` gave: the text is the one that the session would have made. Adapters and models of its guides
   * are named again, in the order in which the guide has them.
   * @throws PilotfishError `argument.invalid` where one is missing
   */
  async restore(saved: SavedSession, options: RestoreOptions = {}): Promise<Session> {
    const { reward, signal, onProgress } = options;
    const engine = savedOptions(saved);
    const guides = engine.guides.map((guide) => {
      const given = options.guides?.[guide.name];
      const named = `guide ${guide.name}`;
      if (guide.adapters !== undefined) {
        const again = this.#again(guide.adapters, given && 'adapter' in given ? given.adapter : undefined, named);
        return { ...guide, adapters: again.uses, model: again.on === this.#handle ? null : again.on };
      }
      if (typeof guide.model !== 'number') return guide;
      if (!given || !('model' in given)) throw new PilotfishError('argument.invalid', `${named} needs its model`);
      return { ...guide, model: given.model.#of(this.#channel, named) };
    });
    const own = engine.adapters ?? [];
    const adapters = own.length === 0 ? [] : this.#again(own, options.adapter, 'the base').uses;
    if ((engine.method?.name ?? 'genarm') !== 'genarm' && !engine.method?.reward && reward === undefined) {
      throw new PilotfishError(
        'argument.invalid',
        `${engine.method?.name} was rewarded by a function: name it as reward`,
      );
    }
    const params = { model: this.#live(), options: { ...engine, guides, adapters }, scored: reward !== undefined };
    const made = await this.#channel.call('restore', params, { signal, onProgress });
    const lengths = engine.continued.map((ids) => ids.length);
    return new Session(this.#channel, made, { on: this.#modelsOf(guides), reward, signal, lengths });
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

  /** This model's handle, for a guide that runs on it. */
  #of(channel: Channel, guide: string): Handle {
    if (this.#channel !== channel) {
      throw new PilotfishError('argument.invalid', `${guide}: its model belongs to another Pilotfish instance`);
    }
    return this.#live();
  }

  /** The model that each guide runs on, and the base. */
  #modelsOf(guides: readonly { name: string; model?: Handle | null }[]): Map<string | null, Handle> {
    const on = guides.map(({ name, model }): [string, Handle] => [name, model ?? this.#handle]);
    return new Map<string | null, Handle>([[null, this.#handle], ...on]);
  }

  /** Saved shares and preferences of adapters that are given again. */
  #again(
    saved: readonly WireAdapter[],
    adapters: Adapters | undefined,
    who: string,
  ): { on: Handle; uses: WireAdapter[] } {
    const { on, uses } =
      adapters === undefined ? { on: this.#handle, uses: [] } : wireAdapters(this.#channel, adapters, who);
    if (uses.length !== saved.length) {
      throw new PilotfishError(
        'argument.invalid',
        `${who} was saved with ${saved.length} adapters, given: ${uses.length}`,
      );
    }
    return { on, uses: saved.map((use, at) => ({ ...use, adapter: uses[at]?.adapter ?? use.adapter })) };
  }

  #wire<Name extends string>(options: SessionOptions<Name>): { wire: WireSession; reward: Scorer | undefined } {
    const guides = Object.entries<Guide>(options.guides ?? {}).map(([name, guide]): WireGuide => {
      const weight = guide.weight ?? 1;
      if (guide.adapter !== undefined) {
        const { on, uses } = wireAdapters(this.#channel, guide.adapter, `guide ${name}`);
        const relative = guide.relative === true ? { relative: true } : {};
        return { name, weight, adapters: uses, ...relative, ...(on === this.#handle ? {} : { model: on }) };
      }
      if (guide.model === undefined) return { name, weight, context: guide.context, against: guide.against ?? null };
      return { name, weight, model: guide.model.#of(this.#channel, `guide ${name}`) };
    });
    const { normalize, filter, tokens, samples, whenFull, contextLength, poolLength, maxTokens, inFlight } = options;
    const names = guides.map(({ name }) => name);
    const chosen = options.method === undefined ? undefined : wireMethod(options.method, names);
    const forced = options.forced === undefined ? undefined : Array.from(options.forced);
    const stop = typeof options.stop === 'string' ? [options.stop] : options.stop;
    const own = options.adapter === undefined ? undefined : wireAdapters(this.#channel, options.adapter, 'the base');
    if (own !== undefined && own.on !== this.#handle) {
      throw new PilotfishError('argument.invalid', "the base's adapter was loaded for another model");
    }
    const wire = {
      prompt: promptOf(options),
      guides,
      ...(own === undefined ? {} : { adapters: own.uses }),
      sampling: samplingOf(options),
      ...withoutUndefined({ normalize, filter, tokens, forced, stop, return: options.return }),
      ...withoutUndefined({
        samples,
        method: chosen?.method,
        whenFull,
        contextLength,
        poolLength,
        maxTokens,
        inFlight,
      }),
    };
    return { wire, reward: chosen?.reward };
  }
}

function isPeft(source: Source | PeftSource): source is PeftSource {
  return typeof source === 'object' && 'config' in source && 'weights' in source;
}

/** What of a saved session's options is looked at here. */
interface SavedOptions extends HandleOptions {
  readonly continued: readonly (readonly number[])[];
  readonly method?: { readonly name: string; readonly reward?: string | null };
}

/** @throws PilotfishError `argument.invalid` for what no session saved */
function savedOptions({ version, options }: SavedSession): SavedOptions {
  if (version !== 1 || !('guides' in options && Array.isArray(options.guides)) || !('continued' in options)) {
    throw new PilotfishError(
      'argument.invalid',
      `a saved session has version 1 and options, found version ${String(version)}`,
    );
  }
  return options as SavedOptions;
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
