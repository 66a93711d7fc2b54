// Every kernel x shape x format x variant against its CPU twin, inside Chromium and Firefox.
//
// The whole grid runs with all that the browser offers. With WebGPU's defaults alone the kernels are the same text, except those
// that use subgroups, so there the norms (whose sum is another without subgroups) and a case of each other kernel run:
// PILOTFISH_GRID=full runs everything twice. PILOTFISH_GRID=matvec runs what is named so; PILOTFISH_VERBOSE=1 tells seconds.

import assert from 'node:assert/strict';
import { after, before, it } from 'node:test';
import { browsers, inEachBrowserWithGpu, lookForGpus, serveTests } from './browsers.mjs';

const asked = process.env.PILOTFISH_GRID ?? '';
const full = asked === 'full';
const filter = full ? '' : asked;

/** The kernel of a case. @param {string} name */
const kernelOf = (name) => name.split('/')[0] ?? '';

/** @param {string[]} names @param {boolean} defaultsOnly @returns {Map<string, number[]>} places of the cases to run, by kernel */
function choose(names, defaultsOnly) {
  /** @type {Map<string, number[]>} */
  const chosen = new Map();
  for (const [place, name] of names.entries()) {
    if (!name.includes(filter)) continue;
    const kernel = kernelOf(name);
    const places = chosen.get(kernel) ?? [];
    if (defaultsOnly && !full && kernel !== 'norm' && places.length > 0) continue;
    chosen.set(kernel, [...places, place]);
  }
  return chosen;
}

await lookForGpus();

inEachBrowserWithGpu('kernels equal their twins', (browserName) => {
  /** @type {Awaited<ReturnType<typeof serveTests>>} */
  let server;
  /** @type {import('./browsers.mjs').Browser} */
  let browser;
  before(async () => {
    server = await serveTests();
    browser = await browsers[browserName]();
  });
  after(async () => {
    await browser?.close();
    await server?.close();
  });

  for (const defaultsOnly of [false, true]) {
    it(defaultsOnly ? "with WebGPU's defaults alone" : 'with all that is offered', async (test) => {
      const page = await browser.open(`${server.address}grid.html`);
      /** @type {{ gpu: any, names: string[] }} */
      const { gpu, names } = await page.evaluate((options) => /** @type {any} */ (globalThis).openGrid(options), {
        defaultsOnly,
      });
      const chosen = choose(names, defaultsOnly);
      assert.ok(chosen.size > 0, `no case matches ${JSON.stringify(filter)}`);
      const count = { passed: 0, skipped: 0 };
      for (const [kernel, places] of chosen) {
        await test.test(kernel, async () => {
          /** @type {string[]} */
          const wrong = [];
          // A few at a time: when the browser dies, the failure names a kernel and not an hour.
          for (let at = 0; at < places.length; at += 20) {
            const some = places.slice(at, at + 20);
            /** @type {{ verdict: string, seconds: number }[]} */
            const ran = await page.evaluate((places) => /** @type {any} */ (globalThis).runCases(places), some);
            for (const [index, { verdict, seconds }] of ran.entries()) {
              const name = names[some[index] ?? -1];
              if (process.env.PILOTFISH_VERBOSE) console.log(`  [${browserName}] ${seconds.toFixed(3)} s ${name}`);
              if (verdict === 'passed' || verdict === 'skipped') count[verdict] += 1;
              else wrong.push(`${name}: ${verdict}`);
            }
          }
          assert.deepEqual(wrong, []);
        });
      }
      await page.close();
      const features = Object.entries(gpu.features).flatMap(([feature, on]) => (on ? [feature] : []));
      const which = chosen.size > 1 && defaultsOnly && !full ? 'norms and a case of each other kernel, ' : '';
      test.diagnostic(
        `${browserName} (${which}${features.join(', ') || 'no features'}): ${count.passed} passed, ${count.skipped} skipped`,
      );
      assert.ok(count.passed > 0, 'every case was skipped');
    });
  }
});
