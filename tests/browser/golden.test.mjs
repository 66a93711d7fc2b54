// Real models in real browsers, against an exact float32 forward of the dequantised files: the short cases of tests/golden
// (emulated GPUs take seconds for a token; the native tests run every case).

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, it } from 'node:test';
import { root } from '../../scripts/lib/paths.mjs';
import { browsers, inEachBrowserWithGpu, lookForGpus, serveTests } from './browsers.mjs';

/** Where the best two logits are closer than this, either may win. */
const nearTie = 0.02;

/** How many tokens are made of each case: an emulated GPU needs up to seconds for one. */
const plans = [
  { browser: 'chromium', model: 'smollm2-135m-instruct-q4_1', golden: 'smollm2-135m-q4_1', case: 'raw_5', tokens: 12 },
  {
    browser: 'chromium',
    model: 'smollm2-135m-instruct-q4_1',
    golden: 'smollm2-135m-q4_1',
    case: 'chatml_nosys',
    tokens: 12,
  },
  { browser: 'chromium', model: 'gemma-3-270m-q4_k_m', golden: 'gemma3-270m-q4_k_m', case: 'english', tokens: 6 },
  { browser: 'firefox', model: 'smollm2-135m-instruct-q4_1', golden: 'smollm2-135m-q4_1', case: 'raw_5', tokens: 12 },
  {
    browser: 'firefox',
    model: 'smollm2-135m-instruct-q4_1',
    golden: 'smollm2-135m-q4_1',
    case: 'chatml_nosys',
    tokens: 8,
  },
  // Its embedding is 178 MB, larger than the 128 MiB that Firefox binds: it works in two parts there.
  { browser: 'firefox', model: 'gemma-3-270m-q4_k_m', golden: 'gemma3-270m-q4_k_m', case: 'english', tokens: 6 },
];

await lookForGpus();

