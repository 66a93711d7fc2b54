import { describe, expect, test } from 'vitest';
import type { Step } from '../../src/lib/engine/port';
import { messagesOf, meanKl, reusedPart, timing, tokenRecord } from '../../src/lib/logic/answer';
import { candidateRows } from '../../src/lib/logic/candidates';
import { bytes, count, percent, rate, seconds, signed, visible } from '../../src/lib/logic/format';
import { verticalNeighbour } from '../../src/lib/logic/lines';
import { expectedPositions, positionsPerToken, secondsPer128 } from '../../src/lib/logic/methods';
import { nameFromAddress, nameFromSentence, uniqueName } from '../../src/lib/logic/names';
import { isAbort, problemFrom } from '../../src/lib/logic/problems';
import { SpeedMeter } from '../../src/lib/logic/speed';
import { fall, path } from '../../src/lib/logic/wake';

const step: Step = {
  index: 0,
  sample: 0,
  shifted: 0,
  id: 7,
  text: ' sun',
  stop: null,
  logProbs: { base: -3, mix: -1, sampled: -0.8, guides: { cheerful: -0.5 } },
  entropy: 2,
  kl: 0.4,
  weights: { cheerful: 1.5 },
  temperature: 0.8,
  candidates: [
    { id: 1, text: ' rain', base: -0.4, mix: -2, sampled: -2.2, guides: { cheerful: -4 } },
    { id: 2, text: ' fog', base: -1.4, mix: -1.5, sampled: -1.6, guides: { cheerful: -3 } },
  ],
};
const guides = [{ key: 'cheerful', name: 'cheerful', hue: 0 }];

describe('a token', () => {
  test('is shifted by the mix less the base', () => {
    expect(tokenRecord(step).shift).toBe(2);
  });

  test('is not called shifted while every fader stands at 0', () => {
    expect(tokenRecord({ ...step, weights: { cheerful: 0 } })).toMatchObject({ shift: 0, kl: 0 });
  });

  test('drawn from beyond the listed candidates is listed last, and marked', () => {
    const rows = candidateRows(step, guides);
    expect(rows.map((row) => [row.id, row.chosen])).toEqual([
      [2, false],
      [1, false],
      [7, true],
    ]);
    expect(rows.at(-1)?.logProbs).toEqual([-3, -0.5, -1]);
  });

  test('that is a candidate is listed once', () => {
    expect(candidateRows({ ...step, id: 2 }, guides).filter((row) => row.chosen)).toHaveLength(1);
    expect(candidateRows({ ...step, id: 2 }, guides)).toHaveLength(2);
  });
});

describe('an answer', () => {
  test('is timed between its first and last token', () => {
    expect(timing(1000, [1500, 1600, 1700])).toEqual({ firstTokenMs: 500, tokensPerSecond: 10 });
    expect(timing(1000, [1500]).tokensPerSecond).toBeNaN();
    expect(timing(1000, []).firstTokenMs).toBeNaN();
  });

  test('has the mean KL of its tokens', () => {
    expect(meanKl([tokenRecord(step), tokenRecord({ ...step, kl: 0.6 })])).toBeCloseTo(0.5);
    expect(meanKl([])).toBeNaN();
  });

  test('is passed on with its prompt; an empty one is not', () => {
    const messages = messagesOf(
      [
        { prompt: 'a', text: 'b' },
        { prompt: 'c', text: ' ' },
      ],
      'd',
    );
    expect(messages.map(({ role, content }) => `${role}:${content}`)).toEqual(['user:a', 'assistant:b', 'user:d']);
  });
});

test('numbers are short and keep their meaning', () => {
  expect([bytes(999), bytes(98_500_352), bytes(2_500_000_000)]).toEqual(['999 B', '99 MB', '2.5 GB']);
  expect([count(134_515_008), count(1_240_000_000)]).toEqual(['135 M', '1.2 B']);
  expect([seconds(340), seconds(1240), seconds(61_000)]).toEqual(['340 ms', '1.2 s', '1 min 1 s']);
  expect([rate(7.94), rate(43.2), rate(Number.NaN)]).toEqual(['7.9', '43', '–']);
  expect([percent(Math.log(0.372)), percent(Math.log(0.004)), percent(-20), percent(0)]).toEqual([
    '37 %',
    '0.4 %',
    '<0.1 %',
    '100 %',
  ]);
  expect([signed(1.5), signed(-0.25), signed(-0.001)]).toEqual(['+1.50', '−0.25', '0.00']);
  expect(visible(' a\n')).toBe('·a↵');
});

test('speed is measured over the last moments only', () => {
  const meter = new SpeedMeter(1000);
  expect(meter.perSecond).toBeNaN();
  for (let t = 0; t <= 5000; t += 100) meter.add(t, t < 2000 ? t : 2000 + (t - 2000) * 5);
  expect(meter.perSecond).toBeCloseTo(5000);
});

