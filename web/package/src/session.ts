import type { Channel } from './channel.js';
import { PilotfishError } from './errors.js';
import type { Handle } from './protocol.js';
import type { Sampling, SessionInfo, StepOf, TokenRules, Weight } from './types.js';

/**
 * One continuation, token by token. Iterating pulls: while the reader is slow, the GPU waits (with at most `inFlight` steps
 * ahead), so nothing piles up. Leaving the loop stops the generation.
 */
export class Session<Name extends string = string> implements AsyncIterable<StepOf<Name>> {
  readonly info: SessionInfo;
  readonly #channel: Channel;
  readonly #handle: Handle;
  readonly #signal: AbortSignal | undefined;
  // An abort rejects what waits by itself.
  readonly #onAbort = () => this.#endInWorker();
  readonly #guides: ReadonlySet<string>;
  #disposed = false;
  #stopped = false;
  #answerStop!: () => void;
  /** Resolves when `stop` is called. */
  readonly #stop = new Promise<undefined>((resolve) => {
    this.#answerStop = () => resolve(undefined);
  });
  /** What the engine said against a setting, thrown by the next step. */
  #objection: unknown;

  /** @internal */
  constructor(
    channel: Channel,
    handle: Handle,
    info: SessionInfo,
    guides: readonly string[],
    signal: AbortSignal | undefined,
  ) {
    this.#channel = channel;
    this.#handle = handle;
    this.#signal = signal;
    this.info = info;
    this.#guides = new Set(guides);
    signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  /** The next token; undefined once the text has ended or was stopped. */
  async next(): Promise<StepOf<Name> | undefined> {
    this.#mustLive();
    this.#signal?.throwIfAborted();
    if (this.#objection !== undefined) {
      const objection = this.#objection;
      this.#objection = undefined;
      throw objection;
    }
    if (this.#stopped) return undefined;
    const step = this.#channel.call('next', { session: this.#handle }, { signal: this.#signal });
    return (await Promise.race([step, this.#stop])) as StepOf<Name> | undefined;
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
   * Changes a guide's weight, of either sign; acts from the next step that is handed to the GPU. A number ends a schedule,
   * points begin one (their steps count from the session's first).
   * @throws PilotfishError `argument.invalid` for an unknown guide, or a weight that is not finite
   */
  setWeight(guide: Name, weight: Weight): void {
    this.#check(guide, `the weight of ${guide}`, typeof weight === 'number' ? [weight] : []);
    this.#tell(this.#channel.call('setWeight', { session: this.#handle, guide, weight }));
  }

  /**
   * Changes the share of a guide's adapter `at` (0 the first), of either sign; without a guide, of the base's own. Acts from the
   * next step that is handed to the GPU; what the text so far was read with stays.
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
   * Changes temperature, filters, penalties or seed; acts from the next step that is handed to the GPU. What the engine refuses is
   * thrown by the next step.
   */
  setSampling(sampling: Partial<Sampling>): void {
    this.#mustLive();
    this.#tell(this.#channel.call('setSampling', { session: this.#handle, sampling }));
  }

  /** Changes scores, banned and allowed tokens, all of them; acts from the next step that is handed to the GPU. */
  setTokens(tokens: TokenRules): void {
    this.#mustLive();
    this.#tell(this.#channel.call('setTokens', { session: this.#handle, tokens }));
  }

  /** Gives the tokens of the next steps that are handed to the GPU, whatever the mix says; at most 256. */
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
   * Ends the text after the last token that was read: whoever waits for another hears at once that there is none, and a step
   * that the GPU is at is dropped when it is done.
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
    await this.#channel.call('disposeSession', { session: this.#handle });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }

  #check(guide: string | null, what: string, numbers: readonly number[]): void {
    this.#mustLive();
    if (guide !== null && !this.#guides.has(guide)) {
      const known = [...this.#guides].join(', ') || 'none';
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
