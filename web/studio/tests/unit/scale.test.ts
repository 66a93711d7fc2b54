import { describe, expect, test } from 'vitest';
import { KL_EDGES, SHIFT_EDGES, shade, shiftInWords } from '../../src/lib/logic/scale';

describe('shade', () => {
  test('a shift of either sign gets the same depth, in opposite directions', () => {
    for (const [i, edge] of SHIFT_EDGES.entries()) {
      expect(shade('shift', { shift: edge, kl: 0 })).toEqual({ direction: 'up', level: i + 1 });
      expect(shade('shift', { shift: -edge, kl: 0 })).toEqual({ direction: 'down', level: i + 1 });
    }
  });

  test('what is below the first edge is not coloured', () => {
    expect(shade('shift', { shift: 0.0999, kl: 9 }).level).toBe(0);
    expect(shade('kl', { shift: 9, kl: 0.0199 }).level).toBe(0);
  });

  test('KL has one direction', () => {
    expect(shade('kl', { shift: -5, kl: KL_EDGES[4] })).toEqual({ direction: 'kl', level: 5 });
  });

  test('off colours nothing, and neither does what is not a number', () => {
    expect(shade('off', { shift: 5, kl: 5 }).direction).toBe('none');
    expect(shade('shift', { shift: Number.NaN, kl: 0 }).direction).toBe('none');
    expect(shade('kl', { shift: 0, kl: Number.NaN }).direction).toBe('none');
  });
});

test('a shift is told in odds', () => {
  expect(shiftInWords(Math.log(3.1))).toBe('3.1× likelier');
  expect(shiftInWords(-Math.log(20))).toBe('20× less likely');
  expect(shiftInWords(0.01)).toBe('as likely as without guides');
  expect(shiftInWords(40)).toBe('over 1000× likelier');
  expect(shiftInWords(Number.POSITIVE_INFINITY)).toBe('changed beyond measure');
});
