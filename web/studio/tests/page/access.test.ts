/** The page for everybody: axe finds nothing in any state, theme or width, and nothing is cut off at 360 pixels. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { answered, ask, loadModel, type Look, openAdapter, Stage } from './browser';

const axeSource = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

interface AxeResults {
  readonly violations: readonly {
    readonly id: string;
    readonly nodes: readonly { readonly html: string; readonly failureSummary: string }[];
  }[];
}

let stage: Stage;
beforeAll(async () => {
  stage = await Stage.open();
});
afterEach(() => stage.clear());
afterAll(() => stage.close());

async function violations(page: Page): Promise<string[]> {
  await page.evaluate(axeSource);
  const results = await page.evaluate(async () => {
    const { axe } = globalThis as unknown as { axe: { run(root: Document, options: object): Promise<AxeResults> } };
    return axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] });
  });
  return results.violations.flatMap(({ id, nodes }) =>
    nodes.map(({ html, failureSummary }) => `${id}: ${html} ${failureSummary}`),
  );
}

/** How far the page sticks out of its window, to the right and below: its parts scroll, it never does. */
function overflow(page: Page): Promise<number[]> {
  return page.evaluate(() => {
    const { scrollWidth, scrollHeight } = document.documentElement;
    return [scrollWidth - innerWidth, scrollHeight - innerHeight];
  });
}

const states: readonly [name: string, query: string, enter: (page: Page) => Promise<void>][] = [
  ['welcome', '', async () => {}],
  ['loading', 'load=30000', (page) => page.getByRole('button', { name: /^Load SmolLM2/ }).click()],
  ['no WebGPU, so the CPU', 'cpu', loadModel],
  [
    'a GPU that is not there',
    'fail=gpu.unavailable',
    async (page) => {
      await page.getByRole('button', { name: /^Load SmolLM2/ }).click();
      await page.getByRole('button', { name: 'Use the CPU' }).waitFor();
    },
  ],
  ['an open token', '', openToken],
  ['adapters of every kind', '', openAdapters],
  ['a search with its numbers', '', openSearch],
  [
    'a full context',
    'full=8',
    async (page) => {
      await loadModel(page);
      await ask(page);
      await page.getByRole('button', { name: 'Forget and go on' }).waitFor();
    },
  ],
  [
    'a lost device',
    'fail=gpu.lost',
    async (page) => {
      await loadModel(page);
      await ask(page);
      await page.getByRole('alert').waitFor();
    },
  ],
];

async function openToken(page: Page): Promise<void> {
  await loadModel(page);
  await ask(page);
  await answered(page);
  await page.locator('[role=option]').nth(6).click();
  await page.getByRole('table').waitFor();
}

/** Every method measured or not, the numbers of one, and a reward model turned round. */
async function openSearch(page: Page): Promise<void> {
  await loadModel(page);
  const tab = page.getByRole('navigation').getByRole('button', { name: 'Guides' });
  if (await tab.isVisible()) await tab.click();
  await page.locator('#panel-method summary').click();
  await page.getByRole('slider', { name: 'Weight of upbeat' }).fill('-1');
  await page.getByText('Below 0 it works against the base').waitFor();
  await page.getByRole('radio', { name: 'CARDS' }).check();
  await ask(page);
  await answered(page);
}

/** A blend, one with preferences made for another model, and one that does not fit; all that opens is open. */
async function openAdapters(page: Page): Promise<void> {
  await loadModel(page);
  const tab = page.getByRole('navigation').getByRole('button', { name: 'Guides' });
  if (await tab.isVisible()) await tab.click();
  await page.getByText('Blend two adapters into one guide').click();
  await page.getByRole('button', { name: 'Add', exact: true }).click();
  await page.getByText('Open an adapter', { exact: true }).click();
  for (const name of ['parm-adapter', 'misfit-adapter']) {
    await openAdapter(page, name);
    await page.getByLabel(`Mute ${name}`).waitFor();
  }
  await page.getByText('Made for another model.', { exact: true }).waitFor();
  await page.getByText('Adapter of rank 8').first().click();
}

// Both widths and both themes, without the whole product of them: axe takes seconds a page.
const looks: readonly [name: string, look: Look][] = [
  ['wide, light', {}],
  ['narrow, dark', { width: 360, height: 740, dark: true }],
];

describe.each(looks)('%s', (_, look) => {
  test.each(states)('%s', async (_state, query, enter) => {
    const page = await stage.page(query, look);
    await enter(page);
    expect(await violations(page)).toEqual([]);
    expect(await overflow(page)).toEqual([0, 0]);
  });
});

test.each(['Guides', 'Sampling', 'Model'])('the panel %s of a narrow screen', async (panel) => {
  const page = await stage.page('', { width: 360, height: 740 });
  await page.getByRole('navigation').getByRole('button', { name: panel }).click();
  expect(await violations(page)).toEqual([]);
  expect(await overflow(page)).toEqual([0, 0]);
});

test('the faders stay at hand on a narrow screen while text is written', async () => {
  // Slow enough that the text is still being written when a loaded machine comes to look.
  const page = await stage.page('pace=250', { width: 360, height: 740 });
  await loadModel(page);
  await page.getByRole('navigation').getByRole('button', { name: 'Guides' }).click();
  await ask(page);
  await page.locator('[role=option]').nth(3).waitFor();
  for (const locator of [
    page.getByRole('slider', { name: 'Weight of upbeat' }),
    page.locator('[role=option]').first(),
    page.getByRole('button', { name: 'Stop' }),
  ]) {
    const inSight = async () => {
      const box = await locator.boundingBox();
      return box !== null && box.y >= 0 && box.y + box.height <= 740;
    };
    // What is being drawn anew has no box for a moment.
    await expect.poll(inSight, { timeout: 5000 }).toBe(true);
  }
});
