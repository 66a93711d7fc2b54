/** Shapes of the small chart of an answer: x is the token's index, y grows downwards, zero is in the middle. */

import { SHIFT_EDGES } from './scale';

/** The deepest shade's edge fills the chart; what is beyond it is cut. */
const FULL_SHIFT = SHIFT_EDGES[4];
/** The faders' largest weight, WEIGHT_MAX of the desk. */
const FULL_WEIGHT = 4;

export function fall(shift: number, height: number): { readonly y: number; readonly height: number } {
  const part = Number.isFinite(shift) ? Math.min(1, Math.abs(shift) / FULL_SHIFT) : 1;
  const length = (part * height) / 2;
  return { y: shift > 0 ? height / 2 - length : height / 2, height: length };
}

/** A staircase through one weight per token. */
export function path(weights: readonly number[], height: number): string {
  let d = '';
  let former: number | null = null;
  weights.forEach((weight, i) => {
    const y = round(height / 2 - (weight / FULL_WEIGHT) * (height / 2 - 1));
    if (y !== former) d += `${former === null ? `M${i} ${y}` : `H${i}V${y}`}`;
    former = y;
  });
  return former === null ? '' : `${d}H${weights.length}`;
}

function round(n: number): number {
  return Math.round(n * 100) / 100;
}
