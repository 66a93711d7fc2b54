/** The engine's life: not asked for yet, opening, ready, failed, lost. */

import { openEngine } from '../engine/open';
import type { Backend, Engine, EngineInfo } from '../engine/port';
import { keep, recall } from '../logic/kept';
import { type Problem, problemFrom } from '../logic/problems';
import { readBackend } from '../logic/processor';

export type HostPhase = 'idle' | 'opening' | 'ready' | 'failed';

export class Host {
  phase = $state<HostPhase>('idle');
  engine = $state.raw<Engine | null>(null);
  /** What the open engine runs on; a model may decide it. */
  info = $state.raw<EngineInfo | null>(null);
  problem = $state.raw<Problem | null>(null);
  /** What is to compute, from the next time that the engine is opened. */
  backend = $state<Backend>(recall('backend', readBackend, 'auto'));

  /** Called when an open engine can no longer be used. */
  onLost: (reason: unknown) => void = (reason) => this.fail(reason);

  /** The open engine, opening it when it is not; null when that fails, and `problem` says why. */
  async open(): Promise<Engine | null> {
    if (this.engine) return this.engine;
    this.phase = 'opening';
    this.problem = null;
    try {
      const engine = await openEngine(this.backend);
      this.engine = engine;
      this.info = engine.info;
      this.phase = 'ready';
      void engine.closed.then((reason) => {
        if (this.engine === engine) this.onLost(reason);
      });
    } catch (error) {
      this.fail(error);
    }
    return this.engine;
  }

  /** Asks the engine what it runs on since a model was loaded. */
  look(): void {
    this.info = this.engine?.info ?? null;
  }

  /** Chooses what is to compute. */
  prefer(backend: Backend): void {
    this.backend = backend;
    keep('backend', backend);
  }

  /** Ends the engine, as it was asked to; everything that lived in it is gone. */
  close(): void {
    const engine = this.engine;
    this.engine = null;
    this.info = null;
    this.problem = null;
    this.phase = 'idle';
    engine?.close();
  }

  /** Puts a failure of the whole engine before the person; everything that lived in the engine is gone. */
  fail(error: unknown): void {
    this.problem = problemFrom(error);
    this.phase = 'failed';
    const engine = this.engine;
    this.engine = null;
    this.info = null;
    engine?.close();
  }
}
