/** The conversation: prompts, the answers growing under them, and the token that is looked at. */

import type { Cost, Model, Session } from '../engine/port';
import { messagesOf, type TokenRecord, tokenRecord } from '../logic/answer';
import { isAbort, type Problem, problemFrom } from '../logic/problems';
import type { Desk, Guide, MixedGuide } from './desk.svelte';
import type { Dials } from './dials.svelte';
import { contexts, type Kept, mixture, mixtures } from './kept-session';
import type { Search } from './search.svelte';
import type { Shelf } from './shelf.svelte';
import { Turn } from './turn.svelte';

/** `searching`: the prompt is read, and a search has not decided for its first token yet. */
export type TalkPhase = 'idle' | 'reading' | 'searching' | 'writing' | 'stopping';

/** How often the cost of a running answer is asked for. */
const COST_EVERY_MS = 400;

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
  #kept = $state.raw<Kept | null>(null);
  /** The session that is at work, once its prompt is read. */
  #session: Session | null = null;
  #cancel: AbortController | null = null;
  #nextId = 1;

  constructor(
    private readonly shelf: Shelf,
    private readonly desk: Desk,
    private readonly dials: Dials,
    private readonly search: Search,
    private readonly onEngineLost: (error: unknown) => void,
  ) {
    desk.onWeight = (guide) => this.#sendWeight(guide);
    desk.onShares = (guide) => this.#sendShares(guide);
    desk.onPreference = (guide, at) => this.#sendPreference(guide, at);
    desk.onModelGone = () => {
      if (!this.busy) void this.release();
    };
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
    const { name } = this.search.method(guides);
    const labels = guides.map(({ label }) => label);
    const turn = new Turn(this.#nextId++, prompt, labels, this.dials.seed, name);
    const cancel = this.#begin(guides);
    this.turns.push(turn);
    this.reading = 0;
    this.draft = '';
    await this.#run(turn, () => this.#read(model, turn, messages, guides, cancel.signal));
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

  /** Whether an answer ended for want of room or patience, and its session is still there. */
  canGoOn(turn: Turn): boolean {
    const open =
      turn.stop === 'stopped' || turn.stop === 'length' || (turn.stop === 'context' && turn.method === 'genarm');
    return open && !this.busy && turn.problem === null && this.#kept?.turn === turn;
  }

  /** Goes on with the last answer; where the context is full, without the middle of it. */
  async goOn(): Promise<void> {
    const kept = this.#kept;
    const turn = this.turns.at(-1);
    if (!kept || !turn || !this.canGoOn(turn)) return;
    const whenFull = turn.stop === 'context' || this.dials.shift ? 'shift' : 'stop';
    const cancel = this.#begin(kept.guides);
    this.reading = 1;
    await this.#run(turn, async () => {
      const maxTokens = turn.tokens.length + this.dials.values.maxTokens;
      await kept.session.resume({ maxTokens, whenFull, signal: cancel.signal });
      kept.session.setSampling(this.#filters);
      turn.stop = null;
      return kept;
    });
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
    void this.release();
  }

  /** Frees what was kept for the next turn. */
  async release(): Promise<void> {
    const kept = this.#kept;
    this.#kept = null;
    try {
      await kept?.session.dispose();
    } catch {
      // The engine may be gone already, and then so is the session.
    }
  }

  get #filters() {
    const { contextLength: _, maxTokens: __, ...filters } = this.dials.values;
    return filters;
  }

  #begin(guides: readonly MixedGuide[]): AbortController {
    this.phase = 'reading';
    this.problem = null;
    this.playing = new Map(guides.map(({ guide, label }) => [guide.id, label.key]));
    const cancel = new AbortController();
    this.#cancel = cancel;
    return cancel;
  }

  /** Reads the prompt: as the next turn of the session that is there, if that can be, otherwise in a new one. */
  async #read(
    model: Model,
    turn: Turn,
    messages: ReturnType<typeof messagesOf>,
    guides: readonly MixedGuide[],
    signal: AbortSignal,
  ): Promise<Kept> {
    const { dials } = this;
    const method = this.search.method(guides);
    const contextLength = Math.min(dials.values.contextLength, model.info.contextLength);
    const mixed = mixtures(guides);
    const same = guides.map(({ guide, label }) => [label.key, guide.id, guide.relative, mixed.get(guide.id)]);
    const key = JSON.stringify([same, dials.normalize, contextLength, method]);
    const sampling = { ...this.#filters, seed: turn.seed };
    const each = {
      ...{ messages, signal },
      stop: dials.stop,
      maxTokens: dials.values.maxTokens,
      whenFull: dials.shift ? ('shift' as const) : ('stop' as const),
      onProgress: ({ loaded, total }: { loaded: number; total: number }) => {
        this.reading = total > 0 ? loaded / total : 0;
      },
    };
    const kept = this.#kept;
    if (kept && kept.key === key && kept.model === model && !kept.stale) {
      const before = await kept.session.cost();
      kept.session.setSampling(sampling);
      try {
        await kept.session.turn({ ...each, guides: contexts(guides) });
        kept.turn = turn;
        this.#note(turn, kept.session, before, await kept.session.cost());
        return kept;
      } catch (error) {
        if (isAbort(error)) kept.turn = null;
        // A sentence that came or went makes other rows.
        if ((error as { code?: unknown }).code !== 'session.other_rows') throw error;
      }
    }
    await this.release();
    const session = await model.session({
      ...sampling,
      ...each,
      ...{ method, contextLength, normalize: dials.normalize },
      guides: Object.fromEntries(guides.map(({ label, spec }) => [label.key, spec])),
    });
    const made: Kept = { session, model, key, guides, mixed, turn, stale: false };
    this.#kept = made;
    this.#note(turn, session, null, await session.cost());
    return made;
  }

  #note(turn: Turn, session: Session, before: Cost | null, after: Cost): void {
    turn.session = session.info;
    // A prompt's last token is the first step's input.
    const positions = session.info.rows.reduce((sum, { promptTokens }) => sum + promptTokens - 1, 0);
    turn.read = { positions, computed: after.prefilled - (before?.prefilled ?? 0) };
  }

  /** Writes what the session says into the turn. */
  async #run(turn: Turn, read: () => Promise<Kept>): Promise<void> {
    let watch: ReturnType<typeof setInterval> | undefined;
    try {
      const { session, guides } = await read();
      this.#session = session;
      // A fader may have moved while the prompt was read.
      for (const { guide } of guides) {
        this.#sendWeight(guide);
        this.#sendShares(guide);
        guide.adapters.forEach((_, at) => this.#sendPreference(guide, at));
      }
      turn.begin(await session.cost());
      if (this.phase === 'reading') this.phase = turn.method === 'genarm' ? 'writing' : 'searching';
      watch = setInterval(() => void this.#spend(turn, session), COST_EVERY_MS);
      for await (const step of session) {
        if (this.phase === 'searching') this.phase = 'writing';
        turn.add(tokenRecord(step));
        if (step.stop) turn.stop = step.stop;
      }
      turn.stop ??= 'stopped';
      await this.#spend(turn, session);
      if (turn.tokens.length === 0) this.#takeBack(turn);
    } catch (error) {
      await this.#fail(turn, error);
    } finally {
      clearInterval(watch);
      this.#session = null;
      this.#cancel = null;
      this.playing = new Map();
      this.phase = 'idle';
    }
  }

  async #spend(turn: Turn, session: Session): Promise<void> {
    try {
      turn.spend(await session.cost());
      this.search.measure(turn.method, turn.spent);
    } catch {
      // What ended the session is told where its steps are read.
    }
  }

  async #fail(turn: Turn, error: unknown): Promise<void> {
    const aborted = isAbort(error);
    const problem = aborted ? null : problemFrom(error);
    const lost = problem?.remedy === 'restart-engine';
    if (turn.tokens.length > 0) {
      // A lost engine is everybody's problem, and is told once, by the host.
      turn.problem = lost ? null : problem;
      turn.stop ??= 'stopped';
    } else {
      this.#takeBack(turn);
      this.problem = lost ? null : problem;
    }
    if (!aborted) await this.release();
    if (lost) this.onEngineLost(error);
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
    this.#noteMoved(guide);
  }

  #sendPreference(guide: Guide, at: number): void {
    const key = this.playing.get(guide.id);
    const preference = guide.preference(at);
    if (key === undefined || preference.length === 0) return;
    this.#session?.setPreference(key, at, preference);
    this.#noteMoved(guide);
  }

  #noteMoved(guide: Guide): void {
    const kept = this.#kept;
    if (kept && kept.mixed.get(guide.id) !== mixture(guide)) kept.stale = true;
  }
}
