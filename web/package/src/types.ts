/** The public shapes. Log-probabilities are natural; entropy and KL are in nats; sizes are bytes. */

/**
 * How matrix-vector products are shaped; `auto` measures on the device. `rows` and `packed` are for adapters that run on the CPU;
 * `packed` rounds activations to 8 bits (mean KL 1e-3), all others compute in f32.
 */
export type Matvec = 'auto' | 'workgroup' | 'subgroup' | 'rows' | 'packed';

/**
 * What runs the steps. `auto` takes the GPU; where there is none, the CPU; and where the GPU is software that plays one, whichever
 * is measured to be faster on the first model.
 */
export type Backend = 'auto' | 'gpu' | 'cpu';

/** How exactly the CPU multiplies: in f32, or with activations of 8 bits as llama.cpp does. */
export type Precision = 'exact' | 'fast';

export interface OpenOptions {
  /** `auto` by default. */
  readonly backend?: Backend;
  /** `fast` by default on the CPU; a GPU is always exact. */
  readonly precision?: Precision;
  /**
   * Threads of the CPU backend; as many as the machine has cores, at most 8, where it is not said. A page that is not cross-origin
   * isolated has one.
   */
  readonly threads?: number;
  readonly matvec?: Matvec;
  /** Which adapter a machine with two should give; `high` by default. */
  readonly power?: 'high' | 'low';
  /** Use `subgroups` where the adapter has them; true by default. */
  readonly subgroups?: boolean;
  readonly signal?: AbortSignal;
  /** Makes the worker, for a setup whose bundler does not find it by itself. */
  readonly worker?: () => Worker;
  /** The same for a thread of the CPU backend, which the page makes, too. */
  readonly thread?: () => Worker;
}

export interface EngineInfo {
  /** What runs the models; null before the first is loaded where that is still to be measured. */
  readonly backend: 'gpu' | 'cpu' | null;
  /** Why that one, where it was not asked for: a sentence, or ''. */
  readonly why: string;
  /** The GPU; null where none was opened. */
  readonly adapter: {
    readonly vendor: string;
    readonly architecture: string;
    readonly device: string;
    readonly description: string;
    readonly backend: string;
  } | null;
  /** True when the adapter runs on the CPU (SwiftShader, lavapipe, WARP): correct, and slow. */
  readonly software: boolean;
  readonly features: readonly string[];
  readonly limits: Readonly<Record<string, number>>;
  /** How a GPU multiplies matrices and vectors; '' without one. */
  readonly matvec: string;
  /** The CPU backend; null where it cannot come to be used. */
  readonly cpu: CpuInfo | null;
}

export interface CpuInfo {
  readonly threads: number;
  /** `relaxed-simd-u8` (whose dot product takes eight bits of both factors), `relaxed-simd` or `simd128`. */
  readonly instructions: string;
  readonly precision: Precision;
}

export interface ModelInfo {
  readonly name: string;
  readonly architecture: string;
  readonly nVocab: number;
  readonly contextLength: number;
  readonly hidden: number;
  readonly nLayers: number;
  readonly nHeads: number;
  readonly nKvHeads: number;
  readonly parameters: number;
  readonly weightBytes: number;
  /** How many tensors of each type the file holds: `{ q4_1: 210, f32: 61 }`. */
  readonly tensorTypes: Readonly<Record<string, number>>;
  readonly license: string | null;
  readonly hasChatTemplate: boolean;
}

export interface AdapterInfo {
  /** As the file says; may be empty. */
  readonly name: string;
  /** The model it was made for, if it says. */
  readonly base: string | null;
  /** Whether that name is the loaded model's, as far as names tell; null where either has none. */
  readonly baseMatches: boolean | null;
  /** The matrices it changes: `q`, `k`, `v`, `o`, `gate`, `up`, `down`. */
  readonly modules: readonly string[];
  readonly layers: number;
  /** The largest rank. */
  readonly rank: number;
  readonly parameters: number;
  /** Entries of its preference vector; 0 for most. */
  readonly preferences: number;
}

/** The two files of a directory that PEFT wrote. */
export interface PeftSource {
  /** `adapter_config.json` */
  readonly config: Source;
  /** `adapter_model.safetensors` */
  readonly weights: Source;
}

export interface Progress {
  /** What is being done: `download`, `verify`, `read`, `upload`, `prefill`, ... */
  readonly phase: string;
  readonly loaded: number;
  /** 0 while unknown. */
  readonly total: number;
}

/** Where a model's bytes come from. A string is a URL, relative to the page. */
export type Source = string | URL | Blob | ArrayBuffer | Uint8Array | FileSystemFileHandle;

export interface LoadOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: Progress) => void;
  /** Expected SHA-256 of the whole file, 64 hex digits. */
  readonly sha256?: string;
  /** Keep a downloaded file in the browser's private storage; true by default. */
  readonly cache?: boolean;
}

