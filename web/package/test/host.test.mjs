// The page's classes against the worker's host, with an engine made of a few lines: the protocol between the two.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { bytes, code, FakeEngine, opened, toPlain, two } from './fake-engine.mjs';

describe('Pilotfish', () => {
  it('opens, loads, converts names and closes', async () => {
    const fake = new FakeEngine();
    const { pf } = await opened(fake);
    assert.equal(pf.info.limits.maxBuffer, 5);
    assert.deepEqual(pf.info.features, ['subgroups']);
    assert.equal(pf.info.adapter.architecture, 'a');
    const seen = /** @type {unknown[]} */ ([]);
    const model = await pf.load(bytes(8), { onProgress: (/** @type {unknown} */ progress) => seen.push(progress) });
    assert.equal(model.info.nVocab, 8);
    assert.deepEqual(model.info.tensorTypes, { q4_1: 2 });
    assert.deepEqual(seen.at(-1), { phase: 'upload', loaded: 4, total: 8 });
    assert.deepEqual(await model.tokenize('hi'), Uint32Array.of(104, 105));
    assert.equal(await model.detokenize([104, 105]), 'hi');
    assert.deepEqual(await pf.memory(), { wasm: 131_072 });
    await model.dispose();
    await assert.rejects(model.tokenize('hi'), code('closed'));
    pf.close();
    await assert.rejects(pf.load(bytes(8)), code('closed'));
    assert.equal((await pf.closed).code, 'closed');
  });

  it('keeps the code of what the engine throws, and stays usable', async () => {
    const { pf } = await opened(new FakeEngine());
    await assert.rejects(pf.load(bytes(13)), (/** @type {any} */ error) => {
      assert.equal(error.message, 'not a GGUF file');
      return code('gguf.magic')(error);
    });
    await pf.load(bytes(8));
  });

  it('verifies the hash of a file before it is read', async () => {
    const fake = new FakeEngine();
    const { pf } = await opened(fake);
    const file = new File([bytes(8)], 'my.gguf');
    const wrong = pf.load(file, { sha256: 'ab'.repeat(32) });
    await assert.rejects(wrong, (/** @type {any} */ error) => {
      assert.match(error.message, /has the wrong content/);
      return code('source.hash_mismatch')(error);
    });
    assert.deepEqual(fake.log, []);
    await pf.load(file, { sha256: '04ABC8821A06E5A30937967D11AD10221CB5AC3B5273E434F1284EE87129A061' });
    await assert.rejects(pf.load(file, { sha256: 'short' }), code('argument.invalid'));
    await assert.rejects(pf.load(/** @type {any} */ (7)), code('argument.invalid'));
  });

  it('rejects an aborted load at once, stops the engine, and frees what was made', async () => {
    const fake = new FakeEngine();
    const { pf } = await opened(fake);
    const abort = new AbortController();
    fake.pause = async () => {
      abort.abort(new Error('changed my mind'));
      await new Promise((resolve) => setTimeout(resolve, 5));
    };
    await assert.rejects(pf.load(bytes(400), { signal: abort.signal }), /changed my mind/);
    await new Promise((resolve) => setTimeout(resolve, 50));
    const [line = ''] = fake.log;
    assert.ok(Number(line.slice(7)) < 400, `${line} of 400 bytes were read`);
    assert.equal(fake.freed, 1);
    await assert.rejects(pf.load(bytes(8), { signal: AbortSignal.abort() }), { name: 'AbortError' });
  });

  it('rejects everything that waits when the engine panics', async () => {
    const fake = new FakeEngine();
    const { pf } = await opened(fake);
    fake.pause = () => new Promise(() => fake.panic?.('index out of bounds'));
    await assert.rejects(pf.load(bytes(8)), (/** @type {any} */ error) => {
      assert.match(error.message, /index out of bounds/);
      return code('internal')(error);
    });
    await assert.rejects(pf.load(bytes(8)), code('internal'));
    assert.equal((await pf.closed).code, 'internal');
  });

  it('reports what is not an error of ours as internal', () => {
    assert.deepEqual(toPlain(new TypeError('x is not a function')), {
      code: 'internal',
      message: 'TypeError: x is not a function',
    });
    assert.equal(toPlain('text').code, 'internal');
  });
});

