// Runs the kernels' cases in WebAssembly: node kernels_wasm.mjs FILE.wasm
import { readFileSync } from 'node:fs';

const { instance } = await WebAssembly.instantiate(readFileSync(process.argv[2]), {});
const { run, sets } = instance.exports;
console.log(`${sets()} instruction set(s)`);
for (let at = 0; ; at += 1) {
  const compared = run(at);
  if (compared === 0) break;
  console.log(`case ${at}: ${compared} numbers are right`);
}