inEachBrowserWithGpu('real models', (name) => {
  /** @type {Awaited<ReturnType<typeof serveTests>>} */
  let server;
  /** @type {import('./browsers.mjs').Browser} */
  let browser;
  before(async () => {
    server = await serveTests();
    browser = await browsers[name]();
  });
  after(async () => {
    await browser?.close();
    await server?.close();
  });

  const ofBrowser = plans.filter((plan) => plan.browser === name);
  for (const model of new Set(ofBrowser.map((plan) => plan.model))) {
    it(`${model} computes and continues as the exact model does`, async (test) => {
      const mine = ofBrowser.filter((plan) => plan.model === model);
      const golden = JSON.parse(readFileSync(join(root, 'tests/golden', `${mine[0]?.golden}.json`), 'utf8'));
      const cases = mine.map((plan) => ({
        tokens: plan.tokens,
        ...golden.cases.find((/** @type {any} */ one) => one.name === plan.case),
      }));
      const page = await browser.open(`${server.address}package.html`);
      const found = await page.evaluate(
        async ({ url, cases }) => {
          const { pilotfish, readAll } = /** @type {any} */ (globalThis);
          // Software adapters are given 8-bit activations otherwise.
          const pf = await pilotfish.Pilotfish.open({ backend: 'gpu', precision: 'exact' });
          const before = (await pf.memory()).wasm;
          const model = await pf.load(url, { cache: false });
          const { wasm } = await pf.memory();
          const texts = [];
          for (const { ids, text, tokens } of cases) {
            const session = await model.session({ ids, temperature: 0, maxTokens: tokens });
            const began = performance.now();
            const steps = await readAll(session);
            const perSecond = (steps.length * 1000) / (performance.now() - began);
            await session.dispose();
            texts.push({ steps, perSecond, tokenized: Array.from(await model.tokenize(text, { special: true })) });
          }
          pf.close();
          return { texts, before, wasm };
        },
        { url: `/models/${model}.gguf`, cases },
      );
      await page.close();

      for (const [index, { name: which, ids, top, logsumexp, greedy, margins }] of cases.entries()) {
        const { steps, tokenized, perSecond } = /** @type {any} */ (found.texts[index]);
        assert.deepEqual(tokenized, ids.slice(-tokenized.length), `${which}: the text's tokens`);
        // KL to second order, sum of p d^2 / 2, over the candidates: the tail holds too little to matter.
        const exact = new Map(top.map((/** @type {[number, number]} */ [id, logit]) => [id, logit - logsumexp]));
        let kl = 0;
        for (const candidate of steps[0].candidates) {
          const wanted = exact.get(candidate.id);
          assert.ok(wanted !== undefined, `${which}: token ${candidate.id} is among the exact model's top 20`);
          kl += (Math.exp(wanted) * (wanted - candidate.base) ** 2) / 2;
        }
        assert.ok(kl <= 1e-4, `${which}: KL at the prompt's end is ${kl}`);
        for (const [at, step] of steps.entries()) {
          if (step.id === greedy[at]) continue;
          assert.ok(margins[at] < nearTie, `${which}: token ${at} is ${step.id}, expected ${greedy[at]}`);
          break;
        }
        test.diagnostic(`${which}: KL ${kl.toExponential(1)}, ${steps.length} tokens, ${perSecond.toFixed(2)} tok/s`);
      }
      const grown = (found.wasm - found.before) / 2 ** 20;
      test.diagnostic(`${model}: wasm heap ${(found.wasm / 2 ** 20).toFixed(0)} MiB, ${grown.toFixed(0)} by loading`);
    });
  }

  // One browser: the same kernels run in the other's grid, and an emulated GPU is slow.
  it('an adapter guides as the exact mix does', { skip: name !== 'chromium' }, async (test) => {
    const golden = JSON.parse(readFileSync(join(root, 'tests/golden/smollm2-135m-q4_1.json'), 'utf8'));
    const { ids, adapters, mixes } = golden.cases.find((/** @type {any} */ one) => one.name === 'raw_5');
    const { weights, sum, greedy } = mixes.sum_upbeat2;
    const page = await browser.open(`${server.address}package.html`);
    const { info, steps } = await page.evaluate(
      async ({ ids, weight }) => {
        const { pilotfish, readAll } = /** @type {any} */ (globalThis);
        const pf = await pilotfish.Pilotfish.open({ backend: 'gpu', precision: 'exact' });
        const model = await pf.load('/models/smollm2-135m-instruct-q4_1.gguf', { cache: false });
        const upbeat = await model.loadAdapter('/golden/adapters/upbeat.gguf', { cache: false });
        const guides = { upbeat: { adapter: upbeat, weight } };
        const session = await model.session({ ids, guides, temperature: 0, maxTokens: 8 });
        const steps = await readAll(session);
        const { info } = session;
        pf.close();
        return { info, steps };
      },
      { ids, weight: weights.upbeat },
    );
    await page.close();
    assert.deepEqual(
      info.rows.map((/** @type {any} */ row) => row.adapters),
      [0, 1],
    );
    const { top, logsumexp } = adapters.upbeat;
    const exact = new Map(top.map((/** @type {[number, number]} */ [id, logit]) => [id, logit - logsumexp]));
    const mixed = new Map(sum);
    let kl = 0;
    let off = 0;
    for (const { id, mix, guides } of steps[0].candidates) {
      const wanted = exact.get(id);
      if (wanted !== undefined) kl += (Math.exp(wanted) * (wanted - guides.upbeat) ** 2) / 2;
      off = Math.max(off, Math.abs(Math.exp(mix) - (mixed.get(id) ?? 0)));
    }
    assert.ok(kl <= 1e-4, `KL of the guide's row is ${kl}`);
    assert.ok(off <= 1e-3, `a probability of the mix is off by ${off}`);
    for (const [at, step] of steps.entries()) {
      if (step.id === greedy.ids[at]) continue;
      assert.ok(greedy.gap[at] < nearTie, `token ${at} is ${step.id}, expected ${greedy.ids[at]}`);
      break;
    }
    test.diagnostic(`guide's KL ${kl.toExponential(1)}, mix off by ${off.toExponential(1)} at most`);
  });
});
