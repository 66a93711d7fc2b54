/** The worker: the WebAssembly module, the GPU or the CPU's threads, the cache. The page's thread never waits for any of them. */

import { Cache } from './cache/cache.js';
import { PilotfishError } from './errors.js';
import { instantiate, type ModuleName } from './modules.js';
import type { Params } from './protocol.js';
import { choose, threadsFor } from './worker/choose.js';
import { hasRelaxedSimd, hasSimd, sharedMemory } from './worker/features.js';
import { Host, type Started } from './worker/host.js';
import { adapterFor, withSubgroups } from './worker/subgroups.js';
import type { Surface, WasmEngine } from './worker/surface.js';
import { turn } from './worker/turn.js';

const host = new Host(self as unknown as DedicatedWorkerGlobalScope, { cache: new Cache(), start });

async function start(options: Params<'open'>): Promise<Started> {
  const { backend = 'auto', power = 'high' } = options;
  const webgpu = 'gpu' in navigator;
  let adapter: GPUAdapter | null = null;
  let refusal: string | undefined;
  if (webgpu && backend !== 'cpu') {
    try {
      adapter = await adapterFor(power === 'low' ? 'low-power' : 'high-performance');
    } catch (error) {
      // Release builds of Firefox have `navigator.gpu` where they offer no WebGPU, too (Firefox 140).
      refusal = error instanceof Error ? error.message : String(error);
    }
  }
  const sight = { webgpu, secure: isSecureContext, adapter: adapter?.info ?? null, ...(refusal && { refusal }) };
  const choice = choose(backend, sight);
  if (choice.module === 'cpu') return onCpu(options, choice, adapter);
  const gpu = await onGpu(options, adapter);
  if (backend === 'gpu') return gpu;
  try {
    // A device that cannot be had must not keep a page from the CPU.
    gpu.surface.on_panic((message) => host.panicked(message));
    const engine = await gpu.open();
    return { ...gpu, open: async () => engine };
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && String(error.code).startsWith('gpu.'))) throw error;
    return onCpu(options, { backend: 'cpu', why: error.message }, null);
  }
}

async function onGpu(options: Params<'open'>, adapter: GPUAdapter | null): Promise<Started> {
  const { surface, memory } = await instantiate('gpu');
  return {
    surface,
    memory,
    adapter: described(adapter),
    why: '',
    limit: null,
    open: () => openEngine(surface, { ...options, backend: 'gpu' }, adapter),
  };
}

async function onCpu(
  options: Params<'open'>,
  { backend, why }: Pick<ReturnType<typeof choose>, 'backend' | 'why'>,
  adapter: GPUAdapter | null,
): Promise<Started> {
  if (!hasSimd()) {
    const and = why === '' ? '' : `${why}, and `;
    throw new PilotfishError(
      'cpu.no_simd',
      `${and}the WebAssembly of this browser has no SIMD. Chrome and Edge 91, Firefox 89 and Safari 16.4 have it, each from that version on.`,
    );
  }
  const wanted = threadsFor(options, { isolated: crossOriginIsolated, cores: navigator.hardwareConcurrency });
  const relaxed = hasRelaxedSimd();
  // The shared memory serves one thread, too, where relaxed SIMD makes that worth while.
  const shared = relaxed || wanted > 1 ? sharedMemory() : null;
  const name: ModuleName = shared === null ? 'cpu' : relaxed ? 'cpu-threads-relaxed' : 'cpu-threads';
  const { surface, memory, module } = await instantiate(name, shared?.memory);
  if (shared !== null && wanted > 1) {
    await host.startThreads(wanted - 1, { name, module, memory });
  }
  return {
    surface,
    memory,
    adapter: described(adapter),
    why,
    limit: shared?.limit ?? 2 ** 32,
    open: () => openEngine(surface, { ...options, backend }, adapter),
  };
}

function openEngine(surface: Surface, options: Params<'open'>, adapter: GPUAdapter | null): Promise<WasmEngine> {
  const { backend, precision, matvec, power, subgroups = true } = options;
  const web_subgroups = subgroups && adapter?.features.has('subgroups') === true;
  const json = JSON.stringify({
    backend,
    precision: precision ?? null,
    gpu: { low_power: power === 'low', web_subgroups },
    matvec: matvec === undefined || matvec === 'auto' ? null : matvec,
    // The base and one guide by context: the browser compiles their kernels while the model downloads.
    expected_rows: 2,
  });
  const open = () => surface.Engine.open(json, turn);
  return web_subgroups ? withSubgroups(open) : open();
}

function described(adapter: GPUAdapter | null) {
  if (adapter === null) return null;
  const { vendor, architecture, device, description } = adapter.info;
  return { vendor, architecture, device, description };
}

// A trap in WebAssembly, or anything else that nobody caught: promises of the module may never settle after it.
self.addEventListener('error', (event) => {
  host.crash(new PilotfishError('worker.crashed', `the worker crashed: ${event.message}`));
});
self.addEventListener('unhandledrejection', (event) => {
  host.crash(new PilotfishError('worker.crashed', `the worker crashed: ${String(event.reason)}`));
});
