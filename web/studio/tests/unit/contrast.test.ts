/** The palette's promises: AA contrast of every text on every surface it is used on, and hues that colour-blind eyes tell apart. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';

const css = readFileSync(new URL('../../src/styles/tokens.css', import.meta.url), 'utf8');
const palette = new Map(
  [...css.matchAll(/--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)/g)].map(([, name, light, dark]) => [
    name as string,
    { light: light as string, dark: dark as string },
  ]),
);

type Theme = 'light' | 'dark';
type Rgb = readonly [number, number, number];

function rgb(name: string, theme: Theme): Rgb {
  const hex = palette.get(name)?.[theme];
  if (!hex) throw new Error(`tokens.css has no colour --${name}`);
  return [1, 3, 5].map((i) => linear(Number.parseInt(hex.slice(i, i + 2), 16) / 255)) as unknown as Rgb;
}

/** sRGB to linear light, IEC 61966-2-1. */
function linear(c: number): number {
  return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
}

/** WCAG 2.2, contrast ratio. */
function contrast(a: Rgb, b: Rgb): number {
  const luminance = ([r, g, bl]: Rgb) => 0.2126 * r + 0.7152 * g + 0.0722 * bl;
  const [high, low] = [luminance(a), luminance(b)].sort((x, y) => y - x) as [number, number];
  return (high + 0.05) / (low + 0.05);
}

const shades = ['up', 'down', 'kl'].flatMap((direction) => [1, 2, 3, 4, 5].map((level) => `${direction}-${level}`));
const TEXT: readonly [text: string, surfaces: readonly string[]][] = [
  ['ink', ['page', 'surface', 'sunken', 'accent-soft', 'bad-soft', ...shades]],
  ['ink-2', ['page', 'surface', 'sunken', 'accent-soft', 'bad-soft']],
  ['ink-3', ['page', 'surface', 'sunken']],
  ['accent', ['page', 'surface', 'sunken']],
  ['on-accent', ['accent']],
  ['warn', ['warn-soft', 'page', 'surface']],
  ['bad', ['bad-soft']],
];
const SHAPES = ['edge', 'up', 'down', 'row-base', 'row-mix', ...[0, 1, 2, 3, 4, 5].map((hue) => `guide-${hue}`)];

describe.each<Theme>(['light', 'dark'])('%s', (theme) => {
  test.each(TEXT)('text in %s has 4.5:1', (text, surfaces) => {
    for (const surface of surfaces) {
      expect(contrast(rgb(text, theme), rgb(surface, theme)), `${text} on ${surface}`).toBeGreaterThanOrEqual(4.5);
    }
  });

  test.each(SHAPES)('%s has 3:1', (shape) => {
    for (const surface of ['page', 'surface']) {
      expect(contrast(rgb(shape, theme), rgb(surface, theme)), `${shape} on ${surface}`).toBeGreaterThanOrEqual(3);
    }
  });

  // Viénot, Brettel & Mollon 1999: full loss of the long- or middle-wave cones, in linear RGB.
  test.each([
    [
      'protanopia',
      [
        [0.11238, 0.88762, 0],
        [0.11238, 0.88762, 0],
        [0.00401, -0.00401, 1],
      ],
    ],
    [
      'deuteranopia',
      [
        [0.29275, 0.70725, 0],
        [0.29275, 0.70725, 0],
        [-0.02234, 0.02234, 1],
      ],
    ],
  ] as const)('likelier and less likely differ under %s', (_, matrix) => {
    const seen = (c: Rgb) => matrix.map((row) => row[0] * c[0] + row[1] * c[1] + row[2] * c[2]);
    for (const level of [3, 4, 5]) {
      const up = seen(rgb(`up-${level}`, theme));
      const down = seen(rgb(`down-${level}`, theme));
      // Yellow-blue is the axis that both keep: the one must be clearly yellower, the other clearly bluer.
      const yellowness = (c: number[]) => ((c[0] ?? 0) - (c[2] ?? 0)) / ((c[0] ?? 0) + (c[2] ?? 0));
      expect(yellowness(up) - yellowness(down)).toBeGreaterThan(0.3);
    }
  });
});
