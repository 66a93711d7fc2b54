// What a visitor downloads before a model: engine, tokenizers and templates are one WebAssembly file.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { it } from 'node:test';
import { brotliCompressSync } from 'node:zlib';

it('is at most 700 kB of WebAssembly, as brotli packs it', (test) => {
  const wasm = readFileSync(new URL('../dist/wasm/pilotfish_bg.wasm', import.meta.url));
  const packed = brotliCompressSync(wasm).length;
  test.diagnostic(`wasm: ${wasm.length} bytes, ${packed} as brotli`);
  assert.ok(packed <= 700_000, `${packed} bytes`);
});
