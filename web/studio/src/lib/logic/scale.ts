/**
 * How a token's colour is chosen.
 *
 * Two measures, in nats: the *shift* `log p_mix − log p_base` of the chosen token (diverging: guides made it likelier, or
 * less likely), and `KL(mix‖base)` (sequential: how much the guides moved the whole distribution there). Each is cut
 * into five levels a side rather than shown continuously: a reader can match five shades with a legend, and every
 * shade's contrast with the text on it can be checked.
 */

export type Measure = 'shift' | 'kl' | 'off';

export interface Shade {
  readonly direction: 'up' | 'down' | 'kl' | 'none';
  /** 0 (not moved) to 5. */
  readonly level: number;
}

/** Lower edges of levels 1..5. In odds: 1.1x, 1.35x, 2.2x, 5x, 20x. */
export const SHIFT_EDGES = [0.1, 0.3, 0.8, 1.6, 3.0] as const;
export const KL_EDGES = [0.02, 0.1, 0.3, 0.8, 2.0] as const;

const UNMOVED: Shade = { direction: 'none', level: 0 };

export function shade(measure: Measure, token: { readonly shift: number; readonly kl: number }): Shade {
  if (measure === 'off') return UNMOVED;
  if (measure === 'kl') {
    const level = levelOf(token.kl, KL_EDGES);
    return level === 0 ? UNMOVED : { direction: 'kl', level };
  }
  const level = levelOf(Math.abs(token.shift), SHIFT_EDGES);
  if (level === 0) return UNMOVED;
  return { direction: token.shift > 0 ? 'up' : 'down', level };
}

function levelOf(value: number, edges: readonly number[]): number {
  // NaN compares false with everything and so is "not moved", not a colour that claims something.
  return edges.filter((edge) => value >= edge).length;
}

/** "3.1× likelier", "2× less likely", "as likely as without guides". */
export function shiftInWords(shift: number): string {
  if (!Number.isFinite(shift)) return 'changed beyond measure';
  if (Math.abs(shift) < 0.05) return 'as likely as without guides';
  const times = Math.exp(Math.abs(shift));
  const shown = times >= 1000 ? 'over 1000' : times >= 10 ? times.toFixed(0) : times.toFixed(1);
  return `${shown}× ${shift > 0 ? 'likelier' : 'less likely'}`;
}
