// Sessions that go on, between page and worker: turns, stops and resumes, forks, saved text, samples, other adapters.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { bytes, code, FakeEngine, opened, two } from './fake-engine.mjs';

async function started(/** @type {Record<string, unknown>} */ options = {}, fake = new FakeEngine()) {
  const { pf } = await opened(fake);
  const model = await pf.load(bytes(8));
  fake.log = [];
  const session = await model.session({ prompt: 'Hello', guides: two, maxTokens: 9, ...options });
  return { fake, pf, model, session };
}

/** Steps until there is none, or so many. */
async function read(/** @type {any} */ session, most = 1000) {
  const steps = [];
  while (steps.length < most) {
    const step = await session.next();
    if (step === undefined) break;
    steps.push(step);
  }
  return steps;
}
const indexes = (/** @type {{ index: number }[]} */ steps) => steps.map(({ index }) => index);

/** What the engine was last told under this word. @param {string[]} log @param {string} word */
const told = (log, word) =>
  JSON.parse(
    log
      .findLast((line) => line.startsWith(`${word} {`))
      ?.slice(word.length)
      .replace(/ \+\d$/, '') ?? '',
  );

describe('options of a session', () => {
  it('say samples, what to do when the context is full, and the room for forks', async () => {
    const { fake } = await started({ samples: 3, whenFull: 'shift', poolLength: 500, guides: {} });
    const session = told(fake.log, 'session');
    assert.deepEqual([session.samples, session.when_full, session.pool_length], [3, { shift: {} }, 500]);
    for (const [whenFull, expected] of [
      ['stop', 'stop'],
      [{ keep: 4 }, { shift: { keep: 4 } }],
    ]) {
      const { fake } = await started({ whenFull });
      assert.deepEqual(told(fake.log, 'session').when_full, expected);
    }
  });

  it('come back in steps: which sample, what was dropped', async () => {
    const fake = new FakeEngine();
    fake.samples = 3;
    const { session } = await started({ samples: 3 }, fake);
    assert.equal(session.info.samples, 3);
    const steps = await read(session, 7);
    assert.deepEqual(
      steps.map(({ sample, index }) => [sample, index]),
      [
        [0, 0],
        [1, 0],
        [2, 0],
        [0, 1],
        [1, 1],
        [2, 1],
        [0, 2],
      ],
    );
    assert.deepEqual(
      steps.map(({ shifted }) => shifted),
      [0, 0, 0, 0, 0, 7, 0],
    );
    assert.ok(steps.every((step) => !('reward' in step)));
  });
});

describe('a turn', () => {
  it('takes a new prompt, keeps what is not said, and tells what was reused', async () => {
    const { fake, session } = await started({ stop: 'User:' });
    await read(session, 3);
    const seen = /** @type {unknown[]} */ ([]);
    const reused = await session.turn({
      messages: [{ role: 'user', content: 'Hi' }],
      guides: { cold: { context: 'Be icy.' } },
      onProgress: (/** @type {unknown} */ progress) => seen.push(progress),
    });
    assert.equal(reused, 12);
    assert.deepEqual(seen, [{ phase: 'prefill', loaded: 2, total: 4 }]);
    assert.deepEqual(told(fake.log, 'turn'), {
      prompt: { chat: [{ role: 'user', content: 'Hi' }] },
      guides: [
        { name: 'warm', weight: 1.5, context: 'Be warm.', against: null },
        { name: 'cold', weight: -1, context: 'Be icy.', against: null },
      ],
      forced: [],
      stop: ['User:'],
      max_tokens: 9,
    });
    assert.equal(session.info.rows[0].promptTokens, 5, 'the rows have other prompts now');
    assert.deepEqual(indexes(await read(session, 2)), [0, 1]);
    await session.turn({ prompt: 'More', maxTokens: 4, stop: [], forced: Uint32Array.of(7) });
    const { prompt, guides, forced, stop, max_tokens: most } = told(fake.log, 'turn');
    assert.deepEqual([prompt, forced, stop, most], [{ text: 'More' }, [7], [], 4]);
    assert.equal(guides[1].context, 'Be icy.', 'what an earlier turn said stays');
  });

  it('can follow a stop, and a stop can end it', async () => {
    const { session } = await started();
    await read(session, 3);
    session.stop();
    assert.equal(await session.next(), undefined);
    await session.turn({ prompt: 'Next' });
    assert.deepEqual(indexes(await read(session, 2)), [0, 1]);
    session.stop();
    assert.equal(await session.next(), undefined);
  });

  it('that is refused leaves the session where it was', async () => {
    const { session } = await started();
    await read(session, 3);
    await assert.rejects(session.turn({ prompt: 'too long' }), code('session.prompt_too_long'));
    await assert.rejects(session.turn({}), code('argument.invalid'));
    await assert.rejects(session.turn({ prompt: 'x', guides: { hot: { context: 'y' } } }), code('argument.invalid'));
    assert.deepEqual(indexes(await read(session, 2)), [3, 4]);
    session.stop();
    await assert.rejects(session.turn({ prompt: 'too long' }), code('session.prompt_too_long'));
    assert.equal(await session.next(), undefined, 'it is stopped still');
    await session.resume({ maxTokens: 7 });
    assert.deepEqual(indexes(await read(session)), [5, 6]);
  });

  it('has a signal of its own, which can abort it', async () => {
    const first = new AbortController();
    const { fake, session } = await started({ signal: first.signal });
    first.abort();
    await assert.rejects(session.next(), { name: 'AbortError' });
    const second = new AbortController();
    await session.turn({ prompt: 'Next', signal: second.signal });
    assert.equal((await session.next()).index, 0);
    second.abort();
    await assert.rejects(session.next(), { name: 'AbortError' });
    await assert.rejects(session.turn({ prompt: 'Again', signal: AbortSignal.abort() }), { name: 'AbortError' });
    await new Promise((resolve) => setTimeout(resolve, 5));
    assert.equal(fake.log.filter((line) => line === 'stop').length, 2);
  });
});

