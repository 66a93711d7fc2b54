// An engine made of a few lines, and the package opened on it: for tests of the protocol between page and worker.

import assert from 'node:assert/strict';
import { afterEach } from 'node:test';
import { MessageChannel } from 'node:worker_threads';
import { source } from './source.mjs';

const { Host, Pilotfish, PilotfishError, toPlain } = await source({
  Host: 'worker/host.ts',
  Pilotfish: 'pilotfish.ts',
  PilotfishError: 'errors.ts',
  toPlain: 'errors.ts',
});
export { PilotfishError, toPlain };

const modelJson = JSON.stringify({
  name: 'tiny',
  architecture: 'llama',
  n_vocab: 8,
  context_length: 64,
  hidden: 4,
  n_layers: 1,
  n_heads: 1,
  n_kv_heads: 1,
  parameters: 100,
  weight_bytes: 50,
  tensor_types: { q4_1: 2 },
  license: null,
  has_chat_template: false,
});

const adapterJson = JSON.stringify({
  name: 'upbeat',
  base: 'someone/tiny',
  base_matches: true,
  modules: ['q', 'k', 'v'],
  layers: 1,
  rank: 8,
  parameters: 24,
  preferences: 0,
});

/** An engine that counts what is asked of it. */
export class FakeEngine {
  /** @type {string[]} */
  log = [];
  freed = 0;
  steps = 0;
  ends = 1000;
  /** @type {((message: string) => void) | undefined} */
  panic;
  /** @type {string[]} */
  adaptersGiven = [];
  /** Called between two pieces of a load and before each step. */
  pause = async () => {};

  surface = {
    on_panic: (/** @type {(message: string) => void} */ callback) => {
      this.panic = callback;
    },
    Engine: { open: async () => this.engine },
    Adapter: {
      from_gguf: (/** @type {unknown} */ _model, /** @type {Uint8Array} */ file) => this.adapter(`gguf ${file.length}`),
      from_peft: (/** @type {unknown} */ _model, /** @type {string} */ config, /** @type {Uint8Array} */ safetensors) =>
        this.adapter(`peft ${config} ${safetensors.length}`),
    },
    RewardModel: {
      create: (
        /** @type {unknown} */ _engine,
        /** @type {unknown} */ _model,
        /** @type {string} */ prompt,
        /** @type {string | undefined} */ className,
        /** @type {number} */ contextLength,
      ) => this.reward(`${prompt} ${className} ${contextLength}`),
    },
    Session: {
      create: async (
        /** @type {unknown} */ _engine,
        /** @type {unknown} */ _base,
        /** @type {string} */ options,
        /** @type {unknown[]} */ guideModels,
        /** @type {{ made: string }[]} */ adapters,
        /** @type {(json: string) => boolean} */ progress,
      ) => {
        this.log.push(`session ${options} +${guideModels.length}`);
        this.brief = JSON.parse(options).return === 'mix';
        this.adaptersGiven = adapters.map(({ made }) => made);
        progress(JSON.stringify({ phase: 'prefill', done: 1, total: 2 }));
        return this.session();
      },
    },
  };

  model = {
    info: () => modelJson,
    share: () => this.model,
    tokenize: (/** @type {string} */ text) => Uint32Array.from(text, (letter) => letter.charCodeAt(0)),
    detokenize: (/** @type {Uint32Array} */ ids) => String.fromCharCode(...ids),
    chat: (/** @type {string} */ json) => json,
    free: () => {
      this.freed += 1;
    },
  };

  /** @param {string} made from what */
  adapter(made) {
    if (made === 'gguf 13') {
      throw Object.assign(new Error('layer 30'), { name: 'PilotfishError', code: 'adapter.layer' });
    }
    const adapter = {
      made,
      info: () => adapterJson,
      share: () => adapter,
      free: () => {
        this.log.push(`adapter freed: ${made}`);
      },
    };
    return adapter;
  }

  /** A reward model: a text's reward is its length. */
  reward = (/** @type {string} */ made) => ({
    score: async (/** @type {string[]} */ texts) => {
      assert.equal(this.scoring, 0, 'a reward model is asked one thing at a time');
      this.scoring += 1;
      await this.pause();
      this.scoring -= 1;
      if (texts.includes('long'))
        throw Object.assign(new Error('too long'), { name: 'PilotfishError', code: 'session.prompt_too_long' });
      return Float32Array.from(texts, ({ length }) => length);
    },
    free: () => {
      this.log.push(`reward freed: ${made}`);
    },
  });

