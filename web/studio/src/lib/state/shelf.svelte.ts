/** The models: the base that is steered, and how a model comes onto the shelf. */

import type { Model, Progress, Source } from '../engine/port';
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

type Then = (model: Model, signal: AbortSignal, onProgress: (progress: Progress) => void) => Promise<void>;
export type Fit = (...loaded: Parameters<Then>) => Promise<() => void>;

export class Shelf {
  base = $state.raw<Model | null>(null);
  /** Where the base came from, to read it again after the device was lost. */
  baseSource = $state.raw<Source | null>(null);
  loading = $state.raw<Loading | null>(null);
  problem = $state.raw<Problem | null>(null);
  /** What was to be read when it came. */
  problemSource: Source | null = null;
  /** Tries again what ended in `problem`. */
  again: (() => void) | null = null;
  #cancel: AbortController | null = null;

  constructor(private readonly host: Host) {}

  /** What the base is called here: as its file is, since the name inside a file is often a training run's. */
  get baseName(): string {
    return this.baseSource === null ? '' : labelOf(this.baseSource);
  }

  /** @param fit reads what is to come with the model, and answers with what to do at the moment it becomes the base */
  async openBase(source: Source, fit: Fit): Promise<boolean> {
    let settle = () => {};
    const model = await this.load(source, async (loaded, signal, onProgress) => {
      settle = await fit(loaded, signal, onProgress);
    });
    if (!model) return false;
    const former = this.base;
    this.base = model;
    this.baseSource = source;
    settle();
    await former?.dispose();
    return true;
  }

  /** Reads a model, and what is to come with it; null when cancelled or failed, and then `problem` says why. */
  async load(source: Source, then?: Then): Promise<Model | null> {
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
      const onProgress = (progress: Progress) => {
        if (progress.phase !== phase) {
          phase = progress.phase;
          speed = new SpeedMeter();
        }
        speed.add(performance.now(), progress.loaded);
        this.loading = { label, ...progress, perSecond: speed.perSecond };
      };
      const model = await engine.load(source, { signal: cancel.signal, onProgress });
      this.host.look();
      await then?.(model, cancel.signal, onProgress);
      return model;
    } catch (error) {
      if (!isAbort(error)) {
        this.problem = problemFrom(error);
        this.problemSource = source;
      }
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
