/** The page as a person uses it, on the simulated engine. */
import type { Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { answered, ask, loadModel, Stage } from './browser';

let stage: Stage;
beforeAll(async () => {
  stage = await Stage.open();
});
afterEach(() => stage.clear());
afterAll(() => stage.close());

async function tokenTexts(page: Page): Promise<string[]> {
  return page.locator('[role=option]').allTextContents();
}

describe('an answer', () => {
  test('is made, coloured, and explained without a mouse', async () => {
    const page = await stage.page('');
    await page.getByRole('button', { name: /^Load SmolLM2/ }).focus();
    await page.keyboard.press('Enter');
    await page.getByText('is ready. Ask it something').waitFor();
    await ask(page);
    await answered(page);
    expect(await page.locator('[data-tone^=up]').count()).toBeGreaterThan(3);
    expect(await page.getByRole('status').textContent()).toMatch(/^Finished after \d+ tokens\.$/);

    await page.locator('[role=option]').first().focus();
    for (const key of ['ArrowRight', 'ArrowRight', 'ArrowDown', 'ArrowUp', 'Enter']) await page.keyboard.press(key);
    const candidates = page.getByRole('table');
    await candidates.waitFor();
    expect(await candidates.locator('thead th').allTextContents()).toEqual([
      'token',
      'base',
      'upbeat',
      'plain',
      'harmless',
      'mix',
    ]);
    expect(await candidates.locator('tr.chosen').count()).toBe(1);

    const before = await page.locator('.walk .hint').textContent();
    await page.keyboard.press('ArrowRight');
    expect(await page.locator('.walk .hint').textContent()).not.toBe(before);
    await page.keyboard.press('Escape');
    expect(await candidates.count()).toBe(0);
  });

  test('can be stopped with Escape and asked again', async () => {
    const page = await stage.page('pace=40');
    await loadModel(page);
    await ask(page);
    await page.locator('[role=option]').nth(4).waitFor();
    await page.keyboard.press('Escape');
    await page.getByText('Stopped', { exact: true }).waitFor();
    const stopped = (await tokenTexts(page)).length;
    expect(stopped).toBeLessThan(30);
    await page.getByRole('button', { name: 'Regenerate' }).click();
    await page
      .locator('[role=option]')
      .nth(stopped + 3)
      .waitFor();
    expect(await page.locator('.prompt').count()).toBe(1);
  });

  test('repeats with a kept seed, and differs with a new one', async () => {
    const page = await stage.page('');
    await loadModel(page);
    await ask(page);
    await answered(page);
    const first = await tokenTexts(page);
    await page.getByRole('button', { name: /^seed/ }).click();
    await page.getByRole('button', { name: 'Regenerate' }).click();
    await answered(page);
    expect(await tokenTexts(page)).toEqual(first);
  });

  test('carries the conversation on, and clearing forgets it', async () => {
    const page = await stage.page('');
    await loadModel(page);
    for (const prompt of ['First.', 'Second.']) {
      await ask(page, prompt);
      await answered(page);
    }
    expect(await page.locator('.prompt').allTextContents()).toEqual(['You: First.', 'You: Second.']);
    await page.getByRole('button', { name: 'Clear the conversation' }).click();
    await page.getByText('is ready. Ask').waitFor();
  });
});

describe('faders', () => {
  test('act on the tokens that follow, while the answer is written', async () => {
    const page = await stage.page('pace=50');
    await loadModel(page);
    await ask(page);
    await page.locator('[role=option]').nth(5).waitFor();
    await page.getByRole('slider', { name: 'Weight of upbeat' }).fill('-1');
    await answered(page);
    await page.locator('[role=option]').first().click();
    await page.getByText('upbeat +1.00').waitFor();
    await page.locator('[role=option]').last().click();
    await page.getByText('upbeat −1.00').waitFor();
  });

  test('can be muted, reset by double-click and by button, and typed', async () => {
    const page = await stage.page('');
    const slider = page.getByRole('slider', { name: 'Weight of upbeat' });
    const number = page.getByLabel('Weight of upbeat, as a number');
    await slider.dblclick();
    expect(await slider.inputValue()).toBe('0');
    await number.fill('2.5');
    await number.press('Tab');
    expect(await slider.inputValue()).toBe('2.5');
    await number.fill('99');
    await number.press('Tab');
    expect(await number.inputValue()).toBe('4');
    await page.getByRole('button', { name: 'Set the weight of upbeat to 0' }).click();
    expect(await slider.inputValue()).toBe('0');
    await page.getByRole('button', { name: 'Mute upbeat' }).click();
    expect(await slider.getAttribute('aria-valuetext')).toContain('muted');
  });

  test('stay as they were over a reload', async () => {
    const page = await stage.page('');
    await page.getByRole('button', { name: 'pirate' }).click();
    await page.getByRole('slider', { name: 'Weight of pirate' }).fill('0.75');
    await page.reload();
    expect(await page.getByRole('slider', { name: 'Weight of pirate' }).inputValue()).toBe('0.75');
  });

  test('of a guide added during an answer wait for the next one', async () => {
    const page = await stage.page('pace=50');
    await loadModel(page);
    await ask(page);
    await page.locator('[role=option]').nth(2).waitFor();
    await page.getByRole('button', { name: 'gloomy' }).click();
    await page.getByText('Joins with the next answer.').waitFor();
  });
});

describe('what computes', () => {
  test('is said with its reason, and can be chosen; the model comes again', async () => {
    const page = await stage.page('software');
    await loadModel(page);
    await page.getByText('CPU, 2 threads: SwiftShader is software').waitFor();
    const choice = page.getByLabel('Computed by');
    await choice.selectOption('gpu');
    await page.getByText('135 M').waitFor();
    await ask(page);
    await page.getByText('plays one. It is exact, and slow').waitFor();
    await answered(page);
    await page.reload();
    expect(await choice.inputValue()).toBe('gpu');
  });

  test('is the CPU where there is no WebGPU, and every page can be steered', async () => {
    const page = await stage.page('cpu');
    await loadModel(page);
    await page.getByText('CPU, 2 threads: This browser has no WebGPU.').waitFor();
    await ask(page);
    await answered(page);
    await page.getByText('relaxed-simd, 8-bit activations').waitFor();
  });

  test('may be changed to the CPU when the GPU fails', async () => {
    const page = await stage.page('fail=gpu.unavailable');
    await page.getByRole('button', { name: /^Load SmolLM2/ }).click();
    await page.getByRole('button', { name: 'Use the CPU' }).click();
    await page.getByText('is ready. Ask it something').waitFor();
    expect(await page.getByRole('alert').count()).toBe(0);
    await page.getByText('CPU, 2 threads').first().waitFor();
  });
});

describe('problems', () => {
  test.each([
    ['gpu.unavailable', 'WebGPU is not available here', 'Use the CPU'],
    ['gguf.truncated', 'The file ends too early', null],
    ['download.interrupted', 'The download was cut', 'Try again'],
  ])('%s while loading says what to do', async (code, title, remedy) => {
    const page = await stage.page(`fail=${code}`);
    const load = page.getByRole('button', { name: /^Load SmolLM2/ });
    await load.click();
    const note = page.getByRole('alert');
    await note.getByRole('heading', { name: title }).waitFor();
    if (remedy) await note.getByRole('button', { name: remedy }).waitFor();
    expect(await page.getByRole('heading', { name: 'Guides' }).isVisible()).toBe(true);
  });

  test('a prompt that is too long comes back to be shortened', async () => {
    const page = await stage.page('fail=session.prompt_too_long');
    await loadModel(page);
    await ask(page, 'A long story.');
    await page.getByRole('heading', { name: 'The conversation is longer than the context' }).waitFor();
    expect(await page.getByLabel('Prompt', { exact: true }).inputValue()).toBe('A long story.');
    expect(await page.locator('.prompt').count()).toBe(0);
  });

  test('a lost device keeps what was said and reloads the model on request', async () => {
    const page = await stage.page('fail=gpu.lost');
    await loadModel(page);
    await ask(page);
    await page.getByRole('heading', { name: 'The graphics device was lost' }).waitFor();
    expect((await tokenTexts(page)).length).toBe(12);
    await page.getByRole('button', { name: 'Restart the engine' }).click();
    await page.getByText('135 M').waitFor();
    expect(await page.getByRole('alert').count()).toBe(0);
  });

  test('a guide with another vocabulary is refused, and the base goes on', async () => {
    const page = await stage.page('fail=session.vocabulary');
    await loadModel(page);
    await page.getByText('A second model as a guide').click();
    await page.getByLabel('Address of a GGUF file to guide').fill('https://example.org/other.gguf');
    await page.keyboard.press('Enter');
    await page.getByRole('slider', { name: 'Weight of other' }).waitFor();
    await ask(page);
    await page.getByRole('heading', { name: /another vocabulary/ }).waitFor();
    await page.getByRole('button', { name: 'Remove other' }).click();
    await page.keyboard.press('Control+Enter');
    await answered(page);
  });

  test('a cancelled load is none', async () => {
    const page = await stage.page('load=4000');
    await page.getByRole('button', { name: /^Load SmolLM2/ }).click();
    await page.getByRole('button', { name: 'Cancel' }).click();
    await page.getByRole('button', { name: /^Load SmolLM2/ }).waitFor();
    expect(await page.getByRole('alert').count()).toBe(0);
  });
});

test('a file dropped on the page is opened', async () => {
  const page = await stage.page('');
  await page.evaluate(() => {
    const dropped = new DataTransfer();
    dropped.items.add(new File(['GGUF'], 'dropped.gguf'));
    for (const type of ['dragover', 'drop']) {
      document.body.dispatchEvent(new DragEvent(type, { bubbles: true, cancelable: true, dataTransfer: dropped }));
    }
  });
  await page.getByText('dropped is ready. Ask it something').waitFor();
});