  engine = {
    info: () =>
      JSON.stringify({
        processor: this.processor,
        why: this.why,
        ...(this.processor === 'cpu'
          ? { matvec: null, cpu: { threads: 2, instructions: 'relaxed-simd', precision: 'fast' } }
          : {
              name: '',
              driver: '',
              backend: 'webgpu',
              software: true,
              features: { f16: false, subgroups: true },
              max_buffer: 5,
              max_binding: 4,
              matvec: 'rows',
              cpu: null,
            }),
      }),
    load: async (
      /** @type {{ size: number, read(offset: number, length: number): Promise<Uint8Array> }} */ from,
      /** @type {(json: string) => boolean} */ progress,
    ) => {
      let sum = 0;
      for (let at = 0; at < from.size; at += 4) {
        for (const byte of await from.read(at, Math.min(4, from.size - at))) sum += byte;
        await this.pause();
        if (!progress(JSON.stringify({ phase: 'upload', done: at, total: from.size }))) break;
      }
      this.log.push(`loaded ${sum}`);
      if (from.size === 13)
        throw Object.assign(new Error('not a GGUF file'), { name: 'PilotfishError', code: 'gguf.magic' });
      return this.model;
    },
    free: () => {},
  };

  /** What runs the models. @type {'gpu' | 'cpu' | null} */
  processor = 'gpu';
  /** @type {string | null} */
  why = null;
  /** The options of `open`, as they came. @type {unknown} */
  asked;
  /** Threads that its worker asks for when it starts. */
  threads = 0;
  /** Bytes that a model may take. @type {number | null} */
  limit = null;
  running = 0;
  /** How often it was let read ahead. */
  aheads = 0;
  scoring = 0;
  /** What a search wants to know rewards of, before each step. @type {string[] | undefined} */
  asks;
  /** @type {number[]} */
  rewards = [];
  /** Samples that steps belong to, one after the other. */
  samples = 1;
  /** Steps say nothing of single rows. */
  brief = false;
  /** Tokens of the samples that a saved session has. @type {number[][]} */
  continued = [[]];

