/** What the page keeps of each generated token, and what it adds up from them. */

import type { Message, Step, StopReason } from '../engine/port';

/** A guide as it stood when an answer began: later edits of the desk do not rewrite history. */
export interface GuideLabel {
  /** The name the engine knows it by, and the key of every per-guide number. */
  readonly key: string;
  readonly name: string;
  /** Which of the six guide colours it wears. */
  readonly hue: number;
}

export interface TokenRecord {
  readonly index: number;
  readonly id: number;
  readonly text: string;
  /** `log p_mix − log p_base` of this token, both at temperature 1, nats. */
  readonly shift: number;
  readonly kl: number;
  readonly step: Step;
}

export function tokenRecord(step: Step): TokenRecord {
  // With every fader at 0 no guide moved anything; what differs then is a penalty's doing, or rounding.
  const guided = Object.values(step.weights).some((weight) => weight !== 0);
  return {
    index: step.index,
    id: step.id,
    text: step.text,
    shift: guided ? step.logProbs.mix - step.logProbs.base : 0,
    kl: guided ? step.kl : 0,
    step,
  };
}

export interface Timing {
  /** Milliseconds from Generate to the first token; NaN before it. */
  readonly firstTokenMs: number;
  /** Tokens a second between the first and the last token; NaN before the second. */
  readonly tokensPerSecond: number;
}

export function timing(startedAt: number, tokenTimes: readonly number[]): Timing {
  const first = tokenTimes[0];
  const last = tokenTimes.at(-1);
  return {
    firstTokenMs: first === undefined ? Number.NaN : first - startedAt,
    tokensPerSecond:
      first === undefined || last === undefined || last <= first
        ? Number.NaN
        : ((tokenTimes.length - 1) * 1000) / (last - first),
  };
}

/** Mean of KL(mix‖base) over an answer's tokens, nats. */
export function meanKl(tokens: readonly TokenRecord[]): number {
  if (tokens.length === 0) return Number.NaN;
  return tokens.reduce((sum, token) => sum + token.kl, 0) / tokens.length;
}

/** The conversation as the engine wants it: a prompt whose answer is empty is left out with it. */
export function messagesOf(
  turns: readonly { readonly prompt: string; readonly text: string }[],
  prompt: string,
): Message[] {
  const messages: Message[] = [];
  for (const turn of turns) {
    if (turn.text.trim() === '') continue;
    messages.push({ role: 'user', content: turn.prompt }, { role: 'assistant', content: turn.text });
  }
  messages.push({ role: 'user', content: prompt });
  return messages;
}

/** How much of a prompt did not have to be computed, 0..1; 0 for one that was all new. */
export function reusedPart({ computed, positions }: { readonly computed: number; readonly positions: number }): number {
  return positions > 0 ? Math.max(0, 1 - computed / positions) : 0;
}

export function stopInWords(stop: StopReason | null): string {
  switch (stop) {
    case 'end':
      return 'Finished';
    case 'length':
      return 'Reached the token limit';
    case 'context':
      return 'The context is full';
    case 'stopped':
      return 'Stopped';
    case 'stop_string':
      return 'Came to a stop text';
    case null:
      return '';
  }
}
