// The built page with the real model, as a person uses it: load, ask, move a fader while it speaks, stop. Screenshots of each
// stage are left in .cache/screenshots.

import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { modelsDir, root } from '../../scripts/lib/paths.mjs';
import { serve } from '../../scripts/lib/serve.mjs';
import { chosenBrowsers, openChromium } from './browsers.mjs';

const screenshots = join(root, '.cache/screenshots');

describe('the page', { skip: !chosenBrowsers.includes('chromium') }, () => {
  /** @type {Awaited<ReturnType<typeof serve>>} */
  let server;
  /** @type {import('./browsers.mjs').Browser} */
  let browser;
  before(async () => {
    mkdirSync(screenshots, { recursive: true });
    server = await serve({
      port: 0,
      mounts: [
        { at: '/models/', folder: process.env.PILOTFISH_MODELS ?? modelsDir },
        { at: '/models/guides/', folder: join(root, 'models/guides') },
        { at: '/', folder: join(root, 'web/studio/dist') },
      ],
    });
    browser = await openChromium();
  });
  after(async () => {
    await browser?.close();
    await server?.close();
  });

  it('loads the real model, writes steered text, obeys a fader, and stops', async (test) => {
    const page = /** @type {import('playwright-core').Page} */ (
      /** @type {unknown} */ (await browser.open(server.address))
    );
    // An emulated GPU reads both rows of the prompt in a minute on two free cores, and shares them with the page.
    page.setDefaultTimeout(420_000);
    const shot = (/** @type {string} */ name) => page.screenshot({ path: join(screenshots, `${name}.png`) });
    assert.equal(await page.evaluate(() => globalThis.crossOriginIsolated), true);
    await shot('1-welcome');

    await page.getByRole('button', { name: /^Load SmolLM2/ }).click();
    await page.getByText('is ready. Ask it something').waitFor();
    await shot('2-loaded');

    const tokens = page.locator('[role=option]');
    await page.getByLabel('Prompt', { exact: true }).fill('How was your day?');
    const asked = Date.now();
    await page.keyboard.press('Control+Enter');
    await tokens
      .nth(0)
      .waitFor()
      .catch(async (error) => {
        await shot('no-token-came');
        throw error;
      });
    const first = (Date.now() - asked) / 1000;
    await tokens.nth(4).waitFor();
    await page.getByRole('slider', { name: 'Weight of upbeat' }).fill('-1');
    const moved = await tokens.count();
    // The fader acts within the steps in flight; some more tokens show its effect.
    await tokens.nth(moved + 6).waitFor();
    await page.keyboard.press('Escape');
    await page.getByText('Stopped', { exact: true }).waitFor();
    const count = await tokens.count();
    const perSecond = count / ((Date.now() - asked) / 1000);

    await tokens.nth(0).click();
    await page.getByText('upbeat +1.00').waitFor();
    await shot('3-before-the-fader');
    await tokens.nth(moved + 5).click();
    await page.getByText('upbeat −1.00').waitFor();
    await shot('4-after-the-fader');
    const text = (await tokens.allTextContents()).join('');
    assert.match(text, /[a-z]{2,}/, `the answer is text: ${JSON.stringify(text)}`);

    // The next turn computes only what is new of the conversation.
    await page.getByLabel('Prompt', { exact: true }).fill('Why?');
    await page.keyboard.press('Control+Enter');
    await page.getByText(/\d+ % of the prompt reused/).waitFor();
    const reused = Number.parseInt((await page.getByText(/ % of the prompt reused/).textContent()) ?? '');
    await page.keyboard.press('Escape');
    await page.getByText('Stopped', { exact: true }).nth(1).waitFor();
    await page.locator('#panel-method summary').click();
    await page.locator('#panel-method').scrollIntoViewIfNeeded();
    await shot('5-next-turn');
    assert.ok(reused >= 60, `${reused} % of the second prompt were reused`);
    test.diagnostic(`${reused} % of the second prompt reused`);
    test.diagnostic(`first token after ${first.toFixed(1)} s, ${count} tokens at ${perSecond.toFixed(2)} tok/s`);
    await page.close();
  });
});
