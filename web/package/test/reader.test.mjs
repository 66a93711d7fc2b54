import assert from 'node:assert/strict';
import { it } from 'node:test';
import { source } from './source.mjs';

const { blobReader, PilotfishError } = await source({ blobReader: 'worker/reader.ts', PilotfishError: 'errors.ts' });

it('answers exactly the bytes asked for', async () => {
  const reader = blobReader(new Blob([Uint8Array.of(1, 2, 3), Uint8Array.of(4, 5)]));
  assert.equal(reader.size, 5);
  assert.deepEqual(await reader.read(1, 3), Uint8Array.of(2, 3, 4));
  assert.deepEqual(await reader.read(5, 0), new Uint8Array());
});

it('refuses what lies outside the file', async () => {
  const reader = blobReader(new Blob([new Uint8Array(5)]));
  for (const [offset, length] of [
    [0, 6],
    [-1, 2],
    [Number.NaN, 1],
  ]) {
    await assert.rejects(reader.read(offset, length), (/** @type {any} */ error) => {
      assert.ok(error instanceof PilotfishError);
      return error.code === 'source.unreadable';
    });
  }
});

it('lets messages in while it reads without end', async () => {
  const reader = blobReader({
    size: 1,
    slice: () => ({ arrayBuffer: async () => new ArrayBuffer(1) }), // resolves from memory: no turn of its own
  });
  let heard = false;
  setTimeout(() => {
    heard = true;
  }, 0);
  const until = performance.now() + 2000;
  while (!heard && performance.now() < until) await reader.read(0, 1);
  assert.ok(heard, 'a timer fired while reading went on');
});
