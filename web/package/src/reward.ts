import type { Channel } from './channel.js';
import type { Handle } from './protocol.js';

/** A reward model, ready for what is said after one prompt. Made by `model.reward`. */
export class RewardModel {
  readonly #channel: Channel;
  readonly #handle: Handle;
  #disposed = false;

  /** @internal */
  constructor(channel: Channel, handle: Handle) {
    this.#channel = channel;
    this.#handle = handle;
  }

  /**
   * The rewards of texts, each what was said after the prompt; also as a method's reward: `reward: judge.score`. What texts have in
   * common, with each other and with those before, is computed once.
   */
  readonly score = async (texts: readonly string[]): Promise<Float32Array> =>
    this.#channel.call('score', { reward: this.#handle, texts });

  /** Frees its caches; the model stays. */
  async dispose(): Promise<void> {
    if (this.#disposed) return;
    this.#disposed = true;
    await this.#channel.call('disposeReward', { reward: this.#handle });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }
}
