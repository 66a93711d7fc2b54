import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { adapterAt, adapterName, hasPeft, sortAdapterFiles } from '../../src/lib/logic/adapter-files';
import { isAdapter, problemOf } from '../../src/lib/logic/problems';
import { SHIPPED_GUIDES } from '../../src/lib/logic/shipped';

const file = (name: string) => new File([], name);
const [gguf, weights, config] = ['a.gguf', 'adapter_model.safetensors', 'adapter_config.json'].map(file) as [
  File,
  File,
  File,
];

describe('adapter files', () => {
  test('are one GGUF each, or two of PEFT in either order', () => {
    expect(sortAdapterFiles([gguf])).toEqual({ adapters: [gguf], complaint: null });
    for (const pair of [
      [weights, config],
      [config, weights],
    ]) {
      expect(sortAdapterFiles(pair)).toEqual({ adapters: [{ config, weights }], complaint: null });
    }
    expect(sortAdapterFiles([gguf, weights, config]).adapters).toHaveLength(2);
  });

  test('that are half a pair name the other half', () => {
    expect(sortAdapterFiles([weights])).toMatchObject({
      adapters: [],
      complaint: expect.stringContaining('adapter_config.json'),
    });
    expect(sortAdapterFiles([config, gguf])).toMatchObject({
      adapters: [gguf],
      complaint: expect.stringContaining('adapter_model.safetensors'),
    });
  });

  test('that cannot be told apart, or are something else, are refused', () => {
    expect(sortAdapterFiles([weights, file('b.safetensors'), config]).complaint).toMatch(/one by one/);
    expect(sortAdapterFiles([file('notes.txt')]).complaint).toMatch(/notes\.txt is no adapter/);
    expect(sortAdapterFiles([])).toEqual({ adapters: [], complaint: null });
    expect([hasPeft([gguf]), hasPeft([gguf, config])]).toEqual([false, true]);
  });

  test('at an address have their configuration beside them', () => {
    expect(adapterAt('https://host/arm.gguf')).toBe('https://host/arm.gguf');
    expect(adapterAt('https://host/arm/adapter_model.safetensors?download=true')).toEqual({
      config: 'https://host/arm/adapter_config.json?download=true',
      weights: 'https://host/arm/adapter_model.safetensors?download=true',
    });
  });

  test('are called as their file is, or as their folder where PEFT named the file', () => {
    expect(adapterName('https://host/a/kind.gguf?x=1')).toBe('kind');
    expect(adapterName(adapterAt('https://host/a/kind/adapter_model.safetensors'))).toBe('kind');
    expect(adapterName({ config, weights })).toBe('adapter_model');
    expect(adapterName(file('Kind.GGUF'))).toBe('Kind');
  });
});

test('a file that was refused as a model may be an adapter', () => {
  const refused = (found: string) => problemOf('arch.not_a_model', `this file holds general.type "${found}"`);
  expect([isAdapter(refused('adapter')), isAdapter(refused('mmproj'))]).toEqual([true, false]);
  expect(isAdapter(problemOf('adapter.shape', 'the adapter is too wide'))).toBe(false);
});

test('the shipped guides are the files that their manifest names', () => {
  expect(SHIPPED_GUIDES.map(({ name, weight, atFirst }) => [name, weight, atFirst])).toEqual([
    ['upbeat', 1, true],
    ['plain', 0, true],
    ['harmless', 0, true],
    ['personal', 0, false],
  ]);
  for (const guide of SHIPPED_GUIDES) {
    const bytes = readFileSync(new URL(`../../../..${guide.address}`, import.meta.url));
    expect(bytes.length).toBe(guide.bytes);
    expect(createHash('sha256').update(bytes).digest('hex')).toBe(guide.sha256);
  }
});