describe('a stopped session', () => {
  it('resumes with every step, those that the GPU was at among them', async () => {
    const { fake, session } = await started();
    await read(session, 2);
    fake.pause = () => new Promise((resolve) => setTimeout(resolve, 5));
    const waiting = [session.next(), session.next()];
    await new Promise((resolve) => setTimeout(resolve, 1));
    session.stop();
    assert.deepEqual(await Promise.all(waiting), [undefined, undefined]);
    await session.resume();
    assert.ok(fake.log.includes('resume 9'), 'it has the length that it had');
    assert.deepEqual(indexes(await read(session)), [2, 3, 4, 5, 6, 7, 8]);
    await session.resume({ maxTokens: 11, whenFull: { keep: 3 } });
    assert.deepEqual(fake.log.slice(-2), ['when full {"shift":{"keep":3}}', 'resume 11']);
    assert.deepEqual(indexes(await read(session)), [9, 10]);
  });

  it('resumes under an iteration, too', async () => {
    const { session } = await started();
    const seen = [];
    for await (const step of session) {
      seen.push(step.index);
      if (step.index === 2) break;
    }
    await session.resume({ maxTokens: 5 });
    for await (const step of session) seen.push(step.index);
    assert.deepEqual(seen, [0, 1, 2, 3, 4]);
  });
});

describe('a fork', () => {
  it('is a session of its own, with the steps that nobody has read', async () => {
    const { fake, session } = await started({ poolLength: 99 });
    await read(session, 2);
    fake.pause = () => new Promise((resolve) => setTimeout(resolve, 5));
    const waiting = session.next();
    await new Promise((resolve) => setTimeout(resolve, 1));
    session.stop();
    await waiting;
    const fork = await session.fork();
    assert.deepEqual(indexes([await fork.next()]), [2]);
    fork.setWeight('cold', 3);
    await fork.dispose();
    assert.ok(fake.log.includes('weight 1 3') && fake.log.at(-1) === 'fork freed');
    await assert.rejects(fork.next(), code('closed'));
    await session.resume();
    assert.deepEqual(indexes(await read(session, 1)), [2]);
  });
});

