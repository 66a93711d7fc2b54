/**
 * The engine that development and the page's tests run on: no GPU, no model, every state reachable.
 *
 *     ?simulate                 a hardware adapter, quick
 *     &software                 a software adapter, slow; the CPU is faster
 *     &cpu                      no WebGPU, so the CPU computes
 *     &pace=MS                  milliseconds a token (default 60)
 *     &load=MS                  milliseconds a load takes (default 1200)
 *     &fail=CODE                the step that CODE belongs to fails: gpu.unavailable, gguf.truncated,
 *                               download.interrupted, adapter.shape, session.vocabulary, session.prompt_too_long, gpu.lost
 *     &full=N                   the context is full after N tokens
 *
 * Names tell what a file is: one with “adapter” or “upbeat” in it is no model, an adapter with “misfit” fits none, one with
 * “parm” has two preferences, and “another” models are of another shape than the shipped guides'.
 */

import { isPeft } from '../../logic/adapter-files';
import { nameFromAddress } from '../../logic/names';
import type {
  AdapterInfo,
  AdapterSource,
  Backend,
  EngineInfo,
  LoadOptions,
  ModelInfo,
  RunOptions,
  Source,
} from '../port';
import { SimulatedSession } from './session';

class SimulatedError extends Error {
  override readonly name = 'PilotfishError';
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

export class SimulatedEngine {
  readonly info: EngineInfo;
  readonly closed = new Promise<Error>(() => {});

  private constructor(
    private readonly query: URLSearchParams,
    backend: Backend,
  ) {
    const software = query.has('software');
    const cpu = { threads: 2, instructions: 'relaxed-simd', precision: 'fast' } as const;
    if (backend === 'cpu' || query.has('cpu')) {
      const why = backend === 'cpu' ? '' : 'this browser has no WebGPU';
      this.info = { backend: 'cpu', why, adapter: null, software: false, limits: {}, features: [], matvec: '', cpu };
      return;
    }
    const measured = software && backend === 'auto';
    this.info = {
      backend: measured ? 'cpu' : 'gpu',
      why: measured ? 'SwiftShader is software: a token takes it 700 ms at least and the CPU 20 ms' : '',
      cpu: measured ? cpu : null,
      adapter: software
        ? {
            vendor: 'google',
            architecture: 'swiftshader',
            device: '',
            description: 'SwiftShader Device (Subzero)',
            backend: 'webgpu',
          }
        : { vendor: 'apple', architecture: 'metal-3', device: '', description: 'Apple M3', backend: 'webgpu' },
      software,
      limits: {},
      features: ['shader-f16', 'subgroups', 'timestamp-query'],
      matvec: software ? 'rows' : 'subgroup',
    };
  }

  static async open(query: URLSearchParams, backend: Backend): Promise<SimulatedEngine> {
    await pause(80);
    if (backend !== 'cpu')
      failFor(query, 'gpu.unavailable', 'the browser has WebGPU, but found no graphics adapter for it');
    return new SimulatedEngine(query, backend);
  }

  async load(source: Source, { signal, onProgress }: LoadOptions = {}): Promise<SimulatedModel> {
    const total = 98_500_352;
    const ms = Number(this.query.get('load') ?? 1200);
    const phases = ['download', 'upload'] as const;
    for (const phase of phases) {
      for (let i = 0; i <= 40; i++) {
        signal?.throwIfAborted();
        onProgress?.({ phase, loaded: Math.round((total * i) / 40), total });
        await pause(ms / 80);
        if (i === 24 && phase === 'download')
          failFor(this.query, 'download.interrupted', 'The connection ended after 59,100,211 of 98,500,352 bytes.');
      }
    }
    failFor(
      this.query,
      'gguf.truncated',
      'Tensor blk.12.ffn_down.weight ends at byte 98,500,352, but the file has 97,255,424 bytes.',
    );
    if (/adapter|upbeat/i.test(nameOf(source))) {
      throw new SimulatedError(
        'arch.not_a_model',
        'this file holds general.type "adapter", expected a model with its weights',
      );
    }
    return new SimulatedModel(nameOf(source), this.query);
  }

  close(): void {}
}

class SimulatedModel {
  readonly info: ModelInfo;

  constructor(
    name: string,
    private readonly query: URLSearchParams,
  ) {
    this.info = {
      name: /smollm2/i.test(name) ? 'SmolLM2 135M Instruct' : name,
      architecture: 'llama',
      nVocab: 49_152,
      contextLength: 8192,
      hidden: 576,
      nLayers: 30,
      nHeads: 9,
      nKvHeads: 3,
      parameters: 134_515_008,
      weightBytes: 96_808_960,
      tensorTypes: { q4_1: 180, q8_0: 31, f32: 61 },
      license: 'apache-2.0',
      hasChatTemplate: true,
    };
  }

  async loadAdapter(source: AdapterSource, { signal, onProgress }: LoadOptions = {}): Promise<SimulatedAdapter> {
    const name = nameOf(source);
    const total = 1_302_592;
    for (let i = 0; i <= 4; i++) {
      signal?.throwIfAborted();
      onProgress?.({ phase: 'download', loaded: (total * i) / 4, total });
      await pause(Number(this.query.get('load') ?? 1200) / 40);
    }
    const message =
      'layer 0, q: the adapter is for a matrix of 576 inputs and 576 outputs, the model’s has 640 and 640';
    failFor(this.query, 'adapter.shape', message);
    if (/misfit/.test(name) || /another/.test(this.info.name)) throw new SimulatedError('adapter.shape', message);
    return new SimulatedAdapter(name);
  }

  async session(options: RunOptions): Promise<SimulatedSession> {
    const pace = Number(this.query.get('pace') ?? (this.query.has('software') ? 700 : 60));
    for (let i = 0; i <= 8; i++) {
      options.signal?.throwIfAborted();
      options.onProgress?.({ phase: 'prefill', loaded: i * 4, total: 32 });
      await pause(pace / 2);
    }
    failFor(
      this.query,
      'session.prompt_too_long',
      'The prompt has 2,311 tokens under “cheerful”; the context length is 2,048.',
    );
    if (Object.values(options.guides).some(({ model }) => model !== undefined)) {
      failFor(this.query, 'session.vocabulary', 'Token 1,024 is “ the” in the base and “▁in” in the guide.');
    }
    performance.mark('session');
    const mayFail = () => failFor(this.query, 'gpu.lost', 'The device was lost: reason “unknown”.');
    return new SimulatedSession(options, pace, mayFail, Number(this.query.get('full') ?? Number.NaN));
  }

  async dispose(): Promise<void> {}
}

class SimulatedAdapter {
  readonly info: AdapterInfo;

  constructor(name: string) {
    const shipped = name.startsWith('/models/guides/');
    this.info = {
      name: nameFromAddress(name),
      base: shipped ? 'HuggingFaceTB/SmolLM2-135M-Instruct' : 'someone/another-model',
      baseMatches: shipped,
      modules: ['q', 'k', 'v'],
      layers: 30,
      rank: 8,
      parameters: 645_120,
      preferences: /parm/.test(name) ? 2 : 0,
    };
  }

  async dispose(): Promise<void> {}
}

function nameOf(source: AdapterSource): string {
  if (typeof source === 'string') return source;
  return isPeft(source) ? nameOf(source.weights) : source.name;
}

function failFor(query: URLSearchParams, code: string, message: string): void {
  if (query.get('fail') === code) throw new SimulatedError(code, message);
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
