// Which module is fetched, how many threads compute, and what a page is told of it.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { bytes, code, FakeEngine, opened } from './fake-engine.mjs';
import { source } from './source.mjs';

const { choose, isSoftware, threadsFor, hasSimd, hasRelaxedSimd, sharedMemory, Threads } = await source({
  choose: 'worker/choose.ts',
  isSoftware: 'worker/choose.ts',
  threadsFor: 'worker/choose.ts',
  hasSimd: 'worker/features.ts',
  hasRelaxedSimd: 'worker/features.ts',
  sharedMemory: 'worker/features.ts',
  Threads: 'threads.ts',
});

const named = (/** @type {string} */ description) => ({ vendor: '', architecture: '', device: '', description });
const real = { ...named(''), vendor: 'apple', architecture: 'metal-3' };
const software = { ...named(''), vendor: 'google', architecture: 'swiftshader' };
/** @type {{ webgpu: boolean, secure: boolean, adapter: object | null }} */
const sight = { webgpu: true, secure: true, adapter: real };

describe('the choice of a processor', () => {
  it('takes the GPU where there is one, and fetches nothing for the CPU', () => {
    for (const wanted of ['auto', 'gpu']) {
      assert.deepEqual(choose(wanted, sight), { module: 'gpu', backend: 'gpu', why: '' });
    }
  });

  it('takes the CPU where there is none, and says why', () => {
    for (const [missing, why] of /** @type {const} */ ([
      [{ webgpu: false, adapter: null }, /has no WebGPU/],
      [{ webgpu: false, secure: false, adapter: null }, /https/],
      [{ adapter: null }, /no graphics adapter/],
      [{ adapter: null, refusal: 'not in release builds.' }, /says: not in release builds/],
    ])) {
      const choice = choose('auto', { ...sight, ...missing });
      assert.deepEqual([choice.module, choice.backend], ['cpu', 'cpu']);
      assert.match(choice.why, why);
      assert.throws(() => choose('gpu', { ...sight, ...missing }), { code: 'gpu.unavailable', message: why });
    }
  });

  it('lets the engine time both where the GPU is software, unless one is asked for', () => {
    const emulated = { ...sight, adapter: software };
    const { module, backend } = choose('auto', emulated);
    assert.deepEqual([module, backend], ['cpu', 'auto']);
    assert.equal(choose('gpu', emulated).module, 'gpu');
    assert.deepEqual(choose('cpu', emulated), { module: 'cpu', backend: 'cpu', why: '' });
  });

  it('knows software adapters by their names, and by what the browser calls them', () => {
    assert.ok(isSoftware(software) && isSoftware(named('llvmpipe (LLVM 19.1.7, 256 bits)')));
    assert.ok(isSoftware(named('Microsoft Basic Render Driver')) && isSoftware({ ...real, isFallbackAdapter: true }));
    assert.ok(!isSoftware(real) && !isSoftware({ ...real, isFallbackAdapter: false }));
  });

  it('counts threads: one without isolation, at most 8 unless more are asked for', () => {
    const isolated = { isolated: true, cores: 12 };
    assert.equal(threadsFor({}, isolated), 8);
    assert.equal(threadsFor({}, { isolated: true, cores: 2 }), 2);
    assert.equal(threadsFor({ threads: 12 }, isolated), 12);
    assert.equal(threadsFor({ threads: 12 }, { isolated: false, cores: 12 }), 1);
    for (const threads of [0, 1.5, 65, Number.NaN]) {
      assert.throws(() => threadsFor({ threads }, isolated), { code: 'argument.invalid' });
    }
  });
});

describe('features of WebAssembly', () => {
  it('are found by trying', () => {
    assert.equal(hasSimd(), true);
    // Node 20 has relaxed SIMD behind a flag, and multiplies wrongly; from 22 on it is right.
    assert.equal(hasRelaxedSimd(), Number.parseInt(process.versions.node) >= 22);
    const { memory, limit } = sharedMemory();
    assert.ok(memory.buffer instanceof SharedArrayBuffer);
    assert.equal(limit, 2 ** 32);
  });
});

