import type { WasmEngine } from './surface.js';

/**
 * Firefox looks at finished GPU work on a 100 ms timer unless something is submitted meanwhile (Mozilla bug 1870699, still so
 * in Firefox 153, 2026-11-22), which would cap a runtime at ten tokens a second. So submit nothing, often, while somebody
 * waits. To be deleted when the bug is fixed.
 */
export function nudgeWhile(busy: () => boolean, engine: Pick<WasmEngine, 'nudge'>): void {
  if (!globalThis.navigator?.userAgent.includes('Firefox')) return;
  setInterval(() => {
    if (busy()) engine.nudge();
  }, 1);
}
