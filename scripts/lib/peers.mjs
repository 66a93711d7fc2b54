// This engine's CPU backend beside others that run in a page: same Chromium, same GGUF, taking turns, since a machine's speed drifts.
// transformers.js is not among them: it runs ONNX files, and no package registry has one of these models.

import { readFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { root } from './paths.mjs';
import { bold, dim, step } from './say.mjs';
import { serve } from './serve.mjs';

/** @typedef {{ prefill: number, decode: number }} Speed tokens a second */

const names = /** @type {const} */ (['pilotfish', 'wllama']);

/**
 * Measures and prints a table.
 * @param {{ models: string[], promptTokens: number, tokens: number, runs: number, threads: number[] }} options `models` by their names
 */
export async function comparePeers({ models, promptTokens, tokens, runs, threads }) {
  const { openChromium, testMounts } = await import('../../tests/browser/browsers.mjs');
  const wllama = join(root, 'node_modules/@wllama/wllama');
  const { version } = JSON.parse(readFileSync(join(wllama, 'package.json'), 'utf8'));
  const server = await serve({ port: 0, mounts: [{ at: '/wllama/', folder: join(wllama, 'esm') }, ...testMounts()] });
  const browser = await openChromium();
  console.log(
    `\n${browser.version}, wllama ${version}, load ${loadavg()[0]?.toFixed(1)}: prompts of ${promptTokens} tokens and ${tokens} after`,
  );
  console.log(dim('  best of all rounds (median), tokens a second; the engines take turns\n'));
  try {
    for (const model of models) {
      for (const count of threads) {
        const line = step(`${model}, ${count} thread${count > 1 ? 's' : ''}`);
        const page = await browser.open(`${server.address}peers.html`);
        const options = { url: `/models/${model}.gguf`, threads: count, promptTokens, tokens };
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
  const of = (/** @type {string} */ name, /** @type {keyof Speed} */ what) =>
    bestAndMedian((found[name]?.speeds ?? []).map((speed) => speed[what]));
  for (const [name, { about }] of Object.entries(found)) {
    const cells = /** @type {const} */ (['prefill', 'decode']).map((what) => {
      const { best, median } = of(name, what);
      return `${what} ${best.toFixed(1).padStart(7)} ${dim(`(${median.toFixed(1)})`)}`;
    });
    console.log(`    ${bold(name.padEnd(10))} ${cells.join('   ')}   ${dim(about)}`);
  }
  const ratio = (/** @type {keyof Speed} */ what) => of('pilotfish', what).best / of('wllama', what).best;
  console.log(
    `    ${'ratio'.padEnd(10)} prefill ${ratio('prefill').toFixed(2)}x   decode ${ratio('decode').toFixed(2)}x\n`,
  );
}
