/** The table of candidates at one token. */

import type { Step } from '../engine/port';
import type { GuideLabel } from './answer';

export interface CandidateRow {
  readonly id: number;
  readonly text: string;
  readonly chosen: boolean;
  /** Under the base, each guide in order, and the mix. */
  readonly logProbs: readonly number[];
}

/** Sorted by the mix, likeliest first; a token drawn from beyond the listed candidates comes last. */
export function candidateRows(step: Step, guides: readonly GuideLabel[]): CandidateRow[] {
  const inOrder = (under: Readonly<Record<string, number>>) => guides.map((guide) => under[guide.key] ?? Number.NaN);
  const rows = step.candidates.map((candidate): CandidateRow => ({
    id: candidate.id,
    text: candidate.text,
    chosen: candidate.id === step.id,
    logProbs: [candidate.base, ...inOrder(candidate.guides), candidate.mix],
  }));
  rows.sort((a, b) => (b.logProbs.at(-1) ?? 0) - (a.logProbs.at(-1) ?? 0));
  if (!rows.some((row) => row.chosen)) {
    const { base, guides: under, mix } = step.logProbs;
    rows.push({ id: step.id, text: step.text, chosen: true, logProbs: [base, ...inOrder(under), mix] });
  }
  return rows;
}
