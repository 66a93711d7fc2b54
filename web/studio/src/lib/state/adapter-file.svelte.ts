/** An adapter's file, and what became of it with the base that is loaded: guides on the desk use it, one or several. */

import type { Adapter, AdapterSource, Model, Progress } from '../engine/port';
import { adapterName } from '../logic/adapter-files';
import { isAbort, type Problem, problemFrom } from '../logic/problems';
import type { ShippedGuide } from '../logic/shipped';

/** `waiting` for a model, or for being asked again after a cancelled load. */
export type AdapterPhase = 'waiting' | 'loading' | 'ready' | 'refused';

/** What reading a file for a model came to; null when it was cancelled. */
export type Reading = { readonly adapter: Adapter } | { readonly problem: Problem } | null;

export class AdapterFile {
  phase = $state<AdapterPhase>('waiting');
  /** Part of the file that is here, 0..1, while it is loading. */
  part = $state(0);
  adapter = $state.raw<Adapter | null>(null);
  /** Why the base that is loaded does not take it. */
  problem = $state.raw<Problem | null>(null);
  readonly name: string;
  readonly source: AdapterSource;

  constructor(source: AdapterSource | ShippedGuide) {
    this.shipped = typeof source === 'object' && 'prefers' in source ? source : null;
    this.source = typeof source === 'object' && 'prefers' in source ? source.address : source;
    this.name = this.shipped?.name ?? adapterName(this.source);
  }

  /** Set for a guide that comes with the page. */
  readonly shipped: ShippedGuide | null;

  /** Reads the file for a model, and changes nothing here. */
  async read(model: Model, signal: AbortSignal, onProgress: (progress: Progress) => void): Promise<Reading> {
    const sha256 = this.shipped ? { sha256: this.shipped.sha256 } : {};
    try {
      return { adapter: await model.loadAdapter(this.source, { ...sha256, signal, onProgress }) };
    } catch (error) {
      return isAbort(error) ? null : { problem: problemFrom(error) };
    }
  }

  /** Lets a reading be what holds from now on. */
  take(reading: Reading): void {
    const former = this.adapter;
    this.adapter = reading && 'adapter' in reading ? reading.adapter : null;
    this.problem = reading && 'problem' in reading ? reading.problem : null;
    this.phase = this.adapter ? 'ready' : this.problem ? 'refused' : 'waiting';
    void former?.dispose();
  }

  /** After the engine is gone, so is what it held. */
  forget(): void {
    this.adapter = null;
    this.problem = null;
    this.phase = 'waiting';
  }
}
