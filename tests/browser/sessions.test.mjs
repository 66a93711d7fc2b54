// Sessions that go on, and searches above the step, through the package in Chromium and Firefox: turns, stops and resumes, forks,
// saved text, samples, other adapters; best of N and ARGS by rewards from the page.

import assert from 'node:assert/strict';
import { after, before, it } from 'node:test';
import { browsers, lookForGpus, onEachProcessor, serveTests } from './browsers.mjs';

const ids = (/** @type {{ id: number }[]} */ steps) => steps.map(({ id }) => id);

await lookForGpus();

onEachProcessor('sessions', (name, { isolated, open }) => {
  /** @type {Awaited<ReturnType<typeof serveTests>>} */
  let server;
  /** @type {import('./browsers.mjs').Browser} */
  let browser;
  /** @type {import('./browsers.mjs').Page} */
  let page;
  before(async () => {
    server = await serveTests({ isolated });
    browser = await browsers[name]();
    page = await browser.open(`${server.address}package.html`);
    await page.evaluate(async (open) => {
      const here = /** @type {any} */ (globalThis);
      here.pf = await here.pilotfish.Pilotfish.open(open);
      here.model = await here.pf.load('/fixtures/tiny/tiny-llama-q4_1.gguf', { cache: false });
      // Drawn, with a guide of its own sentence, so that rows differ; no text of this model ends by itself.
      here.drawn = {
        prompt: 'Once upon a time',
        guides: { loud: { context: 'You shout.', weight: 2 } },
        temperature: 1,
        seed: 5,
        maxTokens: 12,
        ignoreEos: true,
      };
      here.fresh = async (/** @type {any} */ options) => {
        const session = await here.model.session(options);
        const steps = await here.readAll(session);
        await session.dispose();
        return steps;
      };
      here.read = async (/** @type {any} */ session, /** @type {number} */ most) => {
        const steps = [];
        while (steps.length < most) {
          const step = await session.next();
          if (step === undefined) break;
          steps.push(step);
        }
        return steps;
      };
    }, open);
  });
  after(async () => {
    await browser?.close();
    await server?.close();
  });

  it('a turn reuses what is cached, equals a new session, and after a refusal the text goes on', async () => {
    const found = await page.evaluate(async () => {
      const { model, readAll, read, fresh, refusal } = /** @type {any} */ (globalThis);
      // On ids the prompt of the turn is exactly what was said, and a model guide reads the same.
      const first = [40, 7, 99, 260, 3, 81];
      const options = {
        ids: first,
        guides: { same: { model, weight: 0.5 } },
        temperature: 0,
        maxTokens: 8,
        ignoreEos: true,
        contextLength: 64,
      };
      const session = await model.session(options);
      const said = (await readAll(session)).map((/** @type {any} */ step) => step.id);
      const ids = [...first, ...said, 50, 51];
      const reused = await session.turn({ ids, maxTokens: 6 });
      const turned = await readAll(session);
      const whole = await fresh({ ...options, ids, maxTokens: 6 });
      await session.turn({ ids: [40, 7, 1], maxTokens: 6 });
      const some = await read(session, 2);
      const refused = await refusal(session.turn({ ids: Array.from({ length: 80 }, () => 9) }));
      some.push(...(await readAll(session)));
      const other = await fresh({ ...options, ids: [40, 7, 1], maxTokens: 6 });
      const cost = await session.cost();
      const { info } = session;
      await session.dispose();
      return { reused, turned, whole, refused, some, other, cost, info, rows: info.rows.length };
    }, null);
    // The last token that was drawn went through no row.
    assert.equal(found.reused, found.rows * (6 + 7));
    assert.deepEqual(ids(found.turned), ids(found.whole));
    assert.equal(found.refused.code, 'session.prompt_too_long');
    assert.deepEqual(ids(found.some), ids(found.other));
    assert.equal(found.info.rows[0].promptTokens, 3);
    assert.ok(found.cost.reused >= found.reused && found.cost.steps >= 20 && found.cost.kvPeak > 0);
  });

  it('a stop loses no token, wherever it comes; forks and saved text go on from the same place', async () => {
    const found = await page.evaluate(async () => {
      const { model, drawn, read, readAll, fresh } = /** @type {any} */ (globalThis);
      const whole = await fresh(drawn);
      const session = await model.session({ ...drawn, poolLength: 400, inFlight: 3 });
      const steps = await read(session, 3);
      // The GPU is at the next one already.
      const waiting = session.next();
      session.stop();
      const stopped = [(await waiting) ?? null, (await session.next()) ?? null];
      const saved = JSON.parse(JSON.stringify(await session.save()));
      await session.resume();
      steps.push(...(await read(session, 2)));
      const fork = await session.fork();
      const before = await fork.cost();
      fork.setWeight('loud', -3);
      const forked = await readAll(fork);
      await fork.dispose();
      steps.push(...(await readAll(session)));
      await session.dispose();
      const restored = await model.restore(saved);
      const rest = await readAll(restored);
      await restored.dispose();
      return { whole, steps, stopped, forked, prefilled: before.prefilled, saved, rest };
    }, null);
    assert.deepEqual(found.stopped, [null, null]);
    assert.deepEqual(ids(found.steps), ids(found.whole));
    assert.deepEqual(found.saved.options.continued, [ids(found.whole.slice(0, 3))]);
    assert.deepEqual(ids(found.rest), ids(found.whole.slice(3)));
    assert.deepEqual(
      [found.rest[0].index, found.forked[0].index, found.forked.length, found.prefilled],
      [3, 5, 7, 0],
      'they count on, and a fork computes nothing again',
    );
  });

  it('samples are what single sessions with their seeds make', async () => {
    const found = await page.evaluate(async () => {
      const { drawn, fresh } = /** @type {any} */ (globalThis);
      const together = await fresh({ ...drawn, samples: 3, maxTokens: 6 });
      const alone = [];
      for (const seed of [5, 6, 7]) alone.push(await fresh({ ...drawn, seed, maxTokens: 6 }));
      return { together, alone };
    }, null);
    for (const [sample, alone] of found.alone.entries()) {
      const own = found.together.filter((/** @type {any} */ step) => step.sample === sample);
      assert.deepEqual(ids(own), ids(alone));
    }
  });

  it('a full context stops, or keeps the first tokens and goes on', async () => {
    const found = await page.evaluate(async () => {
      const { model, readAll, fresh } = /** @type {any} */ (globalThis);
      const options = {
        ids: [40, 7, 99, 260, 3, 81],
        temperature: 0,
        maxTokens: 30,
        ignoreEos: true,
        contextLength: 16,
      };
      const session = await model.session(options);
      const stopped = await readAll(session);
      await session.resume({ whenFull: { keep: 2 } });
      const late = await readAll(session);
      await session.dispose();
      return { stopped, late, shifted: await fresh({ ...options, whenFull: { keep: 2 } }) };
    }, null);
    assert.deepEqual([found.stopped.length, found.stopped.at(-1).stop], [11, 'context']);
    assert.deepEqual([found.shifted.length, found.shifted.at(-1).stop], [30, 'length']);
    assert.deepEqual(ids(found.shifted.slice(0, 11)), ids(found.stopped));
    assert.deepEqual([...ids(found.stopped), ...ids(found.late)], ids(found.shifted));
    const moved = found.shifted.findIndex((/** @type {any} */ step) => step.shifted > 0);
    assert.ok(moved === 11 && found.shifted[moved].shifted === 7, `dropped before step ${moved}`);
  });

  it('other adapters come to a running session, which reads its text anew for their rows alone', async () => {
    const found = await page.evaluate(async () => {
      const { model, read, readAll, fresh } = /** @type {any} */ (globalThis);
      const load = () =>
        model.loadAdapter({
          config: '/fixtures/tiny-adapters/qkv/adapter_config.json',
          weights: '/fixtures/tiny-adapters/qkv/adapter_model.safetensors',
        });
      const [one, other] = [await load(), await load()];
      const turned = { adapter: other, share: -2 };
      const options = { ids: [40, 7, 99, 260, 3, 81], temperature: 0, maxTokens: 8, ignoreEos: true };
      const guided = (/** @type {any} */ adapter) => ({ ...options, guides: { a: { adapter, weight: 1 } } });
      const session = await model.session(guided(one));
      const steps = await read(session, 4);
      const before = await session.cost();
      await session.setAdapters('a', turned);
      const { prefilled } = await session.cost();
      await one.dispose();
      steps.push(...(await readAll(session)));
      await session.dispose();
      const said = [...options.ids, ...steps.slice(0, 4).map((/** @type {any} */ step) => step.id)];
      const after = await fresh({ ...guided(turned), ids: said, maxTokens: 4 });
      await other.dispose();
      return { steps, after, computed: prefilled - before.prefilled };
    }, null);
    assert.deepEqual(ids(found.steps.slice(4)), ids(found.after));
    const [step, expected] = [found.steps[4], found.after[0]];
    assert.ok(Math.abs(step.logProbs.guides.a - expected.logProbs.guides.a) < 2e-3);
    assert.equal(found.computed, 9, 'of ten tokens, the last is the next input');
  });

  it('best of N gives the text with the highest reward, by a guide and by a function of the page', async () => {
    const found = await page.evaluate(async () => {
      const { model, drawn, readAll } = /** @type {any} */ (globalThis);
      const run = async (/** @type {any} */ reward) => {
        const method = { name: 'best-of-n', candidates: 4, reward };
        const session = await model.session({ ...drawn, maxTokens: 6, method });
        const steps = await readAll(session);
        const cost = await session.cost();
        const { samples } = session.info;
        await session.dispose();
        return { steps, cost, samples };
      };
      /** @type {{ texts: string[], scores: number[] }[]} */
      const asked = [];
      const letters = async (/** @type {string[]} */ texts) => {
        await new Promise((resolve) => setTimeout(resolve, 5));
        const scores = texts.map((text) => (text.match(/[a-m]/g) ?? []).length - text.length / 7);
        asked.push({ texts, scores });
        return scores;
      };
      const alone = [];
      for (const seed of [5, 6, 7, 8]) {
        const session = await model.session({ ...drawn, seed, maxTokens: 6 });
        alone.push(await readAll(session));
        await session.dispose();
      }
      return { guide: await run('loud'), page: await run(letters), asked, alone };
    }, null);
    const sums = found.alone.map((/** @type {any[]} */ steps) =>
      steps.reduce((sum, { logProbs }) => sum + logProbs.guides.loud - logProbs.base, 0),
    );
    const best = sums.indexOf(Math.max(...sums));
    assert.deepEqual(ids(found.guide.steps), ids(found.alone[best]));
    assert.ok(Math.abs(found.guide.steps[0].reward - (sums[best] ?? 0)) < 0.02, 'the reward is the sum');
    assert.equal(found.guide.samples, 4);
    const [{ texts, scores }] = /** @type {any} */ (found.asked);
    assert.equal(texts.length, 4);
    const chosen = scores.indexOf(Math.max(...scores));
    assert.deepEqual(ids(found.page.steps), ids(found.alone[chosen]));
    assert.equal(found.page.steps[0].reward, Math.fround(scores[chosen]));
    assert.equal(found.page.cost.scored, 4);
  });

  it('ARGS follows a function of the page, survives its mistakes, and stops while it is asked', async () => {
    const found = await page.evaluate(async () => {
      const { model, refusal, read, readAll } = /** @type {any} */ (globalThis);
      /** @type {{ texts: string[], scores: number[] }[]} */
      const asked = [];
      let answer = (/** @type {string[]} */ texts) =>
        /** @type {any} */ (texts.map((text) => (text.match(/e/g) ?? []).length - text.length / 100));
      const reward = (/** @type {string[]} */ texts) => {
        const scores = answer(texts);
        if (Array.isArray(scores)) asked.push({ texts, scores });
        return scores;
      };
      const method = { name: 'args', reward, candidates: 6, weight: 1e4 };
      const options = { prompt: 'Once upon', temperature: 0, maxTokens: 6, ignoreEos: true, method };
      const session = await model.session(options);
      const steps = await read(session, 3);
      const good = answer;
      answer = () => {
        throw new RangeError('not today');
      };
      const thrown = await refusal(session.next());
      answer = () => [1, 2];
      const few = await refusal(session.next());
      answer = () => new Promise(() => {});
      const waiting = session.next();
      await new Promise((resolve) => setTimeout(resolve, 300));
      const began = performance.now();
      session.stop();
      const stopped = (await waiting) ?? null;
      const took = performance.now() - began;
      answer = good;
      await session.resume();
      steps.push(...(await readAll(session)));
      await session.dispose();
      const again = await model.session(options);
      asked.length = 0;
      const whole = await readAll(again);
      await again.dispose();
      const upTo = (/** @type {number} */ end) =>
        model.detokenize(whole.slice(0, end).map((/** @type {any} */ step) => step.id));
      const said = await Promise.all([1, 2, 3, 4, 5, 6].map(upTo));
      return { steps, whole, said, asked, thrown, few, stopped, took };
    }, null);
    assert.deepEqual(ids(found.steps), ids(found.whole), 'as if nothing had happened');
    assert.equal(found.asked.length, 6);
    for (const [at, { texts, scores }] of found.asked.entries()) {
      const best = scores.indexOf(Math.max(...scores));
      assert.equal(found.said[at], texts[best], `token ${at} is the one with the highest reward`);
      assert.equal(found.whole[at].reward, Math.fround(/** @type {number} */ (scores[best])));
    }
    assert.deepEqual([found.thrown.code, found.few.code], ['method.scorer', 'method.score']);
    assert.match(found.thrown.message, /not today/);
    assert.equal(found.stopped, null);
    assert.ok(found.took < 200, `a stop took ${found.took} ms`);
  });

  it('a reward model scores texts as the CPU reference does, and rewards a method', async () => {
    const found = await page.evaluate(async () => {
      const { pf, model, readAll, refusal } = /** @type {any} */ (globalThis);
      const classifier = await pf.load('/fixtures/tiny-reward/tiny-llama-classifier-1.gguf', { cache: false });
      const judge = await classifier.reward({ prompt: 'The sea was' });
      const texts = [' calm and', ' calm and the', ' calm and the wind was in it', ' calm and'];
      const scores = [...(await judge.score(texts))];
      const method = { name: 'args', reward: judge.score, candidates: 4, weight: 1e4 };
      const session = await model.session({
        prompt: 'The sea was',
        temperature: 0,
        maxTokens: 3,
        ignoreEos: true,
        method,
      });
      const steps = await readAll(session);
      const text = await model.detokenize(steps.map((/** @type {any} */ step) => step.id));
      const [again] = await judge.score([text]);
      await session.dispose();
      const wrong = await refusal(classifier.reward({ ids: [1, 2] }));
      const base = await refusal(model.reward({ prompt: 'The' }));
      const asBase = await refusal(classifier.session({ prompt: 'The' }));
      await judge.dispose();
      await classifier.dispose();
      return { scores, last: steps.at(-1).reward, again, codes: [wrong.code, base.code, asBase.code] };
    }, null);
    // These rewards span 16; 8-bit activations move one by up to 0.3 in so narrow a model.
    const bound = open.precision === 'exact' ? 0.02 : 0.4;
    for (const [at, expected] of [9.921835, -5.836414, 1.2490447, 9.921835].entries()) {
      assert.ok(Math.abs(found.scores[at] - expected) < bound, `${found.scores[at]}, expected ${expected}`);
    }
    assert.ok(Math.abs(found.last - found.again) < bound, `${found.last} and ${found.again}`);
    assert.deepEqual(found.codes, ['reward.needs_text', 'reward.class', 'session.classifier']);
  });
});
