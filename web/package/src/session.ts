import type { Channel } from './channel.js';
import { PilotfishError } from './errors.js';
import type { Handle } from './protocol.js';
import type { Sampling, SessionInfo, StepOf } from './types.js';

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
   * Changes a guide's weight, of either sign; acts from the next step that is handed to the GPU.
   * @throws PilotfishError `argument.invalid` for an unknown guide, or a weight that is not finite
   */
  setWeight(guide: Name, weight: number): void {
    this.#mustLive();
    if (!this.#guides.has(guide)) {
      const known = [...this.#guides].join(', ') || 'none';
      throw new PilotfishError(
        'argument.invalid',
        `there is no guide ${JSON.stringify(guide)}; the session has: ${known}`,
      );
    }
    if (!Number.isFinite(weight)) {
      throw new PilotfishError('argument.invalid', `the weight of ${guide} must be a finite number, found ${weight}`);
    }
    this.#tell(this.#channel.call('setWeight', { session: this.#handle, guide, weight }));
  }

  /**
   * Changes temperature, filters or seed; acts from the next step that is handed to the GPU. What the engine refuses is
   * thrown by the next step.
   */
  setSampling(sampling: Partial<Sampling>): void {
    this.#mustLive();
    this.#tell(this.#channel.call('setSampling', { session: this.#handle, sampling }));
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