export interface Message {
  readonly role: 'system' | 'user' | 'assistant' | (string & {});
  readonly content: string;
}

/** What to continue: exactly one of a chat, a plain text, or token ids. */
export type Prompt =
  | { readonly messages: readonly Message[]; readonly prompt?: never; readonly ids?: never }
  | { readonly prompt: string; readonly messages?: never; readonly ids?: never }
  | { readonly ids: readonly number[] | Uint32Array; readonly messages?: never; readonly prompt?: never };

export interface Sampling {
  /** 0 takes the likeliest token every time. */
  readonly temperature: number;
  /** 0 keeps all. */
  readonly topK: number;
  readonly topP: number;
  readonly minP: number;
  /** Keeps the most typical tokens until they hold this share; 1 keeps all. */
  readonly typicalP: number;
  /** Divides the logit of a token that was said (multiplies a negative one); 1 is off. */
  readonly repetitionPenalty: number;
  /** Subtracted once from a token that was said; 0 is off. */
  readonly presencePenalty: number;
  /** Subtracted for each time a token was said; 0 is off. */
  readonly frequencyPenalty: number;
  /** No sequence of so many tokens twice; 0 is off, otherwise at least 2. */
  readonly noRepeatNgram: number;
  /** How many of the last tokens count for the penalties; 0 is all. */
  readonly penaltyLastN: number;
  /** Whether the prompt counts for the penalties; false by default. */
  readonly penalizePrompt: boolean;
  /** No end of the text among the first so many tokens. */
  readonly minTokens: number;
  /** No end of the text at all, but by `maxTokens`, `stop` or a full context. */
  readonly ignoreEos: boolean;
  /** The same seed and settings give the same text. */
  readonly seed: number;
}

/** A number, or points `[step, weight]` with ascending steps, on straight lines between which the weight moves. */
export type Weight = number | readonly (readonly [step: number, weight: number])[];

/** Scores and masks by token id. */
export interface TokenRules {
  /** Added to a token's logit in the mix. */
  readonly logitBias?: Readonly<Record<number, number>>;
  /** Never drawn. */
  readonly banned?: readonly number[];
  /** If given, nothing else is drawn. */
  readonly allowed?: readonly number[];
}

/** Restricts the candidates by one row alone (`base`, or a guide's name), before the mix. */
export type Filter = { readonly row: string } & (
  | {
      /** Tokens with at least this times the probability of the row's best one (contrastive decoding). */
      readonly plausibility: number;
      readonly topK?: never;
      readonly topP?: never;
      readonly typicalP?: never;
    }
  | { readonly topK: number; readonly plausibility?: never; readonly topP?: never; readonly typicalP?: never }
  | { readonly topP: number; readonly plausibility?: never; readonly topK?: never; readonly typicalP?: never }
  | { readonly typicalP: number; readonly plausibility?: never; readonly topK?: never; readonly topP?: never }
);

/** Scores texts, each what was said after the prompt, so far: one finite number a text, the higher the better. */
export type Scorer = (texts: readonly string[]) => Scores | Promise<Scores>;
export type Scores = readonly number[] | Float32Array | Float64Array;

/**
 * How tokens are chosen: by the mix alone (`genarm`), or by a search above it, which a reward decides. The search starts from the
 * mix's log-probabilities; at temperature 0 `args` and `transfer-q` take the best token, otherwise they draw.
 */
export type Method<Guide extends string = string> =
  | {
      /** One step a token, drawn from the mix (arXiv 2410.08193, and all that is a weighted sum). */
      readonly name: 'genarm';
    }
  | {
      /** The token with the highest log-probability plus `weight` times the reward of the text that ends with it (arXiv 2402.01694). */
      readonly name: 'args';
      readonly reward: Reward<Guide>;
      /** Of the likeliest tokens, how many are tried: 1 to 64, 10 when left out. */
      readonly candidates?: number;
      /** Of either sign; 1 when left out. */
      readonly weight?: number;
    }
  | {
      /** As `args`, but the reward is that of the text after `rollout` tokens more (arXiv 2405.20495). */
      readonly name: 'transfer-q';
      readonly reward: Reward<Guide>;
      /** How many tokens are tried: each takes a sample's rows, of which there may be 32. 10 when left out. */
      readonly candidates?: number;
      readonly weight?: number;
      /** Tokens; 16 when left out. */
      readonly rollout?: number;
    }
  | {
      /** Of whole texts from the mix, the one with the highest reward. The first step comes when all are there. */
      readonly name: 'best-of-n';
      readonly reward: Reward<Guide>;
      /** Texts: 1 to 256, 16 when left out. */
      readonly candidates?: number;
    }
  | {
      /** Segments, drawn until one is accepted for its reward (arXiv 2406.16306). */
      readonly name: 'cards';
      readonly reward: Reward<Guide>;
      /** Draws of a segment at most, of which the best is taken then; 8 when left out. */
      readonly candidates?: number;
      /** A segment ends before a token whose entropy under the base is at least this, in nats; 2 when left out. */
      readonly entropy?: number;
      /** Tokens of a segment at most; 32 when left out. */
      readonly segment?: number;
      /** The reward that a text of `maxTokens` tokens should reach, a shorter one in proportion; 0 when left out. */
      readonly goal?: number;
      /** A segment `r` below that is accepted with probability exp(−r / beta); 1 when left out. */
      readonly beta?: number;
    };

