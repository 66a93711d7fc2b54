/** The conversation: prompts, the answers growing under them, and the token that is looked at. */

import type { Session, SessionInfo, StopReason } from '../engine/port';
import { type GuideLabel, messagesOf, type Timing, timing, type TokenRecord, tokenRecord } from '../logic/answer';
import { isAbort, type Problem, problemFrom } from '../logic/problems';
import type { Desk, Guide, MixedGuide } from './desk.svelte';
import type { Dials } from './dials.svelte';
import type { Shelf } from './shelf.svelte';

export type TalkPhase = 'idle' | 'reading' | 'writing' | 'stopping';

export class Turn {
  tokens = $state.raw<readonly TokenRecord[]>([]);
  stop = $state<StopReason | null>(null);
  problem = $state.raw<Problem | null>(null);
  session = $state.raw<SessionInfo | null>(null);
  timing = $state.raw<Timing>({ firstTokenMs: Number.NaN, tokensPerSecond: Number.NaN });
  readonly #startedAt = performance.now();
  #times: number[] = [];

  constructor(
    readonly id: number,
    readonly prompt: string,
    readonly guides: readonly GuideLabel[],
    readonly seed: number,
  ) {}

  get text(): string {
    return this.tokens.map((token) => token.text).join('');
  }

  add(token: TokenRecord): void {
    this.#times.push(performance.now());
    this.tokens = [...this.tokens, token];
    this.timing = timing(this.#startedAt, this.#times);
  }
}

export class Talk {
  turns = $state<Turn[]>([]);
  phase = $state<TalkPhase>('idle');
  /** What stands in the prompt box. */
  draft = $state('');
  /** Part of the prompt read so far, 0..1. */
  reading = $state(0);
  /** A failure that left no answer behind. */
  problem = $state.raw<Problem | null>(null);
  selected = $state.raw<{ readonly turn: number; readonly index: number } | null>(null);
  /** Guides the running answer knows: only their faders act on it. */
  playing = $state.raw<ReadonlyMap<number, string>>(new Map());
  #session: Session | null = null;
  #cancel: AbortController | null = null;
  #nextId = 1;

  constructor(
    private readonly shelf: Shelf,
    private readonly desk: Desk,
    private readonly dials: Dials,
    private readonly onEngineLost: (error: unknown) => void,
  ) {
    desk.onWeight = (guide) => this.#sendWeight(guide);
    desk.onShares = (guide) => this.#sendShares(guide);
    desk.onPreference = (guide, at) => this.#sendPreference(guide, at);
    dials.onChange = (sampling) => this.#session?.setSampling(sampling);
  }

  get busy(): boolean {
    return this.phase !== 'idle';
  }

  get selectedTurn(): Turn | null {
    return this.turns.find((turn) => turn.id === this.selected?.turn) ?? null;
  }

  get selectedToken(): TokenRecord | null {
    return this.selected ? (this.selectedTurn?.tokens[this.selected.index] ?? null) : null;
  }

  select(turn: Turn, index: number): void {
    this.selected = { turn: turn.id, index };
  }

  async generate(prompt = this.draft.trim()): Promise<void> {
    const model = this.shelf.base;
    if (!model || this.busy || prompt === '') return;
    const messages = messagesOf(this.turns, prompt);
    const guides = this.desk.mixed();
    if (this.dials.freshSeed) this.dials.roll();
    const turn = new Turn(
      this.#nextId++,
      prompt,
      guides.map(({ label }) => label),
      this.dials.seed,
    );
    const { contextLength, maxTokens, ...filters } = this.dials.values;
    const cancel = new AbortController();
    this.#begin(turn, guides, cancel);
    try {
      this.#session = await model.session({
        ...filters,
        seed: turn.seed,
        stop: this.dials.stop,
        messages,
        guides: Object.fromEntries(guides.map(({ label, spec }) => [label.key, spec])),
        normalize: this.dials.normalize,
        contextLength: Math.min(contextLength, model.info.contextLength),
        maxTokens,
        signal: cancel.signal,
        onProgress: ({ loaded, total }) => {
          this.reading = total > 0 ? loaded / total : 0;
        },
      });
      turn.session = this.#session.info;
      // A fader may have moved while the prompt was read.
      for (const { guide } of guides) {
        this.#sendWeight(guide);
        this.#sendShares(guide);
        guide.adapters.forEach((_, at) => this.#sendPreference(guide, at));
      }
      for await (const step of this.#session) {
        if (this.phase === 'reading') this.phase = 'writing';
        turn.add(tokenRecord(step));
        if (step.stop) turn.stop = step.stop;
      }
      turn.stop ??= 'stopped';
      if (turn.tokens.length === 0) this.#takeBack(turn);
    } catch (error) {
      this.#fail(turn, error);
    } finally {
      await this.#end();
    }
  }

  /** Answers the last prompt again, with another seed when seeds are fresh. */
  async regenerate(): Promise<void> {
    const last = this.turns.at(-1);
    if (!last || this.busy) return;
    const draft = this.draft;
    this.#drop(last);
    await this.generate(last.prompt);
    if (this.draft === '') this.draft = draft;
  }

  stop(): void {
    if (!this.busy) return;
    this.phase = 'stopping';
    if (this.#session) this.#session.stop();
    else this.#cancel?.abort();
  }

  clear(): void {
    if (this.busy) return;
    this.turns = [];
    this.selected = null;
    this.problem = null;
  }

  #begin(turn: Turn, guides: readonly MixedGuide[], cancel: AbortController): void {
    this.turns.push(turn);
    this.phase = 'reading';
    this.reading = 0;
    this.problem = null;
    this.draft = '';
    this.#cancel = cancel;
    this.playing = new Map(guides.map(({ guide, label }) => [guide.id, label.key]));
  }

  #fail(turn: Turn, error: unknown): void {
    const problem = isAbort(error) ? null : problemFrom(error);
    const lost = problem?.remedy === 'restart-engine';
    if (turn.tokens.length > 0) {
      // A lost engine is everybody's problem, and is told once, by the host.
      turn.problem = lost ? null : problem;
      turn.stop = 'stopped';
    } else {
      this.#takeBack(turn);
      this.problem = lost ? null : problem;
    }
    if (lost) this.onEngineLost(error);
  }

  async #end(): Promise<void> {
    const session = this.#session;
    this.#session = null;
    this.#cancel = null;
    this.playing = new Map();
    this.phase = 'idle';
    try {
      await session?.dispose();
    } catch {
      // The engine may be gone already, and then so is the session.
    }
  }

  /** Nothing was said: the prompt goes back to where it can be changed. */
  #takeBack(turn: Turn): void {
    this.#drop(turn);
    if (this.draft === '') this.draft = turn.prompt;
  }

  #drop(turn: Turn): void {
    this.turns = this.turns.filter((other) => other.id !== turn.id);
    if (this.selected?.turn === turn.id) this.selected = null;
  }

  #sendWeight(guide: Guide): void {
    const key = this.playing.get(guide.id);
    if (key !== undefined) this.#session?.setWeight(key, guide.acting);
  }

  #sendShares(guide: Guide): void {
    const key = this.playing.get(guide.id);
    if (key === undefined || guide.adapters.length < 2) return;
    guide.shares.forEach((share, at) => this.#session?.setShare(key, at, share));
  }

  #sendPreference(guide: Guide, at: number): void {
    const key = this.playing.get(guide.id);
    const preference = guide.preference(at);
    if (key !== undefined && preference.length > 0) this.#session?.setPreference(key, at, preference);
  }
}
