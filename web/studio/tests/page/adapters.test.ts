/** Guides made of adapters: those that come with the page, a person's own, blends, preferences, and what does not fit. */
import type { Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { answered, ask, loadModel, openAdapter, Stage } from './browser';

let stage: Stage;
beforeAll(async () => {
  stage = await Stage.open();
});
afterEach(() => stage.clear());
afterAll(() => stage.close());

const weightOf = (page: Page, name: string) => page.getByRole('slider', { name: `Weight of ${name}` });
const token = (page: Page, index: number) => page.locator('[role=option]').nth(index);

/** What the simulated engine was told, call by call. */
function calls(page: Page, name: 'setShare' | 'setPreference'): Promise<unknown[]> {
  return page.evaluate(
    (mark) => performance.getEntriesByName(mark).map((entry) => (entry as PerformanceMark).detail as unknown),
    name,
  );
}

async function columns(page: Page): Promise<string[]> {
  await token(page, 2).click();
  return page.getByRole('table').locator('thead th').allTextContents();
}

async function openBase(page: Page, name: string): Promise<void> {
  await page.getByText('Open another model').click();
  await page.getByLabel('Address of a GGUF file to steer').fill(`https://example.org/${name}.gguf`);
  await page.keyboard.press('Enter');
  await page.getByText(`${name} is ready. Ask`).waitFor();
}

async function drop(page: Page, names: readonly string[]): Promise<void> {
  await page.evaluate((given) => {
    const dropped = new DataTransfer();
    for (const name of given) dropped.items.add(new File(['{}'], name));
    for (const type of ['dragover', 'drop']) {
      document.body.dispatchEvent(new DragEvent(type, { bubbles: true, cancelable: true, dataTransfer: dropped }));
    }
  }, names);
}

describe('the guides that come with the page', () => {
  test('stand on the desk from the start, and act once their model is there', async () => {
    const page = await stage.page('pace=40');
    expect(await weightOf(page, 'upbeat').inputValue()).toBe('1');
    expect(await weightOf(page, 'plain').inputValue()).toBe('0');
    expect(await weightOf(page, 'harmless').inputValue()).toBe('0');
    await page.getByText('Comes with SmolLM2 135M Instruct.').first().waitFor();
    await loadModel(page);
    expect(await page.getByText('Adapter of rank 8, 645 k parameters').count()).toBe(3);
    await ask(page);
    await token(page, 4).waitFor();
    await weightOf(page, 'upbeat').fill('-1');
    await answered(page);
    expect(await columns(page)).toEqual(['token', 'base', 'upbeat', 'plain', 'harmless', 'mix']);
    await page.getByText('upbeat +1.00').waitFor();
    await page.locator('[role=option]').last().click();
    await page.getByText('upbeat −1.00').waitFor();
    await page.getByText('upbeat 38 prompt tokens, 1 adapter').waitFor();
  });

  test('but one, which waits to be added', async () => {
    const page = await stage.page('');
    await loadModel(page);
    expect(await weightOf(page, 'personal').count()).toBe(0);
    await page.getByRole('list', { name: 'Guides that come with the page' }).getByText('personal').click();
    await page.getByText('Adapter of rank 8').nth(3).waitFor();
    expect(await weightOf(page, 'personal').inputValue()).toBe('1');
  });

  test('leave the sentences that were kept as they are, and are kept themselves', async () => {
    const page = await stage.page('');
    await page.getByRole('button', { name: 'pirate' }).click();
    await weightOf(page, 'plain').fill('0.5');
    await page.getByRole('button', { name: 'Remove upbeat' }).click();
    await page.reload();
    expect(await page.getByRole('slider').evaluateAll((all) => all.map((slider) => slider.ariaLabel))).toEqual([
      'Weight of plain',
      'Weight of harmless',
      'Weight of pirate',
    ]);
    expect(await weightOf(page, 'plain').inputValue()).toBe('0.5');
    await loadModel(page);
    await page.getByRole('list', { name: 'Guides that come with the page' }).getByText('upbeat').click();
    await page.getByText('Adapter of rank 8').nth(2).waitFor();
    expect(await weightOf(page, 'upbeat').inputValue()).toBe('1');
  });

  test('stand aside for a base of another shape, and come back with theirs', async () => {
    const page = await stage.page('');
    await loadModel(page);
    await openBase(page, 'another');
    expect(await page.getByText('Made for another model.').count()).toBe(3);
    expect(await weightOf(page, 'upbeat').isDisabled()).toBe(true);
    expect(await page.getByRole('alert').count()).toBe(0);
    await ask(page);
    await answered(page);
    expect(await columns(page)).toEqual(['token', 'base', 'mix']);
    await page.getByText('Open another model').click();
    await page.getByRole('button', { name: 'SmolLM2 135M Instruct', exact: true }).click();
    await page.getByText('Adapter of rank 8').nth(2).waitFor();
    expect(await weightOf(page, 'upbeat').isEnabled()).toBe(true);
  });

  test('that are refused say why, and the base goes on without them', async () => {
    const page = await stage.page('fail=adapter.shape');
    await loadModel(page);
    await page.getByText('layer 0, q: the adapter is for a matrix').first().waitFor();
    await ask(page);
    await answered(page);
  });

  test('can be left out while they are on their way, and asked for later', async () => {
    const page = await stage.page('load=4000');
    await page.getByRole('button', { name: /^Load SmolLM2/ }).click();
    await page.getByText('Loading its guides').waitFor();
    await page.getByRole('button', { name: 'Cancel' }).click();
    await page.getByText('is ready. Ask it something').waitFor();
    await page.getByRole('button', { name: 'Load plain' }).click();
    await page.getByText('Adapter of rank 8').last().waitFor();
    expect(await page.getByRole('button', { name: 'Load plain' }).count()).toBe(0);
  });

  test('are read again after the device was lost', async () => {
    const page = await stage.page('fail=gpu.lost');
    await loadModel(page);
    await ask(page);
    await page.getByText('Comes with SmolLM2 135M Instruct.').first().waitFor();
    await page.getByRole('button', { name: 'Restart the engine' }).click();
    await page.getByText('Adapter of rank 8').nth(2).waitFor();
  });
});

describe('an adapter of one’s own', () => {
  test('is opened from the keyboard, says whom it was made for, and guides', async () => {
    const page = await stage.page('');
    await loadModel(page);
    await page.getByText('Open an adapter', { exact: true }).focus();
    await page.keyboard.press('Enter');
    await openAdapter(page, 'my-adapter');
    await page.getByText('Made for someone/another-model. It fits').waitFor();
    await ask(page);
    await answered(page);
    expect(await columns(page)).toContain('my-adapter');
  });

  test('of PEFT is two files, and one alone says what is missing', async () => {
    const page = await stage.page('');
    await loadModel(page);
    const picker = page.locator('[data-pick=adapter]');
    const file = (name: string) => ({ name, mimeType: '', buffer: Buffer.from('{}') });
    await picker.setInputFiles([file('adapter_model.safetensors')]);
    await page.getByRole('alert').getByText('comes without its adapter_config.json').waitFor();
    await picker.setInputFiles([file('adapter_config.json'), file('adapter_model.safetensors')]);
    await weightOf(page, 'adapter_model').waitFor();
    expect(await page.getByRole('alert').count()).toBe(0);
    await drop(page, ['other.safetensors']);
    await page.getByRole('alert').getByText('other.safetensors comes without').waitFor();
    await drop(page, ['adapter_config.json', 'other.safetensors']);
    await weightOf(page, 'other').waitFor();
  });

  test('that was dropped as a model is offered as a guide', async () => {
    const page = await stage.page('');
    await drop(page, ['dropped-adapter.gguf']);
    const note = page.getByRole('alert');
    await note.getByRole('button', { name: 'Add it as a guide' }).click();
    await page.getByText('Waits for its model.').waitFor();
    expect(await note.count()).toBe(0);
    await loadModel(page);
    await page.getByText('Adapter of rank 8').nth(3).waitFor();
  });

  test('with preferences has a slider for each, live', async () => {
    const page = await stage.page('pace=40');
    await loadModel(page);
    await page.getByText('Open an adapter', { exact: true }).click();
    await openAdapter(page, 'parm-adapter');
    const sunny = page.getByRole('slider', { name: 'preference 1 of parm-adapter' });
    await sunny.waitFor();
    await ask(page);
    await token(page, 3).waitFor();
    await sunny.focus();
    await page.keyboard.press('ArrowRight');
    expect((await calls(page, 'setPreference')).at(-1)).toEqual(['parm-adapter', 0, 0.55, 0.5]);
  });
});

test('two adapters are blended into one guide, whose slider acts while text is written', async () => {
  const page = await stage.page('pace=40');
  await loadModel(page);
  await page.getByText('Blend two adapters into one guide').click();
  await page.getByRole('button', { name: 'Add', exact: true }).click();
  expect(await page.getByRole('button', { name: 'Mute upbeat', exact: true }).getAttribute('aria-pressed')).toBe(
    'true',
  );
  const blend = page.getByRole('slider', { name: 'Blend of upbeat and plain' });
  expect(await blend.getAttribute('aria-valuetext')).toBe('upbeat 50 %, plain 50 %');
  await ask(page);
  await token(page, 3).waitFor();
  const before = (await calls(page, 'setShare')).length;
  await blend.focus();
  await page.keyboard.press('End');
  expect(await calls(page, 'setShare').then((all) => all.slice(before))).toEqual([
    ['upbeat + plain', 0, 0],
    ['upbeat + plain', 1, 1],
  ]);
  await answered(page);
  expect(await columns(page)).toContain('upbeat + plain');

  // Its adapters stay while the blend needs them.
  await page.getByRole('button', { name: 'Remove upbeat', exact: true }).click();
  await page.getByText('upbeat, rank 8').waitFor();
});