/**
 * A guide's name: the sum of its log-probabilities (for a relative or context guide, of the difference it makes). Or a function, which
 * runs in the page's thread.
 */
export type Reward<Guide extends string = string> = Guide | Scorer;

/**
 * When the context is full: `stop` ends the text with `context`; `shift` keeps the prompt, drops half of what follows, and goes on;
 * `keep` does the same, but keeps so many first tokens of each row.
 */
export type WhenFull = 'stop' | 'shift' | { readonly keep: number };

/** What a session has done so far. */
export interface Cost {
  /** Steps that were begun. */
  readonly steps: number;
  /** Positions computed in steps, over all rows. */
  readonly decoded: number;
  /** Positions computed while reading prompts, over all rows. */
  readonly prefilled: number;
  /** Positions that did not need to be computed, because their keys and values were there. */
  readonly reused: number;
  /** Texts that a scorer was asked about. */
  readonly scored: number;
  /** Bytes of the most keys and values that were held at once. */
  readonly kvPeak: number;
}

/** A session as plain data, to be kept as JSON; `model.restore` goes on from it. */
export interface SavedSession {
  readonly version: 1;
  /** In the engine's words: options, live changes included, and the token ids of each sample. */
  readonly options: object;
}

export interface StepOf<Guide extends string = string> {
  /** Counts from 0, in each sample. */
  readonly index: number;
  /** Which of the session's samples it belongs to. */
  readonly sample: number;
  readonly id: number;
  /**
   * The newly decoded piece of text; empty while a character is only half there, or while it may be the beginning of a stop
   * string.
   */
  readonly text: string;
  readonly stop: 'end' | 'length' | 'context' | 'stop_string' | null;
  /** The stop string that ended the text. */
  readonly stopString?: string;
  /** Tokens that were dropped before this one, because the context was full; 0 nearly always. */
  readonly shifted: number;
  /** Of a search: what the text up to here, or the whole text or segment that it chose, is rewarded with. */
  readonly reward?: number;
  readonly logProbs: {
    /** NaN with `return: 'mix'`, as the guides are. */
    readonly base: number;
    /** The mix at temperature 1, like the base and the guides. */
    readonly mix: number;
    /** The mix at its temperature, before the filters: what was drawn from. */
    readonly sampled: number;
    readonly guides: Readonly<Record<Guide, number>>;
  };
  /** Entropy of the base's distribution; NaN with `return: 'mix'`. */
  readonly entropy: number;
  /** KL(mix‖base), both at temperature 1: how far guides, scores and penalties moved this step; NaN with `return: 'mix'`. */
  readonly kl: number;
  /** The weight that each guide had when this token was chosen. */
  readonly weights: Readonly<Record<Guide, number>>;
  readonly temperature: number;
  /** The mix's best tokens, best first. */
  readonly candidates: readonly CandidateOf<Guide>[];
  /** The mixed logits of the whole vocabulary, -Infinity where left out; only with `return: 'logits'`. */
  readonly logits?: Float32Array;
}

export interface CandidateOf<Guide extends string = string> {
  readonly id: number;
  readonly text: string;
  /** NaN with `return: 'mix'`, as the guides are. */
  readonly base: number;
  readonly mix: number;
  readonly sampled: number;
  readonly guides: Readonly<Record<Guide, number>>;
}

export type Step = StepOf;
export type Candidate = CandidateOf;

export interface SessionInfo {
  /** Texts, or trials of a search, that run at once, each with rows like these. */
  readonly samples: number;
  readonly rows: readonly {
    readonly name: string;
    readonly model: string;
    readonly promptTokens: number;
    /** How many adapters it runs under. */
    readonly adapters: number;
  }[];
  readonly dispatchesPerStep: number;
  readonly weightBytesPerStep: number;
  readonly memory: {
    readonly weights: number;
    readonly adapters: number;
    readonly kv: number;
    readonly activations: number;
  };
  readonly contextLength: number;
}

export interface CacheEntry {
  readonly url: string;
  /** Bytes here. */
  readonly received: number;
  /** Bytes of the whole file, null while unknown. */
  readonly size: number | null;
  readonly complete: boolean;
  /** Of the content, once complete. */
  readonly sha256: string | null;
  readonly addedAt: Date;
}

export interface CacheUsage {
  /** Bytes that this package's files take. */
  readonly models: number;
  /** Bytes that the site takes in all, and may take. */
  readonly used: number;
  readonly quota: number;
}
