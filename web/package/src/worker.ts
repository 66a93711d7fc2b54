/** The worker: the WebAssembly module, the GPU, the cache. The page's thread never waits for any of them. */

import { Cache } from './cache/cache.js';
import { PilotfishError } from './errors.js';
import type { Params } from './protocol.js';
import init, * as wasm from './wasm/pilotfish.js';
import { Host } from './worker/host.js';
import { adapterFor, withSubgroups } from './worker/subgroups.js';
import type { Surface } from './worker/surface.js';

const host = new Host(self as unknown as DedicatedWorkerGlobalScope, {
  cache: new Cache(),
  async surface() {
    const { memory } = await init();
    return { surface: wasm satisfies Surface, memory };
  },
  open: openEngine,
});

async function openEngine(surface: Surface, { matvec, power = 'high', subgroups = true }: Params<'open'>) {
  // Some browsers show WebGPU to pages but not to workers, most show it only to secure contexts.
  if (!('gpu' in navigator)) {
    const why = isSecureContext ? 'this browser has no WebGPU' : 'WebGPU needs https or localhost';
    throw new PilotfishError(
      'gpu.unavailable',
      `${why}. Chrome and Edge 113, Safari 26 and Firefox 141 have it, each from that version on, where the system's graphics driver allows it.`,
    );
  }
  const adapter = await adapterFor(power === 'low' ? 'low-power' : 'high-performance');
  if (adapter === null) {
    throw new PilotfishError(
      'gpu.unavailable',
      "the browser has WebGPU, but found no graphics adapter for it: the driver may be too old or on the browser's blocklist",
    );
  }
  const { vendor, architecture, device, description } = adapter.info;
  const web_subgroups = subgroups && adapter.features.has('subgroups');
  const options = JSON.stringify({
    gpu: { low_power: power === 'low', web_subgroups },
    matvec: matvec === undefined || matvec === 'auto' ? null : matvec,
    // The base and one guide by context: the browser compiles their kernels while the model downloads.
    expected_rows: 2,
  });
  const open = () => surface.Engine.open(options);
  const engine = await (web_subgroups ? withSubgroups(open) : open());
  return { engine, adapter: { vendor, architecture, device, description } };
}

// A trap in WebAssembly, or anything else that nobody caught: promises of the module may never settle after it.
self.addEventListener('error', (event) => {
  host.crash(new PilotfishError('worker.crashed', `the worker crashed: ${event.message}`));
});
self.addEventListener('unhandledrejection', (event) => {
  host.crash(new PilotfishError('worker.crashed', `the worker crashed: ${String(event.reason)}`));
});
