/**
 * The engine that development and the page's tests run on: no GPU, no model, every state reachable.
 *
 *     ?simulate                 a hardware adapter, quick
 *     &software                 a software adapter, slow
 *     &pace=MS                  milliseconds a token (default 60)
 *     &load=MS                  milliseconds a load takes (default 1200)
 *     &fail=CODE                the step that CODE belongs to fails: no-webgpu, gpu.unavailable, gguf.truncated,
 *                               download.interrupted, session.vocabulary, session.prompt_too_long, gpu.lost
 */

import type { EngineInfo, LoadOptions, ModelInfo, RunOptions, Source } from '../port';
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

  private constructor(private readonly query: URLSearchParams) {
    const software = query.has('software');
    this.info = {
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

  static async open(query: URLSearchParams): Promise<SimulatedEngine> {
    await pause(80);
    failFor(query, 'gpu.unavailable', 'the browser has WebGPU, but found no graphics adapter for it');
    return new SimulatedEngine(query);
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
    return new SimulatedModel(typeof source === 'string' ? source : source.name, this.query);
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
    return new SimulatedSession(options, pace, () =>
      failFor(this.query, 'gpu.lost', 'The device was lost: reason “unknown”.'),
    );
  }

  async dispose(): Promise<void> {}
}

function failFor(query: URLSearchParams, code: string, message: string): void {
  if (query.get('fail') === code) throw new SimulatedError(code, message);
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
