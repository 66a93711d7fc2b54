// Searches above the step, between page and worker: their numbers, and rewards that a function of the page gives.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { bytes, code, FakeEngine, opened, two } from './fake-engine.mjs';

async function started(/** @type {unknown} */ method, /** @type {string[] | undefined} */ asks = undefined) {
  const fake = new FakeEngine();
  fake.asks = asks;
  const { pf } = await opened(fake);
  const model = await pf.load(bytes(8));
  fake.log = [];
  const session = await model.session({ prompt: 'Hello', guides: two, maxTokens: 9, method });
  const [line = ''] = fake.log;
  return { fake, pf, model, session, told: JSON.parse(line.replace(/^session /, '').replace(/ \+0$/, '')).method };
}

describe('a method', () => {
  it('goes to the engine with its numbers, and with the guide that rewards', async () => {
    const args = { name: 'args', reward: 'warm', candidates: 5, weight: 0.5 };
    assert.deepEqual((await started(args)).told, args);
    const cards = { name: 'cards', reward: 'cold', entropy: 2.5, segment: 9, goal: -1, beta: 0.7 };
    assert.deepEqual((await started({ ...cards, candidates: undefined })).told, cards);
    assert.deepEqual((await started({ name: 'genarm' })).told, { name: 'genarm' });
    const { told, fake } = await started({ name: 'best-of-n', reward: () => [] });
    assert.deepEqual(told, { name: 'best-of-n' });
    assert.ok(fake.log.includes('scorer of the session'));
  });

  it('needs a reward that there is', async () => {
    const refused = (/** @type {unknown} */ method) => assert.rejects(started(method), code('argument.invalid'));
    await refused({ name: 'args' });
    await refused({ name: 'args', reward: 'nobody' });
    await refused({ name: 'args', reward: 7 });
  });
});

describe('a function that rewards', () => {
  it('is asked in the page, and may take its time', async () => {
    const texts = ['a', 'b b', ''];
    const asked = /** @type {unknown[]} */ ([]);
    const reward = async (/** @type {string[]} */ given) => {
      asked.push(given);
      await new Promise((resolve) => setTimeout(resolve, 5));
      return given.map(({ length }) => length / 2);
    };
    const { fake, session } = await started({ name: 'args', reward }, texts);
    const step = await session.next();
    assert.deepEqual(asked, [texts]);
    assert.deepEqual(fake.rewards, [0.5, 1.5, 0]);
    assert.equal(step.reward, 1.5);
  });

  it('that throws becomes a typed error with what it threw, and the session stays usable', async () => {
    const thrown = new RangeError('no idea');
    let fails = true;
    const reward = () => {
      if (fails) throw thrown;
      return Float64Array.of(1, 2);
    };
    const { session } = await started({ name: 'args', reward }, ['x', 'y']);
    await assert.rejects(session.next(), (/** @type {any} */ error) => {
      assert.equal(error.cause, thrown);
      assert.match(error.message, /no idea/);
      return code('method.scorer')(error);
    });
    fails = false;
    assert.equal((await session.next()).reward, 2);
  });

  it('that gives something else than a number for each text is refused', async () => {
    let scores = /** @type {unknown} */ (undefined);
    const { session } = await started({ name: 'args', reward: () => scores }, ['x', 'y']);
    for (const [wrong, said] of /** @type {[unknown, RegExp][]} */ ([
      [undefined, /found undefined/],
      [[1], /found 1 of them/],
      [[1, 2, 3], /found 3 of them/],
      [[1, Number.NaN], /found NaN/],
      [[1, '2'], /found 2 among them/],
    ])) {
      scores = wrong;
      await assert.rejects(session.next(), (/** @type {any} */ error) => {
        assert.match(error.message, said);
        return code('method.score')(error);
      });
    }
    scores = [1, 2];
    assert.equal((await session.next()).reward, 2);
  });

  it('that never answers holds up neither a stop, nor what frees the session', async () => {
    const { fake, session } = await started({ name: 'args', reward: () => new Promise(() => {}) }, ['x']);
    const waiting = session.next();
    await new Promise((resolve) => setTimeout(resolve, 5));
    assert.equal(fake.running, 1);
    session.stop();
    assert.equal(await waiting, undefined);
    await session.dispose();
    assert.equal(fake.running, 0);
    assert.equal(fake.log.at(-1), 'session freed');

    const again = await started({ name: 'args', reward: () => new Promise(() => {}) }, ['x']);
    const unread = again.session.next();
    await new Promise((resolve) => setTimeout(resolve, 5));
    await again.session.dispose();
    assert.equal(await unread, undefined);
  });

  it('is asked again after a stop and a resume', async () => {
    let answer = () => {};
    const reward = () => new Promise((resolve) => (answer = () => resolve([3])));
    const { fake, session } = await started({ name: 'args', reward }, ['x']);
    const waiting = session.next();
    await new Promise((resolve) => setTimeout(resolve, 5));
    session.stop();
    const late = answer;
    assert.equal(await waiting, undefined);
    await session.resume();
    const next = session.next();
    await new Promise((resolve) => setTimeout(resolve, 5));
    late();
    answer();
    const step = await next;
    assert.deepEqual([step.index, step.reward], [0, 3]);
    assert.equal(fake.steps, 1);
  });

  it('rewards forks, too', async () => {
    const { fake, session } = await started({ name: 'args', reward: () => [4] }, ['x']);
    const fork = await session.fork();
    assert.ok(fake.log.includes('scorer of the fork'));
    assert.equal((await fork.next()).reward, 4);
  });
});

describe('a reward model', () => {
  it('scores texts, one call after the other, and rewards a method', async () => {
    const fake = new FakeEngine();
    const { pf } = await opened(fake);
    const model = await pf.load(bytes(8));
    const judge = await model.reward({ prompt: 'Hello', class: 1 });
    const both = await Promise.all([judge.score(['a', 'bb']), judge.score(['ccc'])]);
    assert.deepEqual(
      both.map((scores) => [...scores]),
      [[1, 2], [3]],
    );
    await assert.rejects(judge.score(['long']), code('session.prompt_too_long'));
    fake.asks = ['four'];
    const session = await model.session({ prompt: 'Hello', method: { name: 'args', reward: judge.score } });
    assert.equal((await session.next()).reward, 4);
    await session.dispose();
    await judge.dispose();
    assert.equal(fake.log.at(-1), 'reward freed: {"text":"Hello"} 1 0');
    await assert.rejects(judge.score(['a']), code('closed'));
    await model.dispose();
    await assert.rejects(model.reward({ prompt: 'Hello' }), code('closed'));
  });
});
