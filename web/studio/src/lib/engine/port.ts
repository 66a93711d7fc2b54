/** The engine as the page sees it: the `pilotfish` package's types, by the names that the page uses. No code is imported here. */

import type { Guide, Pilotfish, SessionOptions, Step } from 'pilotfish';

export type {
  Adapter,
  AdapterInfo,
  AdapterUse,
  Backend,
  Candidate,
  Cost,
  EngineInfo,
  LoadOptions,
  Message,
  Method,
  Model,
  ModelInfo,
  Progress,
  Sampling,
  Session,
  SessionInfo,
  Step,
  TurnOptions,
  Weight,
  WhenFull,
} from 'pilotfish';

export type Engine = Pilotfish;
export type GuideSpec = Guide;
/** Why an answer ended: the engine's reasons, and the reader's. */
export type StopReason = NonNullable<Step['stop']> | 'stopped';

/** Where the page takes a model's bytes from: an address, or a file that was chosen or dropped. */
export type Source = string | File;

/** What PEFT wrote: two files that belong together. */
export interface PeftFiles {
  readonly config: Source;
  readonly weights: Source;
}

/** Where the page takes an adapter from. */
export type AdapterSource = Source | PeftFiles;

/** The options that the page always sets. */
export type RunOptions = Required<
  Pick<
    SessionOptions,
    | 'temperature'
    | 'topK'
    | 'topP'
    | 'minP'
    | 'typicalP'
    | 'repetitionPenalty'
    | 'seed'
    | 'stop'
    | 'guides'
    | 'normalize'
    | 'method'
    | 'whenFull'
    | 'contextLength'
    | 'maxTokens'
  >
> &
  Pick<SessionOptions, 'signal' | 'onProgress'> & { readonly messages: NonNullable<SessionOptions['messages']> };
