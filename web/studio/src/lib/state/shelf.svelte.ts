/** The models: the base that is steered, and how a model comes onto the shelf. */

import type { Model, Source } from '../engine/port';
import { nameFromAddress } from '../logic/names';
import { isAbort, type Problem, problemFrom } from '../logic/problems';
import { SpeedMeter } from '../logic/speed';
import type { Host } from './host.svelte';

export interface DefaultModel {
  readonly name: string;
  readonly address: string;
  readonly bytes: number;
}

export const DEFAULT_MODEL: DefaultModel = {
  name: 'SmolLM2 135M Instruct',
  address: '/models/smollm2-135m-instruct-q4_1.gguf',
  bytes: 98_500_000,
};

export interface Loading {
  readonly label: string;
  readonly phase: string;
  readonly loaded: number;
  /** 0 while unknown. */
  readonly total: number;
  readonly perSecond: number;
}

export class Shelf {
  base = $state.raw<Model | null>(null);
  /** Where the base came from, to read it again after the device was lost. */
  baseSource = $state.raw<Source | null>(null);
  loading = $state.raw<Loading | null>(null);
  problem = $state.raw<Problem | null>(null);
  /** Tries again what ended in `problem`. */
  again: (() => void) | null = null;
  #cancel: AbortController | null = null;

  constructor(private readonly host: Host) {}

  /** What the base is called here: as its file is, since the name inside a file is often a training run's. */
  get baseName(): string {
    return this.baseSource === null ? '' : labelOf(this.baseSource);
  }

  async openBase(source: Source): Promise<boolean> {
    const model = await this.load(source);
    if (!model) return false;
    const former = this.base;
    this.base = model;
    this.baseSource = source;
    await former?.dispose();
    return true;
  }

  /** Reads a model; null when cancelled or failed, and then `problem` says why. */
  async load(source: Source): Promise<Model | null> {
    if (this.loading) return null;
    const label = labelOf(source);
    const cancel = new AbortController();
    const meter = new SpeedMeter();
    let phase = 'open';
    this.#cancel = cancel;
    this.problem = null;
    this.loading = { label, phase, loaded: 0, total: 0, perSecond: Number.NaN };
    try {
      const engine = await this.host.open();
      if (!engine) return null;
      let speed = meter;
      return await engine.load(source, {
        signal: cancel.signal,
        onProgress: (progress) => {
          if (progress.phase !== phase) {
            phase = progress.phase;
            speed = new SpeedMeter();
          }
          speed.add(performance.now(), progress.loaded);
          this.loading = { label, ...progress, perSecond: speed.perSecond };
        },
      });
    } catch (error) {
      if (!isAbort(error)) this.problem = problemFrom(error);
      return null;
    } finally {
      this.loading = null;
      this.#cancel = null;
    }
  }

  cancel(): void {
    this.#cancel?.abort();
  }

  /** After the engine is gone, its models are too. */
  forget(): void {
    this.base = null;
  }
}

export function labelOf(source: Source): string {
  if (source === DEFAULT_MODEL.address) return DEFAULT_MODEL.name;
  return typeof source === 'string' ? nameFromAddress(source) : source.name.replace(/\.gguf$/i, '');
}
