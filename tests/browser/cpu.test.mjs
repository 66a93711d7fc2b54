// The CPU backend in a page: how near it computes, how long it takes to hear, what it keeps, and that it comes by itself.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, it } from 'node:test';
import { root } from '../../scripts/lib/paths.mjs';
import { serve } from '../../scripts/lib/serve.mjs';
import { browsers, inEachBrowser, serveTests, testMounts } from './browsers.mjs';

const smollm2 = 'smollm2-135m-instruct-q4_1';
const golden = JSON.parse(readFileSync(join(root, 'tests/golden/smollm2-135m-q4_1.json'), 'utf8'));
/** Where the best two logits are closer than this, either may win. */
const nearTie = 0.02;

inEachBrowser('the CPU backend', (name) => {
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
  const open = () => browser.open(`${server.address}package.html`);

  it('computes and continues SmolLM2 as the exact model does', async (test) => {
    // The longer texts take minutes in f32 on a busy machine; the native tests run them.
    const chosen = golden.cases.filter((/** @type {any} */ one) => one.ids.length <= 64);
    const cases = chosen.map((/** @type {any} */ one) => ({ ids: one.ids, tokens: 12 }));
    const page = await open();
    const found = await page.evaluate(
      async ({ url, cases }) => {
        const { pilotfish, readAll } = /** @type {any} */ (globalThis);
        const pf = await pilotfish.Pilotfish.open({ backend: 'cpu', precision: 'exact' });
        const model = await pf.load(url, { cache: false });
        const all = [];
        for (const { ids, tokens } of cases) {
          const session = await model.session({ ids, temperature: 0, maxTokens: tokens, ignoreEos: true });
          all.push(await readAll(session));
          await session.dispose();
        }
        const { info } = pf;
        pf.close();
        return { all, info };
      },
      { url: `/models/${smollm2}.gguf`, cases },
    );
    await page.close();
    assert.equal(found.info.cpu.precision, 'exact');
    let worst = 0;
    for (const [index, { name: which, top, logsumexp, greedy, margins }] of chosen.entries()) {
      const steps = /** @type {any[]} */ (found.all[index]);
      // KL to second order, sum of p d^2 / 2, over the candidates: the tail holds too little to matter.
      const exact = new Map(top.map((/** @type {[number, number]} */ [id, logit]) => [id, logit - logsumexp]));
      let kl = 0;
      for (const candidate of steps[0].candidates) {
        const wanted = exact.get(candidate.id);
        if (wanted !== undefined) kl += (Math.exp(wanted) * (wanted - candidate.base) ** 2) / 2;
      }
      assert.ok(kl <= 1e-4, `${which}: KL at the prompt's end is ${kl}`);
      worst = Math.max(worst, kl);
      for (const [at, step] of steps.entries()) {
        if (step.id === greedy[at]) continue;
        assert.ok(margins[at] < nearTie, `${which}: token ${at} is ${step.id}, expected ${greedy[at]}`);
        break;
      }
    }
    test.diagnostic(`${name}, ${found.info.cpu.instructions}: KL ${worst.toExponential(1)} at most`);
  });

  // Two minutes of the same module's arithmetic: in one browser.
  const once = { skip: name === 'firefox' && 'Chromium has run it' };
  it('is nearly as exact with activations of 8 bits', once, async (test) => {
    const texts = golden.cases
      .filter((/** @type {any} */ one) => one.name === 'chatml_multi')
      .map((/** @type {any} */ one) => one.ids);
    const page = await open();
    const { kl, same, positions } = await page.evaluate(
      async ({ url, texts }) => {
        const { pilotfish } = /** @type {any} */ (globalThis);
        /** Log-probabilities at every position of the texts. @param {string} precision */
        const all = async (precision) => {
          const pf = await pilotfish.Pilotfish.open({ backend: 'cpu', precision });
          const model = await pf.load(url, { cache: false });
          const found = [];
          for (const ids of texts) {
            const options = { maxTokens: 1, ignoreEos: true };
            const session = await model.session({
              ids: ids.slice(0, 4),
              ...options,
              contextLength: ids.length + 1,
              return: 'logits',
            });
            // A turn computes what is new of the text: a token.
            for (let length = 4; length <= ids.length; length += 1) {
              if (length > 4) await session.turn({ ids: ids.slice(0, length), ...options });
              const { logits } = await session.next();
              const most = logits.reduce((/** @type {number} */ most, /** @type {number} */ z) => Math.max(most, z));
              const sum = logits.reduce(
                (/** @type {number} */ sum, /** @type {number} */ z) => sum + Math.exp(z - most),
                0,
              );
              found.push(Float64Array.from(logits, (z) => z - most - Math.log(sum)));
            }
            await session.dispose();
          }
          pf.close();
          return found;
        };
        const exact = await all('exact');
        const fast = await all('fast');
        let kl = 0;
        let same = 0;
        for (const [at, p] of exact.entries()) {
          const q = /** @type {Float64Array} */ (fast[at]);
          for (const [id, log] of p.entries()) if (log > -100) kl += Math.exp(log) * (log - (q[id] ?? 0));
          same += Number(p.indexOf(Math.max(...p)) === q.indexOf(Math.max(...q)));
        }
        return { kl: kl / exact.length, same: same / exact.length, positions: exact.length };
      },
      { url: `/models/${smollm2}.gguf`, texts },
    );
    await page.close();
    test.diagnostic(
      `${name}: mean KL ${kl.toExponential(1)} over ${positions} positions, same top token ${(100 * same).toFixed(1)} %`,
    );
    assert.ok(positions > 100);
    assert.ok(kl <= 5e-3, `the mean KL is ${kl}`);
    assert.ok(same >= 0.97, `${same} of the top tokens are the same`);
  });

  it('stops within a token, hears while it reads a prompt, and keeps the page free', async (test) => {
    const page = await open();
    const found = await page.evaluate(
      async ({ url }) => {
        const { pilotfish, refusal } = /** @type {any} */ (globalThis);
        const pf = await pilotfish.Pilotfish.open({ backend: 'cpu' });
        const model = await pf.load(url, { cache: false });
        const long = 'The little harbour town woke before the sun. '.repeat(60);
        // An abort in the middle of a prompt frees the worker for the next call.
        const abort = new AbortController();
        let aborted = 0;
        const refused = await refusal(
          model.session({
            prompt: long,
            signal: abort.signal,
            onProgress: (/** @type {any} */ progress) => {
              if (progress.phase !== 'prefill' || aborted > 0) return;
              aborted = performance.now();
              abort.abort();
            },
          }),
        );
        await pf.memory();
        const heard = performance.now() - aborted;
        const whole = performance.now();
        const reading = await model.session({ prompt: long, maxTokens: 1 });
        const prefill = performance.now() - whole;
        await reading.dispose();

        const session = await model.session({ prompt: 'Once', temperature: 0, maxTokens: 400, ignoreEos: true });
        let last = performance.now();
        let gap = 0;
        const ticks = setInterval(() => {
          gap = Math.max(gap, performance.now() - last);
          last = performance.now();
        }, 5);
        const times = [];
        for (let at = 0; at < 30; at += 1) {
          const began = performance.now();
          await session.next();
          times.push(performance.now() - began);
        }
        clearInterval(ticks);
        const waiting = session.next();
        const stopped = performance.now();
        session.stop();
        const step = (await waiting) ?? null;
        const took = performance.now() - stopped;
        const after = (await session.next()) ?? null;
        pf.close();
        times.sort((one, other) => one - other);
        return {
          code: refused.name,
          heard,
          prefill,
          gap,
          token: times[15] ?? 0,
          slowest: times[29] ?? 0,
          step,
          took,
          after,
        };
      },
      { url: `/models/${smollm2}.gguf` },
    );
    await page.close();
    const ms = (/** @type {number} */ value) => `${value.toFixed(0)} ms`;
    test.diagnostic(
      `${name}: a token ${ms(found.token)}, a stop ${ms(found.took)}, an abort heard after ${ms(found.heard)} of a prefill of ${ms(found.prefill)}, the page waited ${ms(found.gap)} at most`,
    );
    assert.equal(found.code, 'AbortError');
    assert.ok(found.heard < found.prefill / 2, `an abort was heard after ${ms(found.heard)}`);
    assert.ok(found.took < 2 * found.slowest + 100, `a stop took ${ms(found.took)}`);
    assert.equal(found.after, null, 'nothing comes after a stop');
    assert.ok(found.gap < 500, `the page was not free for ${ms(found.gap)}`);
  });

  it('makes a thousand tokens without more memory', async (test) => {
    const page = await open();
    const found = await page.evaluate(
      async ({ url }) => {
        const { pilotfish } = /** @type {any} */ (globalThis);
        const pf = await pilotfish.Pilotfish.open({ backend: 'cpu' });
        const model = await pf.load(url, { cache: false });
        const session = await model.session({ prompt: 'Once', temperature: 0.8, maxTokens: 1000, ignoreEos: true });
        await session.next();
        const { wasm: before } = await pf.memory();
        let made = 1;
        const began = performance.now();
        while ((await session.next()) !== undefined) made += 1;
        const perSecond = (1000 * (made - 1)) / (performance.now() - began);
        const { wasm: later } = await pf.memory();
        const { info } = pf;
        pf.close();
        return { before, later, made, perSecond, info };
      },
      { url: `/models/${smollm2}.gguf` },
    );
    await page.close();
    const { threads, instructions } = found.info.cpu;
    test.diagnostic(
      `${name}, ${instructions}, ${threads} threads: ${found.perSecond.toFixed(1)} tok/s over ${found.made} tokens, ${(found.later / 2 ** 20).toFixed(0)} MiB`,
    );
    assert.equal(found.made, 1000);
    // The text's own tokens are kept, a few bytes each: a page of memory or two, and not a step's.
    assert.ok(found.later - found.before <= 2 * 65_536, `${found.later - found.before} bytes more`);
  });

  it('comes by itself where the GPU is software, and says why', async (test) => {
    const page = await open();
    const found = await page.evaluate(async () => {
      const { pilotfish, readAll } = /** @type {any} */ (globalThis);
      const pf = await pilotfish.Pilotfish.open();
      const model = await pf.load('/fixtures/tiny/tiny-llama-q4_1.gguf', { cache: false });
      const session = await model.session({ prompt: 'Once upon', maxTokens: 3, ignoreEos: true });
      const steps = await readAll(session);
      const { info } = pf;
      pf.close();
      return { info, steps: steps.length };
    }, null);
    await page.close();
    assert.equal(found.steps, 3);
    assert.equal(found.info.backend, 'cpu');
    assert.notEqual(found.info.why, '');
    test.diagnostic(`${name}: ${found.info.why}`);
  });

  it('computes with fewer threads where none can be started', async () => {
    const mounts = testMounts().map((mount) =>
      mount.at === '/package/' ? { ...mount, only: (/** @type {string} */ file) => file !== 'thread.js' } : mount,
    );
    const without = await serve({ port: 0, mounts });
    try {
      const page = await browser.open(`${without.address}package.html`);
      const found = await page.evaluate(async () => {
        const { pilotfish, readAll } = /** @type {any} */ (globalThis);
        const pf = await pilotfish.Pilotfish.open({ backend: 'cpu', threads: 3 });
        const model = await pf.load('/fixtures/tiny/tiny-llama-q4_1.gguf', { cache: false });
        const session = await model.session({ prompt: 'Once upon', maxTokens: 3, ignoreEos: true });
        const steps = await readAll(session);
        const { info } = pf;
        pf.close();
        return { threads: info.cpu.threads, steps: steps.length };
      }, null);
      await page.close();
      assert.deepEqual(found, { threads: 1, steps: 3 });
    } finally {
      await without.close();
    }
  });
});