describe('Session', () => {
  async function started(/** @type {Record<string, unknown>} */ options = {}) {
    const fake = new FakeEngine();
    const { pf } = await opened(fake);
    const model = await pf.load(bytes(8));
    fake.log = [];
    const session = await model.session({ prompt: 'Hello', guides: two, topK: 5, maxTokens: 9, ...options });
    return { fake, pf, model, session };
  }

  it('hands the options over in the words of the engine', async () => {
    const { fake, pf, session } = await started({ seed: 3, filter: { row: 'base', plausibility: 0.1 } });
    const [line = ''] = fake.log;
    assert.deepEqual(JSON.parse(line.replace(/^session /, '').replace(/ \+0$/, '')), {
      prompt: { text: 'Hello' },
      guides: [
        { name: 'warm', weight: 1.5, context: 'Be warm.', against: null },
        { name: 'cold', weight: -1, context: 'Be cold.', against: 'Be.' },
      ],
      sampling: { top_k: 5, seed: 3 },
      filter: { row: 'base', kind: 'plausibility', alpha: 0.1 },
      max_tokens: 9,
    });
    assert.deepEqual(session.info.rows, [{ name: 'base', model: 'tiny', promptTokens: 3, adapters: 0 }]);
  });

  it('hands over schedules, rules about tokens, penalties and stop strings in the words of the engine', async () => {
    const points = [
      [0, 0],
      [20, 2],
    ];
    const { fake } = await started({
      guides: { warm: { context: 'Be warm.', weight: points } },
      tokens: { logitBias: { 7: -1 }, banned: [3] },
      forced: Uint32Array.of(4, 5),
      stop: 'User:',
      return: 'logits',
      repetitionPenalty: 1.2,
      noRepeatNgram: 3,
      typicalP: 0.9,
      ignoreEos: true,
    });
    const [line = ''] = fake.log;
    assert.deepEqual(JSON.parse(line.replace(/^session /, '').replace(/ \+0$/, '')), {
      prompt: { text: 'Hello' },
      guides: [{ name: 'warm', weight: 0, context: 'Be warm.', against: null }],
      schedules: { warm: points },
      tokens: { scores: { 7: -1 }, banned: [3] },
      forced: [4, 5],
      stop: ['User:'],
      return: 'logits',
      sampling: {
        top_k: 5,
        typical_p: 0.9,
        ignore_eos: true,
        penalties: { repetition: 1.2, no_repeat_ngram: 3 },
      },
      filter: null,
      max_tokens: 9,
    });
  });

  it('hands each guide model over once', async () => {
    const { fake, pf, model } = await started();
    const big = await pf.load(bytes(8));
    fake.log = [];
    const guides = { one: { model: big, weight: 0.5 }, two: { model: big, weight: -0.5 }, self: { model } };
    await model.session({ ids: [1, 2], guides });
    const [line = ''] = fake.log;
    assert.match(line, /\+2$/);
    assert.match(line, /"model":0.*"model":0.*"weight":1,"model":1/);
    const other = await opened(new FakeEngine());
    const foreign = await other.pf.load(bytes(8));
    await assert.rejects(
      model.session({ prompt: 'x', guides: { foreign: { model: foreign } } }),
      code('argument.invalid'),
    );
  });

  it('wants exactly one prompt', async () => {
    const { pf, model } = await started();
    await assert.rejects(model.session({}), code('argument.invalid'));
    await assert.rejects(model.session({ prompt: 'x', ids: [1] }), code('argument.invalid'));
  });

  it('pulls: the engine makes no step that nobody asked for', async () => {
    const { fake, pf, session } = await started();
    const first = await session.next();
    assert.deepEqual(first.logProbs.guides, { warm: -3, cold: -4 });
    assert.equal(first.logProbs.mix, Number.NEGATIVE_INFINITY);
    assert.equal(first.logProbs.sampled, -2.5);
    assert.deepEqual([...first.logits], [1, Number.NEGATIVE_INFINITY]);
    assert.deepEqual(first.weights, { warm: 1.5, cold: -1 });
    assert.deepEqual(first.candidates[0].guides, { warm: -3, cold: -4 });
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.equal(fake.steps, 1);
  });

  it('has NaN for what is not reported', async () => {
    const { fake, session } = await started({ return: 'mix' });
    assert.match(fake.log[0] ?? '', /"return":"mix"/);
    const { logProbs, entropy, kl, weights, candidates } = await session.next();
    const nothing = { base: Number.NaN, guides: { warm: Number.NaN, cold: Number.NaN } };
    assert.deepEqual(logProbs, { ...nothing, mix: Number.NEGATIVE_INFINITY, sampled: -2.5 });
    assert.deepEqual([entropy, kl, weights.warm], [Number.NaN, Number.NaN, 1.5]);
    assert.deepEqual(candidates, [{ id: 1, text: 'x', ...nothing, mix: -2, sampled: -2.5 }]);
  });

  it('answers overlapping pulls in order', async () => {
    const { fake, pf, session } = await started();
    fake.pause = () => new Promise((resolve) => setTimeout(resolve, 1));
    const steps = await Promise.all([session.next(), session.next(), session.next()]);
    assert.deepEqual(
      steps.map((step) => step.index),
      [0, 1, 2],
    );
  });

  it('reads ahead while the page has a step, unless something else was asked or the text has ended', async () => {
    const { fake, session } = await started();
    const idle = () => new Promise((resolve) => setTimeout(resolve, 20));
    fake.pause = () => new Promise((resolve) => setTimeout(resolve, 5));
    await Promise.all([session.next(), session.next(), session.next()]);
    await idle();
    assert.equal(fake.aheads, 1, 'after the last of several');
    fake.ends = 4;
    await session.next();
    await idle();
    assert.equal(fake.aheads, 2);
    assert.equal(await session.next(), undefined);
    await idle();
    assert.equal(fake.aheads, 2, 'nothing comes after the end');
    await session.resume({ maxTokens: 9 });
    await session.next();
    session.stop();
    await idle();
    assert.equal(fake.aheads, 2, 'nor after a stop');
  });

  it('ends its iteration with the text, and stops when the loop is left', async () => {
    const { fake, pf, session } = await started();
    let text = '';
    for await (const step of session) {
      text += step.text;
      if (step.index === 4) break;
    }
    assert.equal(text, '0 1 2 3 4 ');
    assert.equal(await session.next(), undefined);
    await session.dispose();
    assert.ok(fake.log.includes('stop'));
  });

  it('answers a stop at once, and frees the session after its running step', async () => {
    const { fake, pf, session } = await started();
    await session.next();
    let finish = () => {};
    fake.pause = () => new Promise((resolve) => (finish = () => resolve(undefined)));
    const waiting = session.next();
    await new Promise((resolve) => setTimeout(resolve, 5));
    assert.equal(fake.running, 1);
    session.stop();
    assert.equal(await waiting, undefined);
    assert.equal(await session.next(), undefined);
    assert.equal(fake.running, 1, 'the step goes on');
    const freed = session.dispose();
    finish();
    await freed;
    assert.deepEqual(fake.log.slice(-2), ['stop', 'session freed']);
  });

  it('passes weights and sampling on, and refuses nonsense', async () => {
    const { fake, pf, session } = await started();
    session.setWeight('cold', 2);
    session.setSampling({ temperature: 0.7, minP: 0.1 });
    await session.next();
    assert.deepEqual(fake.log.slice(1), ['weight 1 2', 'sampling {"top_k":5,"temperature":0.7,"min_p":0.1}']);
    assert.throws(() => session.setWeight('hot', 1), code('argument.invalid'));
    assert.throws(() => session.setWeight('warm', Number.NaN), code('argument.invalid'));
    const before = fake.log.length;
    session.setWeight('warm', [[5, 1]]);
    session.setTokens({ banned: [2] });
    session.force([8, 9]);
    session.setSampling({ repetitionPenalty: 1.1 });
    assert.equal(await session.rest(), 'held');
    assert.deepEqual(fake.log.slice(before), [
      'schedule 0 [[5,1]]',
      'tokens {"banned":[2]}',
      'force 8 9',
      'sampling {"top_k":5,"temperature":0.7,"min_p":0.1,"penalties":{"repetition":1.1}}',
    ]);
    session.setSampling({ temperature: -1 });
    await session.next();
    await assert.rejects(session.next(), code('sampling.temperature'));
    assert.equal((await session.next()).index, 2);
  });

  it('stops at an abort and throws its reason', async () => {
    const abort = new AbortController();
    const { fake, pf, session } = await started({ signal: abort.signal });
    fake.pause = () => new Promise((resolve) => setTimeout(resolve, 5));
    const all = (async () => {
      for await (const step of session) if (step.index === 2) abort.abort();
    })();
    await assert.rejects(all, { name: 'AbortError' });
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.ok(fake.log.includes('stop'));
    await session.dispose();
  });

  it('is freed only after its running step', async () => {
    const { fake, pf, session } = await started();
    fake.pause = () => new Promise((resolve) => setTimeout(resolve, 20));
    const running = session.next();
    await session.dispose();
    assert.equal((await running).index, 0);
    assert.equal(fake.log.at(-1), 'session freed');
    await assert.rejects(session.next(), code('closed'));
    await session.dispose();
  });
});

