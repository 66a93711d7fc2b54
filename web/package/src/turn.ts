/** What a session that goes on is told. */

import { promptOf } from './prompt.js';
import type { WireTurn } from './protocol.js';
import type { Progress, Prompt, WhenFull } from './types.js';

/** What the next turn begins with. What is left out stays as it was, but for `forced`, which is gone. */
export type TurnOptions<Name extends string = string> = Prompt & {
  /** Other sentences for context guides. */
  readonly guides?: { readonly [N in Name]?: { readonly context: string; readonly against?: string | null } };
  readonly maxTokens?: number;
  readonly stop?: string | readonly string[];
  readonly forced?: readonly number[] | Uint32Array;
  readonly whenFull?: WhenFull;
  /** From now on in place of the session's own. */
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: Progress) => void;
};

export interface ResumeOptions {
  /** Tokens in all, those that are there included; as before when left out. */
  readonly maxTokens?: number;
  /** From now on. What ended because the context was full goes on if it may shift. */
  readonly whenFull?: WhenFull;
  /** From now on in place of the session's own. */
  readonly signal?: AbortSignal;
}

type Contexts = Record<string, { context: string; against: string | null }>;

/** @throws PilotfishError `argument.invalid` for none, or more than one prompt */
export function wireTurn(options: TurnOptions): WireTurn {
  const { guides = {}, forced, stop, maxTokens, whenFull } = options;
  const contexts: Contexts = {};
  for (const [name, told] of Object.entries(guides)) {
    if (told !== undefined) contexts[name] = { context: told.context, against: told.against ?? null };
  }
  return {
    prompt: promptOf(options),
    contexts,
    ...(forced !== undefined && { forced: Array.from(forced) }),
    ...(stop !== undefined && { stop: typeof stop === 'string' ? [stop] : stop }),
    ...(maxTokens !== undefined && { maxTokens }),
    ...(whenFull !== undefined && { whenFull }),
  };
}
