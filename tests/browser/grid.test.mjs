// Every kernel x shape x format x variant against its CPU twin, inside Chromium and Firefox.
// PILOTFISH_GRID=matvec runs a part of it.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { browsers, chosenBrowsers, serveTests } from './browsers.mjs';

const filter = process.env.PILOTFISH_GRID ?? '';

for (const name of chosenBrowsers) {
  describe(`kernels in ${name}`, () => {
    /** @type {Awaited<ReturnType<typeof serveTests>>} */
    let server;
    /** @type {import('./browsers.mjs').Browser} */
    let browser;
    before(async () => {
      server = await serveTests();
      browser = await browsers[name]();
    });
    after(async () => {
      await browser?.close();
      await server?.close();
    });

    for (const defaultsOnly of [false, true]) {
      it(`equal their twins ${defaultsOnly ? "with WebGPU's defaults alone" : 'with all that is offered'}`, async (test) => {
        const page = await browser.open(`${server.address}grid.html`);
        const { gpu, passed, skipped, failed } = await page.evaluate(
          (options) => /** @type {any} */ (globalThis).runGrid(options),
          { filter, defaultsOnly },
        );
        await page.close();
        const used = Object.entries(gpu.features).flatMap(([feature, on]) => (on ? [feature] : []));
        test.diagnostic(
          `${gpu.name || 'unnamed GPU'} (${used.join(', ') || 'no features'}): ${passed} passed, ${skipped} skipped`,
        );
        assert.deepEqual(failed, []);
        assert.ok(passed > 0, `no case matches ${JSON.stringify(filter)}`);
      });
    }
  });
}
