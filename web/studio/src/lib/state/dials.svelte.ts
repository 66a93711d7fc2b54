/** How a token is chosen from the mix, and how long an answer may be. */

import type { Sampling } from '../engine/port';
import { fields, keep, numberIn, recall } from '../logic/kept';

export interface DialRange {
  readonly min: number;
  readonly max: number;
  readonly step: number;
  readonly initial: number;
}

/** The dials start at temperature 1, which is what base, guides and mix are shown at, and leave the choosing to min-p. */
export const DIALS = {
  temperature: { min: 0, max: 2, step: 0.05, initial: 1 },
  topK: { min: 0, max: 200, step: 1, initial: 0 },
  topP: { min: 0.05, max: 1, step: 0.01, initial: 1 },
  minP: { min: 0, max: 0.5, step: 0.01, initial: 0.1 },
  typicalP: { min: 0.05, max: 1, step: 0.01, initial: 1 },
  repetitionPenalty: { min: 1, max: 2, step: 0.01, initial: 1 },
  maxTokens: { min: 1, max: 4096, step: 1, initial: 200 },
  contextLength: { min: 128, max: 131_072, step: 128, initial: 2048 },
} as const satisfies Record<string, DialRange>;

export type DialName = keyof typeof DIALS;

/** Those that act on an answer while it is written. */
const LIVE: ReadonlySet<string> = new Set(['temperature', 'topK', 'topP', 'minP', 'typicalP', 'repetitionPenalty']);

export class Dials {
  values = $state<Record<DialName, number>>(recall('dials', readDials, initialDials()));
  normalize = $state(false);
  /** Whether an answer that fills the context drops its middle and goes on. */
  shift = $state(false);
  /** Texts that end an answer, one a line. */
  stops = $state('');
  seed = $state(roll());
  /** Whether every answer rolls a new seed. */
  freshSeed = $state(true);
  onChange: (sampling: Partial<Sampling>) => void = () => {};

  set(name: DialName, value: number): void {
    const { min, max } = DIALS[name];
    if (!Number.isFinite(value)) return;
    this.values[name] = Math.min(max, Math.max(min, value));
    if (LIVE.has(name)) this.onChange({ [name]: this.values[name] });
  }

  reset(): void {
    for (const name of Object.keys(DIALS) as DialName[]) this.set(name, DIALS[name].initial);
    this.normalize = false;
    this.shift = false;
    this.stops = '';
    this.freshSeed = true;
  }

  /** The stop texts as the engine wants them: none is empty. */
  get stop(): string[] {
    return this.stops.split('\n').filter((line) => line !== '');
  }

  roll(): void {
    this.seed = roll();
  }

  /** Keeps a seed for the answers to come. */
  pin(seed: number): void {
    if (!Number.isInteger(seed) || seed < 0 || seed > 0xffff_ffff) return;
    this.seed = seed;
    this.freshSeed = false;
  }

  keep(): void {
    keep('dials', $state.snapshot(this.values));
  }
}

function initialDials(): Record<DialName, number> {
  return Object.fromEntries(Object.entries(DIALS).map(([name, dial]) => [name, dial.initial])) as Record<
    DialName,
    number
  >;
}

function readDials(stored: unknown): Record<DialName, number> | null {
  const kept = fields(stored);
  if (!kept) return null;
  const values = initialDials();
  for (const name of Object.keys(DIALS) as DialName[]) {
    const { min, max, initial } = DIALS[name];
    values[name] = numberIn(kept[name], min, max, initial);
  }
  return values;
}

/** Six digits: enough to differ, few enough to read out. */
function roll(): number {
  return Math.floor(Math.random() * 1_000_000);
}