describe('names of guides', () => {
  test('are never taken twice, empty, or integers', () => {
    expect(uniqueName('mood', new Set(['mood', 'mood 2']))).toBe('mood 3');
    expect(uniqueName('  ', new Set())).toBe('guide');
    expect(uniqueName('7', new Set())).toBe('guide 7');
  });

  test('come from sentences and addresses', () => {
    expect(nameFromSentence('You are relentlessly cheerful.')).toBe('relentlessly cheerful');
    expect(nameFromSentence('You are a pirate and talk like one.')).toBe('pirate and talk');
    expect(nameFromAddress('https://host/a/Big%20Fish-Q4_0.gguf?download=true')).toBe('Big Fish-Q4_0');
    expect(nameFromAddress('https://host/%E0%A4%A.gguf')).toBe('%E0%A4%A');
  });
});

describe('problems', () => {
  const failing = (code: string) => Object.assign(new Error('what was found'), { code });

  test('are known by their code, or else by its family', () => {
    expect(problemFrom(failing('gguf.truncated')).title).toBe('The file ends too early');
    expect(problemFrom(failing('gguf.some_new_code')).title).toBe('This is not a GGUF file that can be read');
    expect(problemFrom(failing('gpu.lost')).remedy).toBe('restart-engine');
  });

  test.each([
    'gguf',
    'quant',
    'arch',
    'tokenizer',
    'chat',
    'mix',
    'model',
    'session',
    'source',
    'download',
    'cache',
    'gpu',
    'worker',
  ])('of %s have words of their own', (family) => {
    expect(problemFrom(failing(`${family}.new`)).title).not.toBe(problemFrom('unknown').title);
  });

  test('keep the code and the message that they came with', () => {
    expect(problemFrom(failing('gguf.truncated'))).toMatchObject({ code: 'gguf.truncated', message: 'what was found' });
  });

  test('that nobody knows still say what was found and what to do', () => {
    const problem = problemFrom('thrown text');
    expect(problem.code).toBe('unknown');
    expect(problem.message).toBe('thrown text');
    expect(problem.advice.length).toBeGreaterThan(0);
  });

  test('do not include what was cancelled', () => {
    expect(isAbort(new DOMException('stop', 'AbortError'))).toBe(true);
    expect(isAbort(failing('gguf.truncated'))).toBe(false);
  });
});

test('up and down go to the nearest token of the neighbouring line', () => {
  const box = (left: number, right: number, top: number) => ({ left, right, top, bottom: top + 20 });
  const boxes = [box(0, 40, 0), box(40, 90, 0), box(0, 30, 30), box(30, 60, 31), box(60, 120, 30), box(0, 50, 60)];
  expect(verticalNeighbour(boxes, 1, 1)).toBe(3);
  expect(verticalNeighbour(boxes, 3, -1)).toBe(1);
  expect(verticalNeighbour(boxes, 2, -1)).toBe(0);
  expect(verticalNeighbour(boxes, 4, 1)).toBe(5);
  expect(verticalNeighbour(boxes, 5, 1)).toBe(5);
  expect(verticalNeighbour(boxes, 0, -1)).toBe(0);
});

test('the wake draws shifts from the middle and faders as stairs', () => {
  expect(fall(1.5, 40)).toEqual({ y: 10, height: 10 });
  expect(fall(-99, 40)).toEqual({ y: 20, height: 20 });
  expect(path([1, 1, 2], 42)).toBe('M0 16H2V11H3');
  expect(path([], 40)).toBe('');
});

describe('what methods cost', () => {
  test('is counted by token and by the 128 of the paper’s table', () => {
    const spent = { positions: 300, tokens: 20, ms: 5000 };
    expect(positionsPerToken(spent)).toBe(15);
    expect(secondsPer128(spent)).toBe(32);
    expect(positionsPerToken({ positions: 9, tokens: 0, ms: 1 })).toBeNaN();
  });

  test('is expected from rows, and what is tried', () => {
    expect(expectedPositions('genarm', {}, 3)).toBe(3);
    expect(expectedPositions('args', { candidates: 10 }, 3)).toBe(3);
    expect(expectedPositions('transfer-q', { candidates: 6, rollout: 8 }, 2)).toBe(96);
    expect(expectedPositions('best-of-n', { candidates: 8 }, 2)).toBe(16);
  });

  test('is less by what a prompt reuses', () => {
    expect(reusedPart({ computed: 25, positions: 100 })).toBe(0.75);
    expect(reusedPart({ computed: 100, positions: 100 })).toBe(0);
    expect(reusedPart({ computed: 0, positions: 0 })).toBe(0);
  });
});
