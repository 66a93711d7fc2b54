/** The sessions in the worker: what the page may ask of each, one thing after another but for stops and costs. */

import { PilotfishError } from '../errors.js';
import type { Ask, Asked, Handle, MadeSession } from '../protocol.js';
import { Asks } from './asks.js';
import { cost, savedSession, step, tokensJson } from './convert.js';
import { type Handlers, reporter } from './handlers.js';
import type { Held } from './held.js';
import type { WasmAdapter } from './surface.js';

type SessionMethods =
  | 'next'
  | 'turn'
  | 'resume'
  | 'fork'
  | 'save'
  | 'cost'
  | 'setAdapters'
  | 'setWeight'
  | 'setShare'
  | 'setPreference'
  | 'setSampling'
  | 'setTokens'
  | 'force'
  | 'rest'
  | 'stop'
  | 'disposeSession';

export interface AroundSessions {
  /** Asks the page. */
  say(ask: Ask): void;
  newHandle(): Handle;
  /** @throws PilotfishError `closed` for one that is gone */
  adapter(handle: Handle): WasmAdapter;
}

export class Sessions {
  readonly #around: AroundSessions;
  readonly #sessions = new Map<Handle, Held>();
  readonly #asks: Asks;

  constructor(around: AroundSessions) {
    this.#around = around;
    this.#asks = new Asks((ask) => around.say(ask));
  }

  answer(answer: Asked): void {
    this.#asks.answer(answer);
  }

  /** Keeps a session for the page. */
  hold(held: Held): MadeSession {
    const handle = this.#around.newHandle();
    this.#sessions.set(handle, held);
    if (held.scored) {
      held.session.set_scorer((texts) =>
        held.stopping
          ? Promise.reject(new PilotfishError('closed', 'the text was stopped'))
          : this.#asks.ask(handle, texts),
      );
    }
    return { handle, info: held.info() };
  }

  readonly handlers: Pick<Handlers, SessionMethods> = {
    next: ({ session }) =>
      this.#inTurn(session, async (held) => {
        try {
          const json = await held.next();
          return json === undefined ? undefined : step(json, held.guides);
        } catch (error) {
          // A reward that nobody waits for any more.
          if (held.stopping && error instanceof Error && 'code' in error && error.code === 'method.scorer')
            return undefined;
          throw error;
        }
      }),

    turn: ({ session, turn }, call) =>
      this.#inTurn(session, async (held) => {
        const reused = await held.turn(turn, reporter(call));
        held.stopping = false;
        return { reused, info: held.info() };
      }),

    resume: ({ session, maxTokens, whenFull }) =>
      this.#inTurn(session, (held) => {
        held.stopping = false;
        return held.resume(maxTokens, whenFull);
      }),

    fork: ({ session }) => this.#inTurn(session, async (held) => this.hold(held.fork(await held.session.fork()))),

    save: ({ session, lengths }) => this.#inTurn(session, (held) => savedSession(held.session.save(), lengths)),
    cost: ({ session }) => cost(this.#held(session).remote.cost()),

    setAdapters: ({ session, guide, uses }) =>
      this.#inTurn(session, async (held) => {
        await held.setAdapters(guide, uses, (handle) => this.#around.adapter(handle).share());
        return held.info();
      }),

    setWeight: ({ session, guide, weight }) =>
      this.#inTurn(session, (held) => {
        const index = held.guides.indexOf(guide);
        if (typeof weight === 'number') held.session.set_weight(index, weight);
        else held.session.set_schedule(index, JSON.stringify(weight));
      }),

    setShare: ({ session, guide, at, share }) =>
      this.#inTurn(session, (held) => held.session.set_share(held.place(guide), at, share)),

    setPreference: ({ session, guide, at, preference }) =>
      this.#inTurn(session, (held) =>
        held.session.set_preference(held.place(guide), at, Float32Array.from(preference)),
      ),

    setSampling: ({ session, sampling }) => this.#inTurn(session, (held) => held.setSampling(sampling)),
    setTokens: ({ session, tokens }) => this.#inTurn(session, (held) => held.session.set_tokens(tokensJson(tokens))),
    force: ({ session, ids }) => this.#inTurn(session, (held) => held.session.force(ids)),
    rest: ({ session }) => this.#inTurn(session, (held) => held.session.rest()),

    stop: ({ session }) => {
      // Not in turn: it reaches a search in the middle of its step.
      this.#held(session).stop();
      this.#asks.drop(session);
    },

    disposeSession: async ({ session }) => {
      const held = this.#sessions.get(session);
      if (held === undefined) return;
      held.stop();
      this.#asks.drop(session);
      this.#sessions.delete(session);
      await held.inTurn(() => held.free());
    },
  };

  #held(handle: Handle): Held {
    const held = this.#sessions.get(handle);
    if (held === undefined) throw new PilotfishError('closed', 'the session was disposed of');
    return held;
  }

  async #inTurn<T>(handle: Handle, work: (held: Held) => T | Promise<T>): Promise<T> {
    const held = this.#held(handle);
    return held.inTurn(() => work(held));
  }
}
