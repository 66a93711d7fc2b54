import { type Adapters, wireAdapters } from './adapter.js';
import type { Channel } from './channel.js';
import { PilotfishError } from './errors.js';
import type { Handle, MadeSession } from './protocol.js';
import { scorerOf } from './scorer.js';
import { type ResumeOptions, type TurnOptions, wireTurn } from './turn.js';
import type { Cost, Sampling, SavedSession, Scorer, SessionInfo, StepOf, TokenRules, Weight } from './types.js';

/** @internal What the page's end of a session knows of how it was made. */
export interface Made {
  /** The model that each guide runs on, and the base (`null`) itself. */
  readonly on: ReadonlyMap<string | null, Handle>;
  readonly reward?: Scorer | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Tokens that each sample begins with, of a saved one. */
  readonly lengths?: readonly number[];
}

const STOPPED = Symbol('stopped');

/**
 * One continuation, or several samples of one, token by token. Iterating pulls: while the reader is slow, the GPU waits (with at most
 * `inFlight` steps ahead), so nothing piles up. Leaving the loop stops the generation; `resume` goes on after that.
 */
export class Session<Name extends string = string> implements AsyncIterable<StepOf<Name>> {
  readonly #channel: Channel;
  readonly #handle: Handle;
  readonly #made: Made;
  // An abort rejects what waits by itself.
  readonly #onAbort = () => this.#endInWorker();
  #info: SessionInfo;
  #signal: AbortSignal | undefined;
  #disposed = false;
  #stopped = false;
  #answerStop!: () => void;
  /** Resolves when `stop` is called. */
  #stop!: Promise<typeof STOPPED>;
  /** What the engine said against a setting, thrown by the next step. */
  #objection: unknown;
  /** What the scorer threw last. */
  #thrown: unknown;
  /** Steps that were asked for and not read: a stop came between. They come first after `resume`. */
  #late: Promise<StepOf<Name> | undefined>[] = [];
  /** How many tokens of each sample were read. */
  #lengths: number[];

  /** @internal */
  constructor(channel: Channel, { handle, info }: MadeSession, made: Made) {
    this.#channel = channel;
    this.#handle = handle;
    this.#info = info;
    this.#made = made;
    this.#lengths = [...(made.lengths ?? [])];
    this.#reopen(made.signal);
    const { reward } = made;
    if (reward !== undefined) {
      const score = scorerOf(reward);
      channel.scorers.set(handle, async (texts) => {
        try {
          return await score(texts);
        } catch (error) {
          this.#thrown = error;
          throw error;
        }
      });
    }
  }

  /** What it takes and does; a turn has other prompts. */
  get info(): SessionInfo {
    return this.#info;
  }