describe('threads', () => {
  /** A worker that answers its first message. @param {(worker: any) => void} answer */
  const worker = (answer) => {
    const target = Object.assign(new EventTarget(), {
      ended: false,
      told: /** @type {unknown} */ (undefined),
      terminate: () => void (target.ended = true),
    });
    return Object.assign(target, {
      postMessage: (/** @type {unknown} */ message) => {
        target.told = message;
        queueMicrotask(() => answer(target));
      },
    });
  };
  const say = (/** @type {boolean} */ joined) => (/** @type {EventTarget} */ target) =>
    target.dispatchEvent(Object.assign(new Event('message'), { data: joined }));
  const fail = (/** @type {EventTarget} */ target) =>
    target.dispatchEvent(Object.assign(new Event('error'), { message: 'unreachable' }));

  it('that fail are ended and not counted', async () => {
    const made = [worker(say(true)), worker(say(false)), worker(fail), worker(say(true))];
    let next = 0;
    const make = () => {
      if (next === 4) throw new Error('the policy forbids it');
      return made[next++];
    };
    const threads = new Threads(make, assert.fail);
    assert.equal(await threads.start(5, {}), 2);
    assert.deepEqual(
      made.map(({ ended }) => ended),
      [false, true, true, false],
    );
    threads.end();
    assert.ok(made.every(({ ended }) => ended));
  });

  it('are made by the page when the worker asks, and end with the engine', async () => {
    const fake = new FakeEngine();
    fake.threads = 2;
    /** @type {ReturnType<typeof worker>[]} */
    const made = [];
    const thread = () => {
      made.push(worker(say(made.length === 0)));
      return made.at(-1);
    };
    const { pf } = await opened(fake, { thread });
    assert.deepEqual(
      made.map(({ told, ended }) => [told, ended]),
      [
        [{ name: 'cpu-threads' }, false],
        [{ name: 'cpu-threads' }, true],
      ],
    );
    pf.close();
    assert.ok(made.every(({ ended }) => ended));
  });

  it('that fail in the middle of their work end the engine', async () => {
    const fake = new FakeEngine();
    fake.threads = 1;
    const one = worker(say(true));
    const { pf } = await opened(fake, { thread: () => one });
    fail(one);
    await assert.rejects(pf.memory(), (/** @type {any} */ error) => {
      assert.match(error.message, /thread of the engine crashed: unreachable/);
      return code('worker.crashed')(error);
    });
    assert.ok(one.ended);
  });
});

describe('a page', () => {
  it('asks for a processor and is told which it got', async () => {
    const fake = new FakeEngine();
    fake.processor = 'cpu';
    const { pf } = await opened(fake, { backend: 'auto', precision: 'exact', threads: 2 });
    assert.deepEqual(fake.asked, { backend: 'auto', precision: 'exact', threads: 2 });
    const { backend, why, adapter, software, matvec, cpu } = pf.info;
    assert.deepEqual(
      { backend, why, adapter, software, matvec },
      { backend: 'cpu', why: 'this browser has no WebGPU', adapter: null, software: false, matvec: '' },
    );
    assert.deepEqual(cpu, { threads: 2, instructions: 'relaxed-simd', precision: 'fast' });
  });

  it('learns from the first model what was measured to be faster', async () => {
    const fake = new FakeEngine();
    const { pf } = await opened(fake);
    fake.why = 'a token takes SwiftShader 900 ms and the CPU 20 ms';
    fake.processor = 'cpu';
    assert.equal(pf.info.backend, 'gpu');
    await pf.load(bytes(8));
    assert.deepEqual([pf.info.backend, pf.info.why], ['cpu', fake.why]);
  });

  it('is told the sizes of a model that does not fit, before it is read', async () => {
    const fake = new FakeEngine();
    fake.limit = 128 * 2 ** 20 + 10;
    const { pf } = await opened(fake);
    await assert.rejects(pf.load(bytes(11)), (/** @type {any} */ error) => {
      assert.match(error.message, /takes 1 MiB and 128 MiB beside it, and WebAssembly may have 129 MiB/);
      return code('cpu.too_large')(error);
    });
    assert.deepEqual(fake.log, []);
    await pf.load(bytes(8));
  });
});