describe('a saved session', () => {
  const guides = (/** @type {any} */ saved) => ({
    ...saved,
    sampling: { temperature: 0.5, penalties: { presence: 1 } },
  });
  const saved = guides({
    guides: [
      { name: 'warm', weight: 1, context: 'Be warm.', against: null },
      {
        name: 'soup',
        weight: 2,
        adapters: [
          { adapter: 1, share: 0.25, preference: [] },
          { adapter: 0, share: 0.75, preference: [1, 0] },
        ],
        relative: true,
        model: null,
        prompt: null,
      },
      { name: 'other', weight: -1, model: 0, prompt: null },
    ],
    adapters: [],
    max_tokens: 12,
  });

  it('holds what was read, and no more', async () => {
    const { fake, session } = await started();
    fake.saved = saved;
    fake.continued = [[4, 5, 6, 7]];
    assert.deepEqual((await session.save()).options.continued, [[]]);
    await read(session, 3);
    const { version, options } = await session.save();
    assert.equal(version, 1);
    assert.deepEqual(options, { ...saved, continued: [[4, 5, 6]] });
  });

  it('goes on where its text ended, with the adapters and models that are named again', async () => {
    const { fake, pf, model, session } = await started();
    fake.saved = saved;
    fake.continued = [[4, 5, 6]];
    await read(session, 3);
    const kept = JSON.parse(JSON.stringify(await session.save()));
    const [a, b] = [await model.loadAdapter(bytes(5)), await model.loadAdapter(bytes(6))];
    const other = await pf.load(bytes(8));
    fake.log = [];
    const soup = { adapter: [{ adapter: a }, { adapter: b }] };
    const again = await model.restore(kept, { guides: { soup, other: { model: other } } });
    const engine = told(fake.log, 'session');
    assert.deepEqual(engine.guides[1].adapters, [
      { adapter: 0, share: 0.25, preference: [] },
      { adapter: 1, share: 0.75, preference: [1, 0] },
    ]);
    assert.equal(engine.guides[2].model, 0);
    assert.deepEqual(fake.adaptersGiven, ['gguf 5', 'gguf 6']);
    assert.deepEqual([engine.continued, engine.max_tokens], [[[4, 5, 6]], 12]);
    // Settings change from what was saved.
    again.setSampling({ minP: 0.1, frequencyPenalty: 2 });
    again.setShare('soup', 1, 0.5);
    await again.next();
    assert.deepEqual(fake.log.slice(1), [
      'sampling {"temperature":0.5,"penalties":{"presence":1,"frequency":2},"min_p":0.1}',
      'share 1 1 0.5',
    ]);
    await again.resume();
    assert.equal(fake.log.at(-1), 'resume 12');
  });

  it('asks for what it misses', async () => {
    const { fake, pf, model, session } = await started();
    fake.saved = saved;
    const kept = await session.save();
    const adapter = await model.loadAdapter(bytes(5));
    const refused = (/** @type {any} */ options, /** @type {any} */ from = kept) =>
      assert.rejects(model.restore(from, options), code('argument.invalid'));
    await refused({});
    await refused({ guides: { soup: { adapter } } });
    await refused({ guides: { soup: { adapter: [{ adapter }, { adapter }] } } });
    const foreign = await (await opened(new FakeEngine())).pf.load(bytes(8));
    await refused({ guides: { soup: { adapter: [{ adapter }, { adapter }] }, other: { model: foreign } } });
    await refused({}, { version: 2, options: {} });
    fake.saved = { guides: [], method: { name: 'args', reward: null } };
    await refused({}, await session.save());
    await model.restore(await session.save(), { reward: () => [1] });
  });
});

describe('other adapters', () => {
  it('come to a guide or the base while the session runs, and go where none is used any more', async () => {
    const fake = new FakeEngine();
    const { pf } = await opened(fake);
    const model = await pf.load(bytes(8));
    const [a, b, c] = [5, 6, 7].map(async (size) => model.loadAdapter(bytes(size)));
    const guides = { one: { adapter: await a }, two: { adapter: await b } };
    const session = await model.session({ prompt: 'x', guides });
    fake.log = [];
    // The first is no longer used: its place is free.
    await session.setAdapters('one', { adapter: await c, share: 0.5 });
    // Already there.
    await session.setAdapters(null, await b);
    await session.setAdapters('two', [{ adapter: await a }, { adapter: await c, preference: [1] }]);
    await session.setAdapters(null, null);
    assert.deepEqual(fake.log, [
      'adapters 0 [gguf 7 at 0] [{"adapter":0,"share":0.5,"preference":[]}]',
      'adapters base [] [{"adapter":1,"share":1,"preference":[]}]',
      'adapters 1 [gguf 5 at 2] [{"adapter":2,"share":1,"preference":[]},{"adapter":0,"share":1,"preference":[1]}]',
      'adapters base [] []',
    ]);
    const other = await pf.load(bytes(8));
    await assert.rejects(session.setAdapters('one', await other.loadAdapter(bytes(4))), code('argument.invalid'));
    await assert.rejects(session.setAdapters('nobody', await a), code('argument.invalid'));
    await (await a).dispose();
    await assert.rejects(session.setAdapters('one', await a), code('closed'));
  });
});

it('a session tells what it cost, even while a step is awaited', async () => {
  const { fake, session } = await started();
  fake.pause = () => new Promise((resolve) => setTimeout(resolve, 30));
  const waiting = session.next();
  const cost = await session.cost();
  assert.equal(fake.running, 1);
  assert.deepEqual(cost, { steps: 0, decoded: 2, prefilled: 3, reused: 4, scored: 5, kvPeak: 6 });
  await waiting;
});
