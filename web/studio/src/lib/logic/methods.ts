/** The ways of choosing a token, in words and numbers for the person who picks one. */

import type { Method } from '../engine/port';

export type MethodName = Method['name'];

export interface MethodNumber {
  /** As the package calls it. */
  readonly name: string;
  readonly label: string;
  readonly hint: string;
  readonly min: number;
  readonly max: number;
  readonly step: number;
  readonly initial: number;
}

export interface MethodEntry {
  readonly name: MethodName;
  readonly label: string;
  /** One plain line. */
  readonly says: string;
  readonly source: string;
  readonly numbers: readonly MethodNumber[];
}

const whole = { min: 1, step: 1 };
const weight: MethodNumber = {
  ...{ name: 'weight', label: 'Reward weight', min: -20, max: 20, step: 0.1, initial: 1 },
  hint: 'what a reward is multiplied with before it is added to a log-probability',
};

export const METHODS: readonly MethodEntry[] = [
  {
    ...{ name: 'genarm', label: 'GenARM', source: 'arXiv 2410.08193', numbers: [] },
    says: 'Draws each token from the mix: one step a token.',
  },
  {
    ...{ name: 'args', label: 'ARGS', source: 'arXiv 2402.01694' },
    says: 'Tries the likeliest tokens and takes the one whose text is rewarded most.',
    numbers: [
      {
        ...{ ...whole, name: 'candidates', label: 'Tokens tried', max: 64, initial: 10 },
        hint: 'of the likeliest tokens, how many are scored',
      },
      weight,
    ],
  },
  {
    ...{ name: 'transfer-q', label: 'Transfer-Q', source: 'arXiv 2405.20495' },
    says: 'As ARGS, but writes on for a while from each token and rewards where it leads.',
    numbers: [
      {
        ...{ ...whole, name: 'candidates', label: 'Tokens tried', max: 32, initial: 6 },
        hint: 'of the likeliest tokens, how many are rolled out, side by side',
      },
      {
        ...{ ...whole, name: 'rollout', label: 'Looks ahead', max: 256, initial: 8 },
        hint: 'tokens that are written on from each',
      },
      weight,
    ],
  },
  {
    ...{ name: 'best-of-n', label: 'Best of N', source: 'arXiv 2009.01325' },
    says: 'Writes whole answers side by side and keeps the one rewarded most.',
    numbers: [
      {
        ...{ ...whole, name: 'candidates', label: 'Answers', max: 64, initial: 8 },
        hint: 'how many whole answers are written',
      },
    ],
  },
  {
    ...{ name: 'cards', label: 'CARDS', source: 'arXiv 2406.16306' },
    says: 'Writes in segments, each drawn again until one is rewarded enough.',
    numbers: [
      {
        ...{ ...whole, name: 'candidates', label: 'Draws', max: 64, initial: 8 },
        hint: 'of a segment at most; then the best of them is taken',
      },
      {
        ...{ name: 'goal', label: 'Reward wanted', min: -1000, max: 1000, step: 1, initial: 0 },
        hint: 'of the longest answer; a shorter one is measured in proportion',
      },
      {
        ...{ name: 'beta', label: 'Leniency', min: 0.01, max: 100, step: 0.01, initial: 1 },
        hint: 'a segment so many below that is accepted with probability 1/e',
      },
      {
        ...{ name: 'entropy', label: 'Cut at entropy', min: 0, max: 10, step: 0.1, initial: 2 },
        hint: 'a segment ends where the base is at least this undecided, in nats',
      },
      {
        ...{ ...whole, name: 'segment', label: 'Longest segment', max: 256, initial: 32 },
        hint: 'tokens',
      },
    ],
  },
];

/** What was done for an answer. */
export interface Spent {
  readonly positions: number;
  readonly tokens: number;
  /** From the prompt's end to the last token. */
  readonly ms: number;
}

export function positionsPerToken({ positions, tokens }: Spent): number {
  return tokens > 0 ? positions / tokens : Number.NaN;
}

/** The measure of the paper's table. */
export function secondsPer128({ ms, tokens }: Spent): number {
  return tokens > 0 ? (ms / tokens) * 0.128 : Number.NaN;
}

/** Positions a token before anything is measured: what the method computes if no text ends early. */
export function expectedPositions(name: MethodName, numbers: Readonly<Record<string, number>>, rows: number): number {
  const { candidates = 1, rollout = 1 } = numbers;
  switch (name) {
    case 'genarm':
    case 'args':
      return rows;
    case 'transfer-q':
      return rows * candidates * rollout;
    case 'best-of-n':
    case 'cards':
      return rows * candidates;
  }
}
