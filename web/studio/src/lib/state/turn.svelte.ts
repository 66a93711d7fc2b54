/** A prompt and the answer growing under it. */

import type { Cost, SessionInfo, StopReason } from '../engine/port';
import { type GuideLabel, type Timing, timing, type TokenRecord } from '../logic/answer';
import type { MethodName, Spent } from '../logic/methods';
import type { Problem } from '../logic/problems';

/** How much of a prompt was computed, in positions over all rows. */
export interface PromptRead {
  readonly computed: number;
  readonly positions: number;
}

export class Turn {
  tokens = $state.raw<readonly TokenRecord[]>([]);
  stop = $state<StopReason | null>(null);
  problem = $state.raw<Problem | null>(null);
  session = $state.raw<SessionInfo | null>(null);
  timing = $state.raw<Timing>({ firstTokenMs: Number.NaN, tokensPerSecond: Number.NaN });
  read = $state.raw<PromptRead | null>(null);
  spent = $state.raw<Spent>({ positions: 0, tokens: 0, ms: 0 });
  #startedAt = performance.now();
  #times: number[] = [];
  /** When the GPU began with the answer itself, and what the session had done until then. */
  #began: { at: number; cost: Cost } | null = null;
  /** Of earlier stretches, before the answer went on. */
  #before: Spent = { positions: 0, tokens: 0, ms: 0 };

  constructor(
    readonly id: number,
    readonly prompt: string,
    readonly guides: readonly GuideLabel[],
    readonly seed: number,
    readonly method: MethodName,
  ) {}

  get text(): string {
    return this.tokens.map((token) => token.text).join('');
  }

  /** Tokens that the full context made the answer forget, in all. */
  get forgotten(): number {
    return this.tokens.reduce((sum, { step }) => sum + step.shifted, 0);
  }

  add(token: TokenRecord): void {
    this.#times.push(performance.now());
    this.tokens = [...this.tokens, token];
    const between = timing(this.#startedAt, this.#times);
    // A search decides before its first token, and one that went on has paused.
    const apart = this.method !== 'genarm' || this.#before.tokens > 0;
    this.timing = apart ? { ...between, tokensPerSecond: (this.tokens.length * 1000) / this.#ms() } : between;
  }

  /** The prompt is read, or the answer goes on: what comes now is the answer's own cost. */
  begin(cost: Cost): void {
    this.#before = this.spent;
    this.#began = { at: performance.now(), cost };
  }

  /** The session's cost as it is now. */
  spend(cost: Cost): void {
    if (this.#began === null) return;
    const { cost: then } = this.#began;
    const positions = cost.decoded + cost.prefilled - then.decoded - then.prefilled;
    this.spent = {
      positions: this.#before.positions + positions,
      tokens: this.tokens.length,
      ms: this.#ms(),
    };
  }

  /** From the prompt's end to the last token, without pauses. */
  #ms(): number {
    const until = this.#times.at(-1) ?? performance.now();
    return this.#before.ms + Math.max(0, until - (this.#began?.at ?? until));
  }
}
