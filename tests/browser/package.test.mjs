// The npm package in Chromium and Firefox: downloads that are cut, tiny models of every family and format, guides, errors.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { after, before, it } from 'node:test';
import { root } from '../../scripts/lib/paths.mjs';
import { handler } from '../../scripts/lib/serve.mjs';
import { browsers, lookForGpus, onEachProcessor, testMounts } from './browsers.mjs';

const tiny = join(root, 'tests/fixtures/tiny');
const models = readdirSync(tiny)
  .filter((name) => name.endsWith('.gguf'))
  .map((name) => name.slice(0, -'.gguf'.length));
/** A file large enough to be cut in the middle. */
const large = Buffer.concat([readFileSync(join(tiny, 'tiny-llama-q4_1.gguf')), randomBytes(3_000_000)]);

/** @param {number[]} logits */
function logSoftmax(logits) {
  const most = Math.max(...logits);
  const sum = logits.reduce((total, logit) => total + Math.exp(logit - most), 0);
  return logits.map((logit) => logit - most - Math.log(sum));
}

await lookForGpus();

onEachProcessor('the package', (name, { kind, isolated, open }) => {
  /** @type {import('node:http').Server} */
  let server;
  /** @type {import('./browsers.mjs').Browser} */
  let browser;
  /** @type {import('./browsers.mjs').Page} */
  let page;
  let address = '';
  /** What was asked of /cut/, and how many bytes each answer may have. @type {(string | undefined)[]} */
  let ranges = [];
  /** @type {number[]} */
  let cutAfter = [];

  /** How near a log-probability is: activations of 8 bits are another computation than the reference's. */
  const near = kind === 'cpu' && open.precision !== 'exact' ? 0.25 : 0.02;

  before(async () => {
    const files = handler(testMounts(), { isolated });
    server = createServer((request, response) => {
      if (request.url?.startsWith('/cut/') !== true) {
        files(request, response);
        return;
      }
      const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
      ranges.push(request.headers.range);
      const rest = large.subarray(from);
      response.writeHead(from > 0 ? 206 : 200, {
        ETag: '"one"',
        'Content-Length': rest.length,
        ...(from > 0 ? { 'Content-Range': `bytes ${from}-${large.length - 1}/${large.length}` } : {}),
      });
      const cut = cutAfter.shift();
      if (cut === undefined) response.end(rest);
      else response.write(rest.subarray(0, cut), () => setTimeout(() => response.destroy(), 100));
    });
    await new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(undefined)));
    address = `http://localhost:${/** @type {import('node:net').AddressInfo} */ (server.address()).port}/`;
    browser = await browsers[name]();
    page = await browser.open(`${address}package.html`);
    await page.evaluate(async (open) => {
      const here = /** @type {any} */ (globalThis);
      here.pf = await here.pilotfish.Pilotfish.open(open);
    }, open);
  });
  after(async () => {
    await browser?.close();
    server?.closeAllConnections();
    server?.close();
  });

  it('says what it runs on', async (test) => {
    const info = await page.evaluate(() => /** @type {any} */ (globalThis).pf.info, null);
    assert.equal(info.backend, kind);
    if (kind === 'cpu') {
      assert.equal(info.adapter, null);
      assert.equal(info.cpu.precision, open.precision ?? 'fast');
      assert.equal(info.cpu.threads, isolated ? 2 : 1);
      assert.match(info.cpu.instructions, /^(relaxed-simd(-u8)?|simd128)$/);
      test.diagnostic(`${name}: ${info.cpu.instructions}, ${info.cpu.threads} threads`);
      return;
    }
    assert.equal(info.adapter.backend, 'browserwebgpu');
    assert.equal(info.software, true);
    assert.ok(info.limits.maxBinding >= 128 * 1024 * 1024);
    test.diagnostic(`${name}: ${info.matvec}, ${info.features.join(', ')}`);
  });

  for (const model of models) {
    it(`computes ${model} as the reference does`, async () => {
      const { cases } = JSON.parse(readFileSync(join(tiny, `${model}.json`), 'utf8'));
      const found = await page.evaluate(
        async ({ model, prompts }) => {
          const here = /** @type {any} */ (globalThis);
          const loaded = await here.pf.load(`/fixtures/tiny/${model}.gguf`, { cache: false });
          const steps = [];
          for (const whole of prompts) {
            // Some fixtures have rows without a token, which is no input: the part before it still is.
            const end = whole.findIndex((/** @type {number} */ id) => id >= loaded.info.nVocab);
            const ids = end < 0 ? whole : whole.slice(0, end);
            if (ids.length === 0) {
              steps.push(null);
              continue;
            }
            const session = await loaded.session({ ids, temperature: 0, maxTokens: 1 });
            const [step] = await here.readAll(session);
            steps.push({ step, at: ids.length - 1, nVocab: loaded.info.nVocab });
            await session.dispose();
          }
          await loaded.dispose();
          return steps;
        },
        { model, prompts: cases.map((/** @type {any} */ one) => one.ids) },
      );
      assert.ok(found.some((one) => one !== null));
      for (const [index, { name: which, logits }] of cases.entries()) {
        if (found[index] === null) continue;
        const { step, at, nVocab } = /** @type {any} */ (found[index]);
        /** @type {Record<number, number>} by token id */
        const wanted = logSoftmax(logits[at].slice(0, nVocab));
        const best = Math.max(...Object.values(wanted));
        assert.ok(best - (wanted[step.id] ?? Number.NaN) < near, `${which}: ${step.id} is the likeliest`);
        for (const candidate of step.candidates) {
          const difference = Math.abs(candidate.base - (wanted[candidate.id] ?? Number.NaN));
          assert.ok(difference < near, `${which}: token ${candidate.id} is off by ${difference}`);
        }
      }
    });
  }

  it('resumes a cut download, across a reload too, and keeps the file', async () => {
    ranges = [];
    cutAfter = [1_000_000, 800_000];
    const load = (/** @type {any} */ options) =>
      page.evaluate(async ({ aborts }) => {
        const here = /** @type {any} */ (globalThis);
        const abort = new AbortController();
        const onProgress = (/** @type {any} */ progress) => {
          if (aborts && progress.loaded >= 1_800_000) abort.abort();
        };
        const loading = here.pf.load('/cut/model.gguf', { signal: abort.signal, onProgress });
        if (aborts) return here.refusal(loading);
        const model = await loading;
        const cached = await here.pf.cache.list();
        await model.dispose();
        return { info: model.info, cached };
      }, options);
    const aborted = await load({ aborts: true });
    assert.equal(aborted.name, 'AbortError');
    assert.deepEqual(ranges.slice(0, 2), [undefined, 'bytes=1000000-']);

    // A reload kills the worker in the middle of whatever it does.
    await page.reload();
    await page.evaluate(async (open) => {
      const here = /** @type {any} */ (globalThis);
      here.pf = await here.pilotfish.Pilotfish.open(open);
    }, open);
    ranges = [];
    cutAfter = [];
    const { info, cached } = await load({ aborts: false });
    assert.equal(info.architecture, 'llama');
    assert.match(ranges[0] ?? '', /^bytes=1[0-9]{6}-$/);
    assert.equal(ranges.length, 1);
    assert.deepEqual(
      cached.map((/** @type {any} */ entry) => [entry.url, entry.complete, entry.received]),
      [[`${address}cut/model.gguf`, true, large.length]],
    );

    await load({ aborts: false });
    assert.equal(ranges.length, 1, 'the second load came from the cache');
    const removed = await page.evaluate(async () => {
      const { cache } = /** @type {any} */ (globalThis).pf;
      return [await cache.remove('/cut/model.gguf'), await cache.remove('/cut/model.gguf'), await cache.usage()];
    }, null);
    assert.deepEqual(removed.slice(0, 2), [true, false]);
    assert.equal(removed[2].models, 0);
  });

  it('refuses what is wrong with a code, removes it, and stays usable', async () => {
    const found = await page.evaluate(async () => {
      const { pf, refusal } = /** @type {any} */ (globalThis);
      const good = await (await fetch('/fixtures/tiny/tiny-llama-q4_1.gguf')).arrayBuffer();
      const model = await pf.load(good);
      const refusals = {
        notGguf: await refusal(pf.load(new Blob(['<!doctype html> this is no model at all, but long enough']))),
        truncated: await refusal(pf.load(good.slice(0, good.byteLength - 1000))),
        header: await refusal(pf.load(good.slice(0, 500))),
        hash: await refusal(pf.load('/fixtures/tiny/tiny-llama-q4_1.gguf', { sha256: '00'.repeat(32) })),
        missing: await refusal(pf.load('/nothing-here.gguf')),
        tooLong: await refusal(model.session({ prompt: 'many words '.repeat(500), contextLength: 64 })),
        empty: await refusal(model.session({ ids: [] })),
        temperature: await refusal(model.session({ prompt: 'x', temperature: -1 })),
        weight: await refusal(model.session({ prompt: 'x', guides: { a: { context: 'y', weight: Number.NaN } } })),
        aborted: await refusal(model.session({ prompt: 'x', signal: AbortSignal.abort() })),
      };
      const cached = await pf.cache.list();
      const session = await model.session({ prompt: 'still here', maxTokens: 3, temperature: 0 });
      const steps = await /** @type {any} */ (globalThis).readAll(session);
      await session.dispose();
      await model.dispose();
      return { refusals, cached, steps: steps.length, memory: await pf.memory() };
    }, null);
    const codes = Object.fromEntries(
      Object.entries(found.refusals).map(([what, { name: kind, code }]) => [what, kind === 'AbortError' ? kind : code]),
    );
    assert.match(codes.notGguf, /^gguf\./);
    assert.match(codes.truncated, /^gguf\./);
    assert.match(codes.header, /^gguf\./);
    assert.equal(codes.hash, 'download.hash_mismatch');
    assert.equal(codes.missing, 'download.http');
    assert.equal(codes.tooLong, 'session.prompt_too_long');
    assert.equal(codes.empty, 'session.empty_prompt');
    assert.match(codes.temperature, /temperature/);
    assert.notEqual(codes.weight, null);
    assert.equal(codes.aborted, 'AbortError');
    assert.deepEqual(found.cached, []);
    assert.ok(found.steps >= 1);
    assert.ok(found.memory.wasm < 64 * 1024 * 1024, `${found.memory.wasm} bytes of wasm memory`);
  });

  it('steers, by weights that can be moved while it runs', async () => {
    const found = await page.evaluate(async () => {
      const { pf, readAll } = /** @type {any} */ (globalThis);
      const model = await pf.load('/fixtures/tiny/tiny-llama-q4_1.gguf', { cache: false });
      const run = async (/** @type {any} */ options, /** @type {any} */ during = () => {}) => {
        const all = { prompt: 'Once upon', temperature: 0.9, seed: 7, maxTokens: 16, inFlight: 2, ...options };
        const session = await model.session(all);
        const steps = [];
        for await (const step of session) {
          steps.push(step);
          during(session, step);
        }
        await session.dispose();
        return { ids: steps.map((step) => step.id), weights: steps.map((step) => step.weights), steps };
      };
      const guides = (/** @type {number} */ weight) => ({ loud: { context: 'You shout.', weight } });
      const plain = await run({});
      const again = await run({});
      const zero = await run({ guides: guides(0) });
      const full = await run({ guides: guides(3) });
      const moved = await run({ guides: guides(0) }, (/** @type {any} */ session, /** @type {any} */ step) => {
        if (step.index === 5) session.setWeight('loud', 3);
      });
      const stopped = await run({ maxTokens: 500 }, (/** @type {any} */ session, /** @type {any} */ step) => {
        if (step.index === 4) session.stop();
      });
      await model.dispose();
      return { plain, again, zero, full, moved, stopped };
    }, null);
    const { plain, again, zero, full, moved, stopped } = found;
    assert.deepEqual(again.ids, plain.ids, 'a seed replays');
    assert.deepEqual(zero.ids, plain.ids, 'a weight of 0 changes nothing');
    assert.notDeepEqual(full.ids, plain.ids, 'a guide changes the text');
    assert.ok(
      full.steps.every((/** @type {any} */ step) => step.kl >= 0 && Number.isFinite(step.logProbs.guides.loud)),
    );
    // This model's guides move single steps by less than f32 tells.
    assert.ok(full.steps.some((/** @type {any} */ step) => step.kl > 0));
    assert.deepEqual(moved.ids.slice(0, 6), plain.ids.slice(0, 6));
    const acted = moved.weights.findIndex((/** @type {any} */ weights) => weights.loud === 3);
    assert.ok(acted > 5 && acted <= 5 + 3, `the weight acted at step ${acted}, moved after step 5 with 2 in flight`);
    assert.equal(stopped.steps.length, 5, 'nothing comes after a stop');
  });

  it('follows schedules and rules about tokens, stops at texts, and gives logits when asked', async () => {
    const found = await page.evaluate(async () => {
      const { pf, readAll, refusal } = /** @type {any} */ (globalThis);
      const model = await pf.load('/fixtures/tiny/tiny-llama-q4_1.gguf', { cache: false });
      const forced = await model.tokenize(' and then the wind came');
      const run = async (/** @type {any} */ options) => {
        const session = await model.session({ prompt: 'Once upon', seed: 7, maxTokens: 8, ...options });
        const steps = await readAll(session);
        await session.dispose();
        return steps;
      };
      const weight = [
        [0, 0],
        [4, 2],
      ];
      const rules = {
        guides: { loud: { context: 'You shout.', weight } },
        tokens: { allowed: [40, 41, 42], banned: [41] },
        repetitionPenalty: 1.2,
        typicalP: 0.9,
        ignoreEos: true,
        return: 'logits',
      };
      const ruled = await run(rules);
      const stopped = await run({ forced, stop: 'd then t', maxTokens: forced.length });
      const refused = await refusal(model.session({ prompt: 'x', stop: '' }));
      const outside = await refusal(model.session({ prompt: 'x', tokens: { banned: [99_999] } }));
      await model.dispose();
      return {
        ids: ruled.map((/** @type {any} */ step) => step.id),
        weights: ruled.map((/** @type {any} */ step) => step.weights.loud),
        possible: ruled.map((/** @type {any} */ step) => step.logits.filter(Number.isFinite).length),
        text: stopped.map((/** @type {any} */ step) => step.text).join(''),
        last: stopped.at(-1),
        refused: [refused.code, outside.code],
      };
    }, null);
    assert.ok(found.ids.length === 8 && found.ids.every((/** @type {number} */ id) => id === 40 || id === 42));
    assert.deepEqual(found.weights, [0, 0.5, 1, 1.5, 2, 2, 2, 2]);
    assert.deepEqual(new Set(found.possible), new Set([2]));
    assert.equal(found.text.trim(), 'an');
    assert.deepEqual([found.last.stop, found.last.stopString], ['stop_string', 'd then t']);
    assert.deepEqual(found.refused, ['session.stop_string', 'mix.token']);
  });

  it('reports the mix alone when asked, of the same tokens', async () => {
    const found = await page.evaluate(async () => {
      const { pf, readAll } = /** @type {any} */ (globalThis);
      const model = await pf.load('/fixtures/tiny/tiny-llama-q4_1.gguf', { cache: false });
      const run = async (/** @type {any} */ options) => {
        const guides = { loud: { context: 'You shout.', weight: 2 }, self: { model, weight: -0.5 } };
        const all = { prompt: 'Once upon', guides, temperature: 1, seed: 7, maxTokens: 8, ...options };
        const session = await model.session(all);
        const steps = await readAll(session);
        await session.dispose();
        return steps;
      };
      const [full, brief] = [await run({}), await run({ return: 'mix' })];
      const made = (/** @type {any[]} */ steps) => ({
        texts: steps.map(({ text, id }) => `${id} ${text}`),
        mixes: steps.map(({ logProbs }) => /** @type {number} */ (logProbs.mix)),
      });
      const rows = brief.flatMap((/** @type {any} */ { kl, entropy, logProbs, candidates }) =>
        [logProbs, ...candidates].flatMap(({ base, guides }) => [kl, entropy, base, guides.loud, guides.self]),
      );
      await model.dispose();
      return {
        full: made(full),
        brief: made(brief),
        candidates: brief[0].candidates.length,
        nothing: rows.every(Number.isNaN),
      };
    }, null);
    const { full, brief, candidates, nothing } = found;
    assert.ok(candidates > 0 && nothing && brief.texts.length === 8);
    // In 8 bits a sum of rows is rounded otherwise than the rows, and may be another token.
    if (open.precision !== 'exact') return;
    assert.deepEqual(brief.texts, full.texts);
    const off = full.mixes.map((mix, at) => Math.abs(mix - (brief.mixes[at] ?? Number.NaN)));
    assert.ok(Math.max(...off) < 1e-3, `${off}`);
  });

  it('takes a second model as a guide, and refuses one with another vocabulary', async () => {
    const found = await page.evaluate(async () => {
      const { pf, readAll, refusal } = /** @type {any} */ (globalThis);
      const load = (/** @type {string} */ name) => pf.load(`/fixtures/tiny/${name}.gguf`, { cache: false });
      const [base, same, other] = [
        await load('tiny-llama-q4_1'),
        await load('tiny-llama-f32'),
        await load('tiny-gemma3-q8_0'),
      ];
      const guides = { other: { model: same, weight: -0.5 } };
      const session = await base.session({ prompt: 'Once upon', guides, maxTokens: 4, temperature: 0 });
      const info = session.info;
      const steps = await readAll(session);
      await session.dispose();
      const refused = await refusal(base.session({ prompt: 'x', guides: { other: { model: other } } }));
      return { info, steps, refused };
    }, null);
    assert.equal(found.info.rows.length, 2);
    const [first] = found.steps;
    assert.ok(Number.isFinite(first.logProbs.guides.other));
    assert.equal(found.refused.code, 'session.vocabulary');
  });
});
