/**
 * Which engine the page runs on. The package, with its worker and wasm, is imported only when a model is first asked
 * for: the page paints and explains itself without it.
 */

import type { Backend, Engine } from './port';

export async function openEngine(backend: Backend): Promise<Engine> {
  if (import.meta.env.DEV) {
    const query = new URLSearchParams(location.search);
    if (query.has('simulate')) {
      const { SimulatedEngine } = await import('./simulate/engine');
      // It has what the page calls and no more, so only a cast makes it the package's class.
      return (await SimulatedEngine.open(query, backend)) as unknown as Engine;
    }
  }
  const { Pilotfish } = await import('pilotfish');
  return Pilotfish.open({ backend });
}
