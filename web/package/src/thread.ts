/** One of the CPU backend's threads: it joins the engine's crew and serves it until the page ends it. */

import { instantiate } from './modules.js';
import type { ThreadStart } from './threads.js';

addEventListener('message', (event: MessageEvent<ThreadStart>) => {
  const { name, module, memory } = event.data;
  void (async () => {
    const { surface } = await instantiate(name, memory, module);
    const place = surface.join?.();
    postMessage(place !== undefined);
    if (place !== undefined) surface.serve?.(place);
  })().catch((error: unknown) => {
    // Before it has joined, nobody waits for it: the engine computes with fewer.
    postMessage(false);
    console.warn('pilotfish: a thread could not be started', error);
  });
});