  /**
   * The next token; undefined once the text has ended or was stopped. Of several samples, one after the other.
   * @throws PilotfishError `method.scorer` when a scorer threw, `method.score` when it gave something else than one finite number for
   * each text; the session is usable after that, and asks again
   */
  async next(): Promise<StepOf<Name> | undefined> {
    for (;;) {
      this.#mustLive();
      this.#signal?.throwIfAborted();
      if (this.#objection !== undefined) {
        const objection = this.#objection;
        this.#objection = undefined;
        throw objection;
      }
      if (this.#stopped) return undefined;
      const late = this.#late.shift();
      const step = late ?? this.#pull();
      const first = await Promise.race([step, this.#stop]).catch((error: unknown) => {
        throw this.#explained(error);
      });
      if (first === STOPPED) {
        this.#late.push(step);
        return undefined;
      }
      // One that came to nothing because of the stop says nothing about what follows.
      if (first === undefined && late !== undefined) continue;
      if (first !== undefined) this.#lengths[first.sample] = first.index + 1;
      return first;
    }
  }

  [Symbol.asyncIterator](): AsyncIterator<StepOf<Name>, undefined> {
    return {
      next: async () => {
        const value = await this.next();
        return value === undefined ? { done: true, value } : { done: false, value };
      },
      return: async () => {
        this.stop();
        return { done: true, value: undefined };
      },
    };
  }

  /**
   * Begins anew with another prompt: a conversation's next turn. Steps count from 0 again; weights, settings and all else stay as they
   * are now. What the caches hold of the new prompt is not computed again: answers how many positions that were, over all rows. Stop the
   * answer before it, if it has not ended.
   * @throws PilotfishError `session.prompt_too_long`, `session.other_rows`: the session is as it was. After an abort it waits for another
   * turn.
   */
  async turn(options: TurnOptions<Name>): Promise<number> {
    this.#mustLive();
    const { signal, onProgress } = options;
    for (const guide of Object.keys(options.guides ?? {})) this.#check(guide, '', []);
    const turn = wireTurn(options);
    const [stopped, late] = [this.#stopped, this.#late];
    this.#reopen(signal ?? this.#signal);
    this.#late = [];
    try {
      const call = { signal: this.#signal, onProgress };
      const { reused, info } = await this.#channel.call('turn', { session: this.#handle, turn }, call);
      this.#info = info;
      this.#lengths = [];
      return reused;
    } catch (error) {
      // After an abort the session has the new prompt, and nothing of it yet.
      if (this.#signal?.aborted) this.#lengths = [];
      else [this.#stopped, this.#late] = [stopped, late];
      throw error;
    }
  }

  /**
   * Goes on after `stop()`, after a text that reached `maxTokens`, or (with `whenFull`) one that filled the context. The text is the one that an uninterrupted session makes: iterate
   * again for the rest of it.
   */
  async resume({ maxTokens, whenFull, signal }: ResumeOptions = {}): Promise<void> {
    this.#mustLive();
    this.#reopen(signal ?? this.#signal);
    const params = {
      session: this.#handle,
      ...(maxTokens !== undefined && { maxTokens }),
      ...(whenFull !== undefined && { whenFull }),
    };
    await this.#channel.call('resume', params, { signal: this.#signal });
  }

  /**
   * Another session at the same place, which goes its own way. Nothing is computed again; what it adds takes room that `poolLength`
   * must have left.
   * @throws PilotfishError `session.pool_full`
   */
  async fork({ signal }: { readonly signal?: AbortSignal } = {}): Promise<Session<Name>> {
    this.#mustLive();
    const made = await this.#channel.call('fork', { session: this.#handle });
    const fork = new Session<Name>(this.#channel, made, { ...this.#made, lengths: this.#lengths, signal });
    fork.#late = [...this.#late];
    return fork;
  }

  /** What is needed to go on from the last token that was read, as plain data: keep it, and hand it to `model.restore`. */
  async save(): Promise<SavedSession> {
    this.#mustLive();
    const lengths = Array.from(this.#lengths, (length) => length ?? 0);
    return this.#channel.call('save', { session: this.#handle, lengths });
  }

  /** What was done so far; also while a step is awaited. */
  async cost(): Promise<Cost> {
    this.#mustLive();
    return this.#channel.call('cost', { session: this.#handle });
  }

  /**
   * Gives a guide of adapters other ones; without a guide, the base, which may have none (`null`). Its rows read the text so far anew,
   * all others keep what they have.
   * @throws PilotfishError `argument.invalid` for adapters of another model
   */
  async setAdapters(guide: Name | null, adapters: Adapters | null): Promise<void> {
    this.#check(guide, '', []);
    const who = guide ?? 'the base';
    const { on, uses } = adapters === null ? { on: undefined, uses: [] } : wireAdapters(this.#channel, adapters, who);
    if (on !== undefined && on !== this.#made.on.get(guide)) {
      throw new PilotfishError('argument.invalid', `the adapters for ${who} were loaded for another model`);
    }
    this.#info = await this.#channel.call('setAdapters', { session: this.#handle, guide, uses });
  }

  /**
   * Changes a guide's weight, of either sign; acts from the next step that is begun. A number ends a schedule,
   * points begin one (their steps count from the session's first).
   * @throws PilotfishError `argument.invalid` for an unknown guide, or a weight that is not finite
   */
  setWeight(guide: Name, weight: Weight): void {
    this.#check(guide, `the weight of ${guide}`, typeof weight === 'number' ? [weight] : []);
    this.#tell(this.#channel.call('setWeight', { session: this.#handle, guide, weight }));
  }

  /**
   * Changes the share of a guide's adapter `at` (0 the first), of either sign; without a guide, of the base's own. Acts from the
   * next step that is begun; what the text so far was read with stays.
   * @throws PilotfishError `argument.invalid` for an unknown guide, or a share that is not finite
   */
  setShare(guide: Name | null, at: number, share: number): void {
    this.#check(guide, `a share of ${guide ?? 'the base'}`, [share, at]);
    this.#tell(this.#channel.call('setShare', { session: this.#handle, guide, at, share }));
  }

  /**
   * Changes the preference vector of a guide's adapter `at`; without a guide, of the base's own. Acts as `setShare` does.
   * @throws PilotfishError `argument.invalid` for an unknown guide, or a number that is not finite
   */
  setPreference(guide: Name | null, at: number, preference: readonly number[]): void {
    this.#check(guide, `the preference of ${guide ?? 'the base'}`, [...preference, at]);
    this.#tell(this.#channel.call('setPreference', { session: this.#handle, guide, at, preference }));
  }

  /**
   * Changes temperature, filters, penalties or seed; acts from the next step that is begun. What the engine refuses is
   * thrown by the next step.
   */
  setSampling(sampling: Partial<Sampling>): void {
    this.#mustLive();
    this.#tell(this.#channel.call('setSampling', { session: this.#handle, sampling }));
  }

  /** Changes scores, banned and allowed tokens, all of them; acts from the next step that is begun. */
  setTokens(tokens: TokenRules): void {
    this.#mustLive();
    this.#tell(this.#channel.call('setTokens', { session: this.#handle, tokens }));
  }

  /** Gives the tokens of the next steps that are begun, whatever the mix says; at most 256. */
  force(ids: readonly number[] | Uint32Array): void {
    this.#mustLive();
    this.#tell(this.#channel.call('force', { session: this.#handle, ids: Uint32Array.from(ids) }));
  }

  /** After `stop()`: the text that was held back as a possible beginning of a stop string; empty once a last step came. */
  async rest(): Promise<string> {
    this.#mustLive();
    return this.#channel.call('rest', { session: this.#handle });
  }

  /**
   * Ends the text after the last token that was read: whoever waits for another hears at once that there is none, whatever the GPU or a
   * scorer is at. `resume` goes on.
   */
  stop(): void {
    this.#stopped = true;
    this.#answerStop();
    this.#endInWorker();
  }

  /** Frees the session's memory on the GPU. */
  async dispose(): Promise<void> {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#signal?.removeEventListener('abort', this.#onAbort);
    this.#channel.scorers.delete(this.#handle);
    await this.#channel.call('disposeSession', { session: this.#handle });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }

  #check(guide: string | null, what: string, numbers: readonly number[]): void {
    this.#mustLive();
    if (guide !== null && !this.#made.on.has(guide)) {
      const known = [...this.#made.on.keys()].filter((name) => name !== null).join(', ') || 'none';
      throw new PilotfishError(
        'argument.invalid',
        `there is no guide ${JSON.stringify(guide)}; the session has: ${known}`,
      );
    }
    const wrong = numbers.find((number) => !Number.isFinite(number));
    if (wrong !== undefined) {
      throw new PilotfishError('argument.invalid', `${what} must be a finite number, found ${wrong}`);
    }
  }

  async #pull(): Promise<StepOf<Name> | undefined> {
    const step = await this.#channel.call('next', { session: this.#handle }, { signal: this.#signal });
    return step as StepOf<Name> | undefined;
  }

  /** What a scorer threw says more than its message, which is all that came through the worker. */
  #explained(error: unknown): unknown {
    const cause = this.#thrown;
    if (!(error instanceof PilotfishError) || error.code !== 'method.scorer' || cause === undefined) return error;
    this.#thrown = undefined;
    if (cause instanceof PilotfishError && cause.code === 'method.score') return cause;
    return new PilotfishError(error.code, error.message, { cause });
  }

  /** Lets steps come again, under this signal. */
  #reopen(signal: AbortSignal | undefined): void {
    this.#signal?.removeEventListener('abort', this.#onAbort);
    this.#signal = signal;
    signal?.addEventListener('abort', this.#onAbort, { once: true });
    this.#stopped = false;
    this.#stop = new Promise((resolve) => {
      this.#answerStop = () => resolve(STOPPED);
    });
  }

  #endInWorker(): void {
    if (!this.#disposed) this.#tell(this.#channel.call('stop', { session: this.#handle }));
  }

  #tell(call: Promise<void>): void {
    call.catch((error: unknown) => {
      this.#objection ??= error;
    });
  }

  #mustLive(): void {
    if (this.#disposed) throw new PilotfishError('closed', 'the session was disposed of');
  }
}
