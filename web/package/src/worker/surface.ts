/** What the WebAssembly module offers, as `crate/pilotfish-wasm` declares it. JSON crosses as text, with snake_case names. */

import type { ByteSource } from './reader.js';

/** Called with JSON `{ phase, done, total }`; answering false aborts. */
export type WireProgress = (json: string) => boolean;

export interface WasmModel {
  info(): string;
  /** Another handle to the same model; giving it away consumes it. */
  share(): WasmModel;
  tokenize(text: string, special: boolean): Uint32Array;
  detokenize(ids: Uint32Array): string;
  chat(messages: string): string;
  free(): void;
}

export interface WasmAdapter {
  info(): string;
  /** Another handle to the same adapter; giving it away consumes it. */
  share(): WasmAdapter;
  free(): void;
}

export interface WasmReward {
  score(texts: readonly string[]): Promise<Float32Array>;
  free(): void;
}

export interface WasmEngine {
  info(): string;
  /** An empty submit: see `nudge.ts`. */
  nudge(): void;
  load(source: ByteSource, progress: WireProgress): Promise<WasmModel>;
  free(): void;
}

export interface WasmSession {
  info(): string;
  set_weight(guide: number, weight: number): void;
  /** Without a guide, the base's own. */
  set_share(guide: number | undefined, at: number, share: number): void;
  set_preference(guide: number | undefined, at: number, preference: Float32Array): void;
  set_schedule(guide: number, points: string): void;
  set_sampling(json: string): void;
  set_tokens(json: string): void;
  force(ids: Uint32Array): void;
  rest(): string;
  next(): Promise<string | undefined>;
  /** Computes the next step where that is done at once: on the CPU. */
  read_ahead(): void;
  turn(options: string, progress: WireProgress): Promise<number>;
  set_when_full(json: string): void;
  resume(maxTokens: number): Promise<void>;
  fork(): Promise<WasmSession>;
  save(): string;
  /** Puts adapters at places, which `used` names. */
  set_adapters(guide: number | undefined, adapters: WasmAdapter[], places: Uint32Array, used: string): Promise<void>;
  set_scorer(score: (texts: string[]) => Promise<Float32Array>): void;
  remote(): WasmRemote;
  free(): void;
}

/** What reaches a session while a step is awaited. */
export interface WasmRemote {
  stop(): void;
  cost(): string;
  free(): void;
}

export interface Surface {
  on_panic(callback: (message: string) => void): void;
  /** `pause` is awaited wherever the engine would keep the worker from hearing anything else. */
  readonly Engine: { open(options: string, pause: () => Promise<void>): Promise<WasmEngine> };
  readonly Adapter: {
    from_gguf(model: WasmModel, file: Uint8Array): WasmAdapter;
    from_peft(model: WasmModel, config: string, safetensors: Uint8Array): WasmAdapter;
  };
  readonly RewardModel: {
    /** `contextLength` 0 is as long as suits the model. */
    create(
      engine: WasmEngine,
      model: WasmModel,
      prompt: string,
      className: string | undefined,
      contextLength: number,
    ): WasmReward;
  };
  readonly Session: {
    create(
      engine: WasmEngine,
      base: WasmModel,
      options: string,
      guideModels: WasmModel[],
      adapters: WasmAdapter[],
      progress: WireProgress,
    ): Promise<WasmSession>;
  };
}
