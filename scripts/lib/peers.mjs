// This engine's CPU backend beside others that run in a page: same Chromium, same model, taking turns, since a machine's speed drifts.
// wllama loads the same GGUF; transformers.js loads what `onnx.mjs` makes of it, in the two forms that it offers for CPUs.

import { readFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { onnxDir } from './onnx.mjs';
import { root } from './paths.mjs';
import { bold, dim, step } from './say.mjs';
import { serve } from './serve.mjs';

/** @typedef {{ prefill: number, decode: number }} Speed tokens a second */

const names = ['pilotfish', 'wllama', 'transformers.js q8', 'transformers.js q4'];

/** @param {string} name of an npm package */
function installed(name) {
  const folder = join(root, 'node_modules', name);
  return { folder, version: JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')).version };
}

/**
 * Measures and prints a table.
 * @param {{ models: string[], promptTokens: number, tokens: number, runs: number, threads: number[] }} options `models` by their names
 */
export async function comparePeers({ models, promptTokens, tokens, runs, threads }) {
  const { openChromium, testMounts } = await import('../../tests/browser/browsers.mjs');
  const wllama = installed('@wllama/wllama');
  const transformers = installed('@huggingface/transformers');
  const onnxruntime = installed('onnxruntime-web');
  const mounts = [
    { at: '/wllama/', folder: join(wllama.folder, 'esm') },
    { at: '/transformers/', folder: join(transformers.folder, 'dist') },
    { at: '/onnxruntime/', folder: join(onnxruntime.folder, 'dist') },
    { at: '/onnxruntime-common/', folder: join(installed('onnxruntime-common').folder, 'dist/esm') },
    { at: '/onnx/', folder: onnxDir },
    ...testMounts(),
  ];
  const server = await serve({ port: 0, mounts });
  const browser = await openChromium();
  console.log(
    `\n${browser.version}, wllama ${wllama.version}, transformers.js ${transformers.version} with onnxruntime ${onnxruntime.version}, ` +
      `load ${loadavg()[0]?.toFixed(1)}: prompts of ${promptTokens} tokens and ${tokens} after`,
  );
  console.log(
    dim(
      '  best of all rounds (median), tokens a second, and how many times as many pilotfish makes; the engines take turns\n',
    ),
  );
  try {
    for (const model of models) {
      for (const count of threads) {
        const line = step(`${model}, ${count} thread${count > 1 ? 's' : ''}`);
        const page = await browser.open(`${server.address}peers.html`);
        const options = { model, url: `/models/${model}.gguf`, threads: count, promptTokens, tokens };
        /** @type {Record<string, { about: string, speeds: Speed[] }>} */
        const found = {};
        for (const name of names) {
          const open = (/** @type {object} */ argument) => /** @type {any} */ (globalThis).openEngine(argument);
          found[name] = { about: await page.evaluate(open, { name, ...options }), speeds: [] };
        }
        for (let round = 0; round < runs; round += 1) {
          for (const name of names) {
            line.progress(`${name}, round ${round + 1} of ${runs}`);
            const run = (/** @type {string} */ which) => /** @type {any} */ (globalThis).runEngine(which);
            found[name]?.speeds.push(await page.evaluate(run, name));
          }
        }
        await page.close();
        line.done();
        print(found);
      }
    }
  } finally {
    await browser.close();
    await server.close();
  }
}

/** @param {number[]} values */
function bestAndMedian(values) {
  const sorted = [...values].sort((one, other) => one - other);
  return { best: sorted.at(-1) ?? Number.NaN, median: sorted[sorted.length >> 1] ?? Number.NaN };
}

/** @param {Record<string, { about: string, speeds: Speed[] }>} found */
function print(found) {
  const whats = /** @type {const} */ (['prefill', 'decode']);
  const of = (/** @type {string} */ name, /** @type {keyof Speed} */ what) =>
    bestAndMedian((found[name]?.speeds ?? []).map((speed) => speed[what]));
  const ours = Object.fromEntries(whats.map((what) => [what, of('pilotfish', what).best]));
  for (const [name, { about }] of Object.entries(found)) {
    const cells = whats.map((what) => {
      const { best, median } = of(name, what);
      const ratio = name === 'pilotfish' ? '' : `${((ours[what] ?? Number.NaN) / best).toFixed(2)}x`;
      return `${what} ${best.toFixed(1).padStart(7)} ${dim(`(${median.toFixed(1)})`.padEnd(8))} ${ratio.padStart(6)}`;
    });
    console.log(`    ${bold(name.padEnd(18))} ${cells.join('   ')}   ${dim(about)}`);
  }
  console.log();
}
