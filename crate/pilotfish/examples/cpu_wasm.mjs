// Times the CPU's forward pass in WebAssembly: node cpu_wasm.mjs FILE.wasm MODEL.gguf [ROUNDS]
import { closeSync, fstatSync, openSync, readFileSync, readSync } from 'node:fs';

const [wasm, model, rounds = '3'] = process.argv.slice(2);
const PROMPT = 128;
const TOKENS = 32;

const file = openSync(model, 'r');
const module = await WebAssembly.compile(readFileSync(wasm));
const imports = {};
for (const { module: from, name } of WebAssembly.Module.imports(module)) {
  // Nothing else is reached: what the engine's other parts import has no host here.
  (imports[from] ??= {})[name] = () => {
    throw new Error(`${from}.${name} was called`);
  };
}
imports.host.read = (offset, length, into) => readSync(file, new Uint8Array(memory.buffer, into, length), 0, length, offset);
const { memory, load, run, relaxed } = (await WebAssembly.instantiate(module, imports)).exports;

let started = performance.now();
if (load(fstatSync(file).size) !== 1) throw new Error('the model did not load');
closeSync(file);
const loading = (performance.now() - started) / 1000;
let [prefill, decode] = [Infinity, Infinity];
const ids = [];
for (let round = 0; round < Number(rounds); round += 1) {
  started = performance.now();
  let id = run(13, 0, PROMPT);
  prefill = Math.min(prefill, performance.now() - started);
  started = performance.now();
  for (let at = 0; at < TOKENS; at += 1) {
    id = run(id, PROMPT + at, 1);
    if (round === 0) ids.push(id);
  }
  decode = Math.min(decode, (performance.now() - started) / TOKENS);
}
console.log(
  `${relaxed() ? 'relaxed-simd' : 'simd128'}: loaded in ${loading.toFixed(1)} s, heap ${(memory.buffer.byteLength / 1e6).toFixed(0)} MB, ` +
    `decode ${(1000 / decode).toFixed(1)} tok/s, prefill ${((1000 * PROMPT) / prefill).toFixed(0)} tok/s; ids ${ids.slice(0, 8).join(' ')}`,
);
