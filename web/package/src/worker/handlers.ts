/** How the worker answers: a function for each method of the protocol. */

import type { Answer, Method, Params } from '../protocol.js';
import type { Progress } from '../types.js';
import { progress } from './convert.js';

export interface Call {
  readonly signal: AbortSignal;
  progress(progress: Progress): void;
}

export type Handlers = { readonly [M in Method]: (params: Params<M>, call: Call) => Promise<Answer<M>> | Answer<M> };

/** The engine's progress to the page, and the page's abort to the engine. */
export function reporter(call: Call): (json: string) => boolean {
  return (json) => {
    if (!call.signal.aborted) call.progress(progress(json));
    return !call.signal.aborted;
  };
}
