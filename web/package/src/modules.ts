/** The compiled engines, of which a page fetches one. Here, beside `worker.js`, since that is where their addresses start from. */

import { PilotfishError } from './errors.js';
import type { Surface } from './worker/surface.js';

/** `gpu`; and for the CPU: plain, with threads over shared memory, and that with relaxed SIMD. */
export type ModuleName = 'gpu' | 'cpu' | 'cpu-threads' | 'cpu-threads-relaxed';

/** What a module of the CPU offers beside the rest: see `crate/pilotfish-wasm/src/crew.rs`. */
export interface ThreadSurface {
  join(): number | undefined;
  serve(place: number): void;
  threads(): number;
}

interface Glue {
  default(options: {
    readonly module_or_path: WebAssembly.Module;
    readonly memory?: WebAssembly.Memory;
    readonly thread_stack_size?: number;
  }): Promise<{ readonly memory: WebAssembly.Memory }>;
}

interface Part<G> {
  /** A bundler finds files by exactly these expressions. */
  readonly glue: () => Promise<G>;
  readonly address: URL;
}

const parts: {
  readonly gpu: Part<Glue & Surface>;
  readonly [name: string]: Part<Glue & Surface & Partial<ThreadSurface>>;
} = {
  gpu: {
    glue: () => import('./wasm/pilotfish.js'),
    address: new URL('./wasm/pilotfish_bg.wasm', import.meta.url),
  },
  cpu: {
    glue: () => import('./wasm/cpu/pilotfish.js'),
    address: new URL('./wasm/cpu/pilotfish_bg.wasm', import.meta.url),
  },
  'cpu-threads': {
    glue: () => import('./wasm/cpu-threads/pilotfish.js'),
    address: new URL('./wasm/cpu-threads/pilotfish_bg.wasm', import.meta.url),
  },
  'cpu-threads-relaxed': {
    glue: () => import('./wasm/cpu-threads-relaxed/pilotfish.js'),
    address: new URL('./wasm/cpu-threads-relaxed/pilotfish_bg.wasm', import.meta.url),
  },
};

export interface Instance {
  readonly surface: Surface & Partial<ThreadSurface>;
  readonly memory: WebAssembly.Memory;
  readonly module: WebAssembly.Module;
}

/**
 * Instantiates an engine.
 * @param memory for a module that shares it
 * @param compiled the module, where another thread has compiled it; it is fetched otherwise
 */
export async function instantiate(
  name: ModuleName,
  memory?: WebAssembly.Memory,
  compiled?: WebAssembly.Module,
): Promise<Instance> {
  const { glue, address } = parts[name] ?? parts.gpu;
  const [surface, module] = await Promise.all([glue(), compiled ?? compile(address)]);
  const exports = await surface.default({ module_or_path: module, ...(memory && { memory }) });
  return { surface, memory: memory ?? exports.memory, module };
}

async function compile(address: URL): Promise<WebAssembly.Module> {
  const response = await fetch(address);
  if (!response.ok) {
    throw new PilotfishError('worker.crashed', `${address.href} could not be fetched: ${response.status}`);
  }
  // Where it is served as another type than application/wasm, it cannot be compiled while it comes.
  if (response.headers.get('Content-Type')?.startsWith('application/wasm') !== true) {
    return WebAssembly.compile(await response.arrayBuffer());
  }
  return WebAssembly.compileStreaming(response);
}
