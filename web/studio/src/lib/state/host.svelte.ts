/** The engine's life: not asked for yet, opening, ready, failed, lost. */

import { hasWebGpu, openEngine } from '../engine/open';
import type { Engine } from '../engine/port';
import { type Problem, problemFrom } from '../logic/problems';

export type HostPhase = 'idle' | 'opening' | 'ready' | 'failed';

export class Host {
  phase = $state<HostPhase>('idle');
  engine = $state.raw<Engine | null>(null);
  problem = $state.raw<Problem | null>(null);
  /** False where there is no WebGPU at all: then nothing can be tried. */
  readonly canRun = hasWebGpu();

  /** Called when an open engine can no longer be used. */
  onLost: (reason: unknown) => void = (reason) => this.fail(reason);

  constructor() {
    if (!this.canRun)
      this.fail(Object.assign(new Error('navigator.gpu does not exist here.'), { code: 'gpu.unavailable' }));
  }

  /** The open engine, opening it when it is not; null when that fails, and `problem` says why. */
  async open(): Promise<Engine | null> {
    if (this.engine) return this.engine;
    this.phase = 'opening';
    this.problem = null;
    try {
      const engine = await openEngine();
      this.engine = engine;
      this.phase = 'ready';
      void engine.closed.then((reason) => {
        if (this.engine === engine) this.onLost(reason);
      });
    } catch (error) {
      this.fail(error);
    }
    return this.engine;
  }

  /** Puts a failure of the whole engine before the person; everything that lived in the engine is gone. */
  fail(error: unknown): void {
    this.problem = problemFrom(error);
    this.phase = 'failed';
    const engine = this.engine;
    this.engine = null;
    engine?.close();
  }
}
