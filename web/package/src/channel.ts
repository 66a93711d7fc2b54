/** The page's end of the channel: calls that answer with promises, and one way for all of them to fail. */

import { fromPlain, PilotfishError, toPlain } from './errors.js';
import type { Answer, Ask, FromWorker, Handle, Method, Params, Port, Wanted } from './protocol.js';
import { Threads } from './threads.js';
import type { Progress } from './types.js';

interface Pending {
  resolve(answer: unknown): void;
  reject(error: unknown): void;
  readonly onProgress: ((progress: Progress) => void) | undefined;
}

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

/** @internal */
export class Channel {
  /** Resolves with the reason once the worker is gone, by `close` or by a crash. */
  readonly closed: Promise<PilotfishError>;
  /** What rewards texts, by session. */
  readonly scorers = new Map<Handle, (texts: readonly string[]) => Promise<Float32Array>>();
  readonly #port: Port & { terminate?(): void };
  readonly #pending = new Map<number, Pending>();
  readonly #threads: Threads;
  #nextId = 1;
  #reason: PilotfishError | undefined;
  #announce!: (reason: PilotfishError) => void;

  /** @param makeThread makes one of the threads that the worker may ask for */
  constructor(port: Port & { terminate?(): void }, makeThread: () => Worker) {
    this.#port = port;
    this.#threads = new Threads(makeThread, (message) => {
      this.end(new PilotfishError('worker.crashed', `a thread of the engine crashed: ${message}`));
    });
    this.closed = new Promise((resolve) => {
      this.#announce = resolve;
    });
    port.addEventListener('message', (event: MessageEvent) => this.#hear(event.data as FromWorker));
    const worker = port as Partial<EventTarget>;
    worker.addEventListener?.('error', (event) => {
      // A worker whose script could not be loaded has an event without a message.
      const message = event instanceof ErrorEvent && event.message !== '' ? event.message : null;
      const text =
        message === null
          ? "the worker could not be started: is the package's worker.js served beside index.js, and allowed by the page's policy?"
          : `the worker crashed: ${message}`;
      this.end(new PilotfishError('worker.crashed', text));
    });
    worker.addEventListener?.('messageerror', () => {
      this.end(new PilotfishError('worker.crashed', 'the worker sent a message that could not be read'));
    });
  }

  /**
   * Calls a method of the worker. An abort rejects at once with the signal's reason; the worker is told, and frees what it
   * may already have made.
   */
  call<M extends Method>(method: M, params: Params<M>, { signal, onProgress }: CallOptions = {}): Promise<Answer<M>> {
    if (this.#reason !== undefined) return Promise.reject(this.#reason);
    if (signal?.aborted) return Promise.reject(signal.reason);
    const id = this.#nextId++;
    return new Promise<Answer<M>>((resolve, reject) => {
      const abort = () => {
        this.#pending.delete(id);
        this.#port.postMessage({ id, abort: true });
        reject(signal?.reason);
      };
      const settle = () => signal?.removeEventListener('abort', abort);
      this.#pending.set(id, {
        resolve: (answer) => {
          settle();
          resolve(answer as Answer<M>);
        },
        reject: (error) => {
          settle();
          reject(error);
        },
        onProgress,
      });
      signal?.addEventListener('abort', abort, { once: true });
      this.#port.postMessage({ id, method, params });
    });
  }

  /** Ends the worker and its threads; whatever waits is rejected with `reason`. */
  end(reason: PilotfishError): void {
    if (this.#reason !== undefined) return;
    this.#reason = reason;
    this.#port.terminate?.();
    this.#threads.end();
    for (const pending of this.#pending.values()) pending.reject(reason);
    this.#pending.clear();
    this.#announce(reason);
  }

  async #score({ ask, session, texts }: Ask): Promise<void> {
    // A session that is gone stopped asking; the worker waits for nobody.
    const score = this.scorers.get(session);
    if (score === undefined) return;
    try {
      this.#port.postMessage({ ask, scores: await score(texts) });
    } catch (error) {
      this.#port.postMessage({ ask, error: toPlain(error) });
    }
  }

  async #startThreads({ threads, start }: Wanted): Promise<void> {
    const joined = await this.#threads.start(threads, start);
    if (this.#reason === undefined) this.#port.postMessage({ joined });
  }

  #hear(message: FromWorker): void {
    if ('crash' in message) {
      this.end(fromPlain(message.crash));
      return;
    }
    if ('ask' in message) {
      void this.#score(message);
      return;
    }
    if ('threads' in message) {
      void this.#startThreads(message);
      return;
    }
    const pending = this.#pending.get(message.id);
    if (pending === undefined) return; // aborted meanwhile
    if ('progress' in message) {
      pending.onProgress?.(message.progress);
      return;
    }
    this.#pending.delete(message.id);
    if ('error' in message) pending.reject(fromPlain(message.error));
    else pending.resolve(message.answer);
  }
}
