/** What the page was asked and has not answered yet: rewards of texts, by session. */

import { fromPlain, PilotfishError } from '../errors.js';
import type { Ask, Asked, Handle } from '../protocol.js';

interface Waiting {
  readonly session: Handle;
  resolve(scores: Float32Array): void;
  reject(error: PilotfishError): void;
}

export class Asks {
  readonly #say: (ask: Ask) => void;
  readonly #waiting = new Map<number, Waiting>();
  #nextId = 1;

  constructor(say: (ask: Ask) => void) {
    this.#say = say;
  }

  ask(session: Handle, texts: readonly string[]): Promise<Float32Array> {
    const ask = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(ask, { session, resolve, reject });
      this.#say({ ask, session, texts });
    });
  }

  answer(answer: Asked): void {
    const waiting = this.#waiting.get(answer.ask);
    this.#waiting.delete(answer.ask);
    if ('error' in answer) waiting?.reject(fromPlain(answer.error));
    else waiting?.resolve(answer.scores);
  }

  /** Waits no more for what a session asked; whatever is answered later nobody hears. */
  drop(session: Handle): void {
    for (const [ask, waiting] of this.#waiting) {
      if (waiting.session !== session) continue;
      this.#waiting.delete(ask);
      waiting.reject(new PilotfishError('closed', 'nobody waits for the answer any more'));
    }
  }
}