  /** @returns {any} @param {string} name what the log calls it */
  session = (name = 'session') => ({
    info: () =>
      JSON.stringify({
        samples: this.samples,
        rows: [{ name: 'base', model: 0, prompt_tokens: this.promptTokens, adapters: [] }],
        dispatches_per_step: 9,
        weight_bytes_per_step: 50,
        memory: { weights: 1, adapters: 4, kv: 2, activations: 3 },
        context_length: 64,
      }),
    set_weight: (/** @type {number} */ guide, /** @type {number} */ weight) => {
      this.log.push(`weight ${guide} ${weight}`);
    },
    set_schedule: (/** @type {number} */ guide, /** @type {string} */ points) => {
      this.log.push(`schedule ${guide} ${points}`);
    },
    set_tokens: (/** @type {string} */ json) => {
      this.log.push(`tokens ${json}`);
    },
    force: (/** @type {Uint32Array} */ ids) => {
      this.log.push(`force ${ids.join(' ')}`);
    },
    rest: () => 'held',
    set_share: (/** @type {number | undefined} */ guide, /** @type {number} */ at, /** @type {number} */ share) => {
      this.log.push(`share ${guide ?? 'base'} ${at} ${share}`);
    },
    set_preference: (
      /** @type {number | undefined} */ guide,
      /** @type {number} */ at,
      /** @type {Float32Array} */ preference,
    ) => {
      if (preference.length > 2) {
        throw Object.assign(new Error('3 entries'), { name: 'PilotfishError', code: 'adapter.preference' });
      }
      this.log.push(`preference ${guide ?? 'base'} ${at} ${preference.join(' ')}`);
    },
    set_sampling: (/** @type {string} */ json) => {
      this.log.push(`sampling ${json}`);
      if (JSON.parse(json).temperature < 0) {
        throw Object.assign(new Error('temperature -1'), { name: 'PilotfishError', code: 'sampling.temperature' });
      }
    },
    next: async () => {
      assert.equal(this.running, 0, 'the engine is asked for one step at a time');
      if (this.steps >= this.ends) return undefined;
      this.running += 1;
      try {
        await this.pause();
        if (this.asks !== undefined) this.rewards = [...(await this.#scorer(this.asks))];
      } catch (error) {
        // As the engine does with what a scorer threw.
        throw Object.assign(new Error(`the scorer failed: ${/** @type {Error} */ (error).message}`), {
          name: 'PilotfishError',
          code: 'method.scorer',
        });
      } finally {
        this.running -= 1;
      }
      const count = this.steps++;
      const index = Math.floor(count / this.samples);
      const of = this.brief ? { guides: [] } : { base: -1, guides: [-3, -4] };
      return JSON.stringify({
        index,
        sample: count % this.samples,
        ...(this.asks !== undefined && { reward: Math.max(...this.rewards) }),
        ...(count === 5 && { shifted: 7 }),
        id: index,
        text: `${index} `,
        stop: null,
        log_probs: { mix: null, sampled: -2.5, ...of },
        ...(!this.brief && { entropy: 0.5, kl: 0.1 }),
        weights: [1.5, -1],
        temperature: 0.8,
        candidates: [{ id: 1, text: 'x', mix: -2, sampled: -2.5, ...of }],
        logits: [1, null],
      });
    },
    read_ahead: () => {
      assert.equal(this.running, 0, 'nothing is computed ahead while a step runs');
      this.aheads += 1;
    },
    turn: async (/** @type {string} */ json, /** @type {(json: string) => boolean} */ progress) => {
      this.log.push(`turn ${json}`);
      const { prompt } = JSON.parse(json);
      if (prompt.text === 'too long') {
        throw Object.assign(new Error('too long'), { name: 'PilotfishError', code: 'session.prompt_too_long' });
      }
      if (!progress(JSON.stringify({ phase: 'prefill', done: 2, total: 4 }))) throw new Error('aborted');
      this.steps = 0;
      this.ends = 1000;
      this.promptTokens = 5;
      return 12;
    },
    set_when_full: (/** @type {string} */ json) => {
      this.log.push(`when full ${json}`);
    },
    resume: async (/** @type {number} */ most) => {
      this.log.push(`resume ${most}`);
      this.ends = most;
    },
    fork: async () => {
      this.log.push('fork');
      return this.session('fork');
    },
    save: () => JSON.stringify({ ...this.saved, continued: this.continued }),
    set_adapters: async (
      /** @type {number | undefined} */ guide,
      /** @type {{ made: string }[]} */ adapters,
      /** @type {Uint32Array} */ places,
      /** @type {string} */ used,
    ) => {
      const put = adapters.map(({ made }, at) => `${made} at ${places[at]}`);
      this.log.push(`adapters ${guide ?? 'base'} [${put.join(', ')}] ${used}`);
    },
    set_scorer: (/** @type {(texts: string[]) => Promise<Float32Array>} */ score) => {
      this.log.push(`scorer of the ${name}`);
      this.#scorer = score;
    },
    remote: () => ({
      stop: () => {
        this.log.push('stop');
        this.ends = this.steps;
      },
      cost: () => JSON.stringify({ steps: this.steps, decoded: 2, prefilled: 3, reused: 4, scored: 5, kv_peak: 6 }),
      free: () => {},
    }),
    free: () => {
      assert.equal(this.running, 0, 'nothing is freed while a step runs');
      this.log.push(`${name} freed`);
    },
  });
  promptTokens = 3;
  /** @type {object} */
  saved = {};
  /** @type {(texts: string[]) => Promise<Float32Array>} */
  #scorer = async () => assert.fail('nobody gave a scorer');
}

/** @param {FakeEngine} fake @param {object} [options] of `Pilotfish.open` */
export async function opened(fake, options = {}) {
  const { port1, port2 } = new MessageChannel();
  const host = new Host(port2, {
    cache: {
      get: async () => new Blob([new Uint8Array(8).fill(1)]),
      list: async () => [],
      remove: async () => true,
      usage: async () => ({ models: 0, used: 0, quota: 0 }),
    },
    start: async (/** @type {unknown} */ options) => {
      fake.asked = options;
      if (fake.threads > 0) await host.startThreads(fake.threads, { name: 'cpu-threads' });
      return {
        surface: fake.surface,
        memory: new WebAssembly.Memory({ initial: 2 }),
        adapter: fake.processor === 'gpu' ? { vendor: 'v', architecture: 'a', device: '', description: '' } : null,
        why: fake.processor === 'gpu' ? '' : 'this browser has no WebGPU',
        limit: fake.limit,
        open: async () => fake.engine,
      };
    },
  });
  const worker = Object.assign(port1, {
    terminate() {
      port1.close();
      port2.close();
    },
  });
  const pf = await Pilotfish.open({ ...options, worker: () => worker });
  running.push(pf);
  return { pf, host };
}

/** An open port keeps Node alive. @type {{ close(): void }[]} */
const running = [];
afterEach(() => {
  for (const pf of running.splice(0)) pf.close();
});

export const code = (/** @type {string} */ expected) => (/** @type {any} */ error) => {
  assert.ok(error instanceof PilotfishError, String(error));
  assert.equal(error.code, expected);
  return true;
};
export const bytes = (/** @type {number} */ count) => new Uint8Array(count).fill(1);
export const two = {
  warm: { context: 'Be warm.', weight: 1.5 },
  cold: { context: 'Be cold.', against: 'Be.', weight: -1 },
};
