/** A session in the worker: the engine's, and what is remembered of its options so that a part of them can be changed. */

import type { Handle, HandleOptions, WireAdapter, WireTurn } from '../protocol.js';
import type { Sampling, SessionInfo, WhenFull } from '../types.js';
import {
  changedSampling,
  engineWhenFull,
  type EngineSampling,
  placed,
  placedUses,
  type Places,
  placesOf,
  sessionInfo,
} from './convert.js';
import type { WasmAdapter, WasmRemote, WasmSession } from './surface.js';
import { turn as turnOfLoop } from './turn.js';

/** Those of the engine's options that are looked at here. */
export interface HeldOptions extends HandleOptions {
  readonly sampling?: EngineSampling;
  readonly max_tokens?: number;
  readonly stop?: readonly string[];
}

/** What the engine makes when it is not told. */
const MAX_TOKENS = 256;

export class Held {
  readonly session: WasmSession;
  readonly remote: WasmRemote;
  /** Whether the page gives rewards. */
  readonly scored: boolean;
  /** Names of the base's and the guides' models. */
  readonly #models: readonly string[];
  #options: HeldOptions;
  #places: Places;
  /** What was asked for last: the engine does one thing after another, however fast they are asked for. */
  #tail: Promise<unknown> = Promise.resolve();
  /** How much was asked for and is not done. */
  #asked = 0;
  /** Whether nobody waits for a step any more. */
  stopping = false;

  constructor(session: WasmSession, options: HeldOptions, places: Places, models: readonly string[], scored: boolean) {
    this.session = session;
    this.remote = session.remote();
    this.scored = scored;
    this.#options = options;
    this.#places = places;
    this.#models = models;
  }

  /** Guides' names, in the engine's order. */
  get guides(): readonly string[] {
    return this.#options.guides.map(({ name }) => name);
  }

  /** Where the engine has a guide; nothing stands for the base. */
  place(guide: string | null): number | undefined {
    return guide === null ? undefined : this.guides.indexOf(guide);
  }

  info(): SessionInfo {
    return sessionInfo(this.session.info(), this.#models);
  }

  /** Does something when all that was asked before is done: a running step has the session borrowed. */
  inTurn<T>(work: () => T | Promise<T>): Promise<T> {
    this.#asked += 1;
    const mine = this.#tail.then(work);
    this.#tail = mine.catch(() => undefined).then(() => void (this.#asked -= 1));
    return mine;
  }

  /** The next step, and soon after it the one that follows: while the page is at it, the worker has nothing else to do. */
  async next(): Promise<string | undefined> {
    const json = await this.session.next();
    if (json !== undefined) {
      void this.#readAhead();
    }
    return json;
  }

  /** Once the answer is on its way: nothing may be asked for then, and what has been asked for meanwhile comes first. */
  async #readAhead(): Promise<void> {
    await turnOfLoop();
    if (this.#asked === 0 && !this.stopping) this.session.read_ahead();
  }

  /** A step under way comes to its end soon, and no other follows. */
  stop(): void {
    this.stopping = true;
    this.remote.stop();
  }

  fork(session: WasmSession): Held {
    return new Held(session, this.#options, this.#places, this.#models, this.scored);
  }

  free(): void {
    this.remote.free();
    this.session.free();
  }

  setSampling(change: Partial<Sampling>): void {
    const sampling = changedSampling(this.#options.sampling ?? {}, change);
    this.session.set_sampling(JSON.stringify(sampling));
    this.#options = { ...this.#options, sampling };
  }

  async turn(turn: WireTurn, progress: (json: string) => boolean): Promise<number> {
    const { prompt, contexts = {}, forced = [], maxTokens } = turn;
    const guides = this.#options.guides.map((guide) => ({ weight: 0, ...guide, ...contexts[guide.name] }));
    const max_tokens = maxTokens ?? this.#options.max_tokens ?? MAX_TOKENS;
    const stop = turn.stop ?? this.#options.stop ?? [];
    const next = { ...placed({ guides }, this.#places), prompt, forced, stop, max_tokens };
    const reused = await this.session.turn(JSON.stringify(next), progress);
    this.#setWhenFull(turn.whenFull);
    this.#options = { ...this.#options, guides, stop, max_tokens };
    return reused;
  }

  async resume(maxTokens?: number, whenFull?: WhenFull): Promise<void> {
    this.#setWhenFull(whenFull);
    const max_tokens = maxTokens ?? this.#options.max_tokens ?? MAX_TOKENS;
    await this.session.resume(max_tokens);
    this.#options = { ...this.#options, max_tokens };
  }

  /** @param adapter a handle's adapter, to be given away */
  async setAdapters(
    guide: string | null,
    uses: readonly WireAdapter[],
    adapter: (handle: Handle) => WasmAdapter,
  ): Promise<void> {
    const options: HeldOptions =
      guide === null
        ? { ...this.#options, adapters: uses }
        : {
            ...this.#options,
            guides: this.#options.guides.map((one) => (one.name === guide ? { ...one, adapters: uses } : one)),
          };
    const { adapters, fresh } = this.#placesFor(options);
    await this.session.set_adapters(
      this.place(guide),
      fresh.map((handle) => adapter(handle)),
      Uint32Array.from(fresh, (handle) => adapters.indexOf(handle)),
      JSON.stringify(placedUses(uses, adapters)),
    );
    this.#options = options;
    this.#places = { ...this.#places, adapters };
  }

  #setWhenFull(whenFull: WhenFull | undefined): void {
    if (whenFull !== undefined) this.session.set_when_full(JSON.stringify(engineWhenFull(whenFull)));
  }

  /** Adapters still in use stay where they are, new ones come where nothing is used any more. */
  #placesFor(options: HeldOptions): { adapters: Handle[]; fresh: Handle[] } {
    const wanted = placesOf(options).adapters;
    const adapters = [...this.#places.adapters];
    const fresh = wanted.filter((handle) => !adapters.includes(handle));
    for (const handle of fresh) {
      const free = adapters.findIndex((old) => !wanted.includes(old));
      if (free >= 0) adapters[free] = handle;
      else adapters.push(handle);
    }
    return { adapters, fresh };
  }
}
