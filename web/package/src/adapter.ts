import type { Channel } from './channel.js';
import { PilotfishError } from './errors.js';
import type { Handle, WireAdapter } from './protocol.js';
import type { AdapterInfo } from './types.js';

/** Low-rank changes (LoRA) to a loaded model, in force only for the rows that use them. Made by `model.loadAdapter`. */
export class Adapter {
  readonly info: AdapterInfo;
  /** @internal The model that it was fitted to. */
  readonly on: Handle;
  readonly #channel: Channel;
  readonly #handle: Handle;
  #disposed = false;

  /** @internal */
  constructor(channel: Channel, handle: Handle, on: Handle, info: AdapterInfo) {
    this.#channel = channel;
    this.#handle = handle;
    this.on = on;
    this.info = info;
  }

  /** @internal */
  handle(channel: Channel): Handle {
    if (this.#channel !== channel) {
      throw new PilotfishError('argument.invalid', 'an adapter belongs to another Pilotfish instance');
    }
    if (this.#disposed) throw new PilotfishError('closed', `the adapter ${this.info.name} was disposed of`);
    return this.#handle;
  }

  /** Frees the adapter. Sessions that use it keep what they need until they are disposed of. */
  async dispose(): Promise<void> {
    if (this.#disposed) return;
    this.#disposed = true;
    await this.#channel.call('disposeAdapter', { adapter: this.#handle });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }
}

/** An adapter, and how much of it. */
export interface AdapterUse {
  readonly adapter: Adapter;
  /** What its changes are multiplied with, of either sign; 1 when left out. Live: `session.setShare`. */
  readonly share?: number;
  /** For an adapter with preferences: a number for each. Live: `session.setPreference`. */
  readonly preference?: readonly number[];
}

/** One adapter, or several that add up: a soup. */
export type Adapters = Adapter | AdapterUse | readonly AdapterUse[];

/** As the worker takes them, with the one model that all of them are fitted to. */
export function wireAdapters(
  channel: Channel,
  adapters: Adapters,
  who: string,
): { readonly on: Handle; readonly uses: WireAdapter[] } {
  const list: readonly AdapterUse[] =
    adapters instanceof Adapter ? [{ adapter: adapters }] : 'adapter' in adapters ? [adapters] : adapters;
  const [first] = list;
  if (first === undefined) throw new PilotfishError('argument.invalid', `${who} names no adapter`);
  const { on } = first.adapter;
  const uses = list.map(({ adapter, share = 1, preference = [] }) => {
    if (adapter.on !== on) {
      throw new PilotfishError('argument.invalid', `the adapters of ${who} were loaded for different models`);
    }
    if (!Number.isFinite(share) || !preference.every(Number.isFinite)) {
      throw new PilotfishError('argument.invalid', `shares and preferences of ${who} must be finite numbers`);
    }
    return { adapter: adapter.handle(channel), share, preference };
  });
  return { on, uses };
}