describe('Adapter', () => {
  async function loaded() {
    const fake = new FakeEngine();
    const { pf } = await opened(fake);
    const model = await pf.load(bytes(8));
    const upbeat = await model.loadAdapter(bytes(5));
    const plain = await model.loadAdapter(bytes(6));
    fake.log = [];
    return { fake, pf, model, upbeat, plain };
  }

  /** What the engine was told when it made the session. @param {FakeEngine} fake */
  const told = (fake) => {
    const line = fake.log.find((entry) => entry.startsWith('session {')) ?? '';
    return JSON.parse(line.replace(/^session /, '').replace(/ \+\d$/, ''));
  };

  it('is read from a GGUF file, and tells what it is in the words of the package', async () => {
    const { fake, model, upbeat } = await loaded();
    assert.deepEqual(upbeat.info, {
      name: 'upbeat',
      base: 'someone/tiny',
      baseMatches: true,
      modules: ['q', 'k', 'v'],
      layers: 1,
      rank: 8,
      parameters: 24,
      preferences: 0,
    });
    await model.session({ prompt: 'x', guides: { upbeat: { adapter: upbeat } } });
    assert.deepEqual(fake.adaptersGiven, ['gguf 5']);
  });

  it('is read from the two files of PEFT', async () => {
    const { fake, model } = await loaded();
    const adapter = await model.loadAdapter({ config: new Blob(['{"r":8}']), weights: bytes(3) });
    await model.session({ prompt: 'x', guides: { a: { adapter } } });
    assert.deepEqual(fake.adaptersGiven, ['peft {"r":8} 3']);
  });

  it('is checked against its hash, tells its progress, and can be aborted', async () => {
    const { model } = await loaded();
    const file = new File([bytes(8)], 'my.gguf');
    await assert.rejects(model.loadAdapter(file, { sha256: 'ab'.repeat(32) }), code('source.hash_mismatch'));
    const seen = /** @type {string[]} */ ([]);
    await model.loadAdapter(file, {
      sha256: '04abc8821a06e5a30937967d11ad10221cb5ac3b5273e434f1284ee87129a061',
      onProgress: (/** @type {{ phase: string }} */ { phase }) => seen.push(phase),
    });
    assert.ok(seen.includes('verify'));
    await assert.rejects(model.loadAdapter(file, { signal: AbortSignal.abort() }), { name: 'AbortError' });
    await assert.rejects(model.loadAdapter(/** @type {any} */ (7)), code('argument.invalid'));
  });

  it('that does not fit keeps the code of the engine', async () => {
    const { model } = await loaded();
    await assert.rejects(model.loadAdapter(bytes(13)), code('adapter.layer'));
  });

  it('guides alone, or in a soup, and each is handed over once', async () => {
    const { fake, model, upbeat, plain } = await loaded();
    const guides = {
      one: { adapter: upbeat, weight: 1.5 },
      soup: {
        adapter: [
          { adapter: plain, share: 0.3 },
          { adapter: upbeat, share: 0.7, preference: [1, 0] },
        ],
      },
    };
    await model.session({ prompt: 'x', guides });
    assert.deepEqual(fake.adaptersGiven, ['gguf 5', 'gguf 6']);
    assert.deepEqual(told(fake).guides, [
      { name: 'one', weight: 1.5, adapters: [{ adapter: 0, share: 1, preference: [] }] },
      {
        name: 'soup',
        weight: 1,
        adapters: [
          { adapter: 1, share: 0.3, preference: [] },
          { adapter: 0, share: 0.7, preference: [1, 0] },
        ],
      },
    ]);
  });

  it('of another model guides on that model', async () => {
    const { fake, pf, model } = await loaded();
    const other = await pf.load(bytes(8));
    const adapter = await other.loadAdapter(bytes(7));
    fake.log = [];
    await model.session({ prompt: 'x', guides: { a: { adapter } } });
    assert.equal(told(fake).guides[0].model, 0);
    assert.match(fake.log[0] ?? '', /\+1$/);
    assert.deepEqual(fake.adaptersGiven, ['gguf 7']);
    await assert.rejects(model.session({ prompt: 'x', adapter }), code('argument.invalid'));
  });

  it('tunes the base itself', async () => {
    const { fake, model, upbeat } = await loaded();
    const session = await model.session({ prompt: 'x', adapter: { adapter: upbeat, share: 0.5 } });
    assert.deepEqual(told(fake).adapters, [{ adapter: 0, share: 0.5, preference: [] }]);
    session.setShare(null, 0, -1);
    await session.next();
    assert.equal(fake.log.at(-1), 'share base 0 -1');
  });

  it('has shares and preferences that are live, in the order in which they are moved', async () => {
    const { fake, model, upbeat, plain } = await loaded();
    const soup = [{ adapter: upbeat }, { adapter: plain, share: 0 }];
    const session = await model.session({ prompt: 'x', guides: { a: { adapter: plain }, soup: { adapter: soup } } });
    session.setShare('soup', 1, 0.25);
    session.setPreference('a', 0, [0.5, 0.25]);
    session.setWeight('soup', 2);
    await session.next();
    assert.deepEqual(fake.log.slice(1), ['share 1 1 0.25', 'preference 0 0 0.5 0.25', 'weight 1 2']);
    assert.throws(() => session.setShare('nobody', 0, 1), code('argument.invalid'));
    assert.throws(() => session.setShare('soup', 0, Number.NaN), code('argument.invalid'));
    assert.throws(() => session.setPreference('a', 0, [1, Number.POSITIVE_INFINITY]), code('argument.invalid'));
    session.setPreference('a', 0, [1, 2, 3]);
    await session.next();
    await assert.rejects(session.next(), code('adapter.preference'));
  });

  it('is refused in company it was not loaded for', async () => {
    const { pf, model, upbeat, plain } = await loaded();
    const refused = (/** @type {unknown} */ adapter) =>
      assert.rejects(model.session({ prompt: 'x', guides: { a: { adapter } } }), code('argument.invalid'));
    const other = await pf.load(bytes(8));
    await refused([{ adapter: upbeat }, { adapter: await other.loadAdapter(bytes(5)) }]);
    await refused([]);
    await refused({ adapter: upbeat, share: Number.NaN });
    await refused({ adapter: upbeat, preference: [Number.NaN] });
    const foreign = await (await (await opened(new FakeEngine())).pf.load(bytes(8))).loadAdapter(bytes(5));
    await assert.rejects(model.session({ prompt: 'x', guides: { a: { adapter: foreign } } }), code('argument.invalid'));
    await plain.dispose();
    await assert.rejects(model.session({ prompt: 'x', guides: { a: { adapter: plain } } }), code('closed'));
    await model.dispose();
    await assert.rejects(model.loadAdapter(bytes(5)), code('closed'));
  });

  it('is freed once', async () => {
    const { fake, plain } = await loaded();
    await plain.dispose();
    await plain.dispose();
    assert.deepEqual(fake.log, ['adapter freed: gguf 6']);
  });
});
