/** Turns that reuse what was read, methods and their cost, guides turned round, and contexts that are full. */
import type { Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { answered, ask, loadModel, Stage } from './browser';

let stage: Stage;
beforeAll(async () => {
  stage = await Stage.open();
});
afterEach(() => stage.clear());
afterAll(() => stage.close());

/** What the simulated engine was asked for. */
function asked(page: Page, what: 'session' | 'turn' | 'resume'): Promise<unknown[]> {
  return page.evaluate(
    (name) => performance.getEntriesByName(name).map((mark) => (mark as PerformanceMark).detail as unknown),
    what,
  );
}

const method = (page: Page, name: string) => page.getByRole('radio', { name, exact: true });

describe('the next turn', () => {
  test('goes on in the session that is there, and says how much it did not have to compute', async () => {
    const page = await stage.page('');
    await loadModel(page);
    await ask(page, 'First.');
    await answered(page);
    await page.getByText('141 positions computed').waitFor();
    expect(await page.getByText('of the prompt reused').count()).toBe(0);
    await ask(page, 'Second.');
    await answered(page);
    expect(await asked(page, 'session')).toHaveLength(1);
    expect(await asked(page, 'turn')).toEqual([3]);
    await page.getByText('59 % of the prompt reused').waitFor();
    await page.getByText('141 reused').waitFor();
    // Faders, and all that is live, need no new session.
    await page.getByRole('slider', { name: 'Weight of upbeat' }).fill('2');
    await page.getByRole('button', { name: 'Regenerate' }).click();
    await answered(page);
    expect(await asked(page, 'turn')).toEqual([3, 3]);
    await page.locator('[role=option]').last().click();
    await page.getByText('upbeat +2.00').waitFor();
  });

  test('takes a new session where guides are others, or adapters were moved', async () => {
    const page = await stage.page('');
    await loadModel(page);
    const sessions = async () => (await asked(page, 'session')).length;
    await ask(page);
    await answered(page);
    await page.getByRole('button', { name: 'gloomy' }).click();
    await ask(page);
    await answered(page);
    expect(await sessions()).toBe(2);
    await page.getByRole('switch', { name: 'Relative' }).first().check();
    await ask(page);
    await answered(page);
    expect(await sessions()).toBe(3);
    // A sentence is told to the session that is there.
    await page.getByLabel('Sentence of gloomy').fill('You are very gloomy.');
    await ask(page);
    await answered(page);
    expect([await sessions(), (await asked(page, 'turn')).length]).toEqual([3, 1]);
    await page.getByText('Blend two adapters into one guide').click();
    await page.getByRole('button', { name: 'Add', exact: true }).click();
    await ask(page);
    await answered(page);
    await page.getByLabel('Blend of upbeat and plain').fill('0.9');
    await ask(page);
    await answered(page);
    expect(await sessions()).toBe(5);
  });
});

describe('methods', () => {
  test('show what they cost: expected before, measured after', async () => {
    const page = await stage.page('pace=60');
    await loadModel(page);
    await page.locator('#panel-method summary').click();
    const row = (name: string) => page.locator('.method', { has: method(page, name) });
    const costs = (name: string) => row(name).locator('.cost').allTextContents();
    expect(await costs('GenARM')).toEqual(['≈ 4', '–']);
    expect(await costs('Transfer-Q')).toEqual(['≈ 192', '–']);
    await ask(page);
    await answered(page);
    expect((await costs('GenARM'))[0]).toBe('4');
    expect((await costs('GenARM'))[1]).toMatch(/^\d+(\.\d)? s$/);

    await method(page, 'Best of N').check();
    await page.getByLabel('Answers', { exact: true }).fill('4');
    await page.keyboard.press('Tab');
    expect((await costs('Best of N'))[0]).toBe('≈ 16');
    await ask(page);
    await page.getByText(/Best of N tries texts/).waitFor();
    await answered(page);
    expect((await costs('Best of N'))[0]).not.toMatch('≈');
    await page.getByText('Best of N, 4 at once').waitFor();
    await page.locator('[role=option]').last().click();
    await page.getByText('Reward', { exact: true }).waitFor();
    expect((await costs('GenARM'))[0], 'what was measured stays').toBe('4');
  });

  test('can be stopped before they have decided, and asked again', async () => {
    const page = await stage.page('pace=300');
    await loadModel(page);
    await page.locator('#panel-method summary').click();
    await method(page, 'Best of N').check();
    await ask(page, 'A long story.');
    await page.getByText(/Best of N tries texts · \d+ positions so far/).waitFor();
    await page.keyboard.press('Escape');
    await expect.poll(() => page.getByLabel('Prompt', { exact: true }).inputValue()).toBe('A long story.');
    expect(await page.locator('.prompt').count()).toBe(0);
    await method(page, 'GenARM').check();
    await page.getByRole('button', { name: 'Generate' }).click();
    await page.locator('[role=option]').nth(2).waitFor();
  });

  test('are chosen by keyboard, and let the rewarding guide only reward', async () => {
    const page = await stage.page('');
    await page.locator('#panel-method summary').focus();
    await page.keyboard.press('Enter');
    await method(page, 'GenARM').focus();
    await page.keyboard.press('ArrowDown');
    expect(await method(page, 'ARGS').isChecked()).toBe(false);
    await page.getByText('A search needs a guide that rewards.').waitFor();
    await loadModel(page);
    await method(page, 'GenARM').focus();
    await page.keyboard.press('ArrowDown');
    expect(await method(page, 'ARGS').isChecked()).toBe(true);
    await page.getByLabel('Rewarded by').selectOption('upbeat');
    await page.getByRole('button', { name: 'Let it only reward' }).click();
    expect(await page.getByRole('slider', { name: 'Weight of upbeat' }).inputValue()).toBe('0');
    await page.getByLabel('Tokens tried').fill('999');
    await page.keyboard.press('Tab');
    expect(await page.getByLabel('Tokens tried').inputValue()).toBe('64');
  });
});

test('a reward model below 0 says what it does there, and can be turned round for good', async () => {
  const page = await stage.page('');
  const relative = page.getByRole('switch', { name: 'Relative' }).first();
  expect(await page.getByText('Below 0 it works against the base').count()).toBe(0);
  await page.getByRole('slider', { name: 'Weight of upbeat' }).fill('-1.5');
  await page.getByText('Below 0 it works against the base').waitFor();
  await relative.check();
  expect(await page.getByText('Below 0 it works against the base').count()).toBe(0);
  await page.reload();
  expect(await relative.isChecked()).toBe(true);
});

describe('an answer that ended early', () => {
  test('goes on after a full context, without its middle', async () => {
    const page = await stage.page('full=8');
    await loadModel(page);
    await ask(page);
    await page.getByText('tokens is full, so the answer ends here').waitFor();
    expect(await page.locator('[role=option]').count()).toBe(8);
    await page.getByRole('button', { name: 'Forget and go on' }).click();
    await page.getByText('5 tokens of the middle were forgotten').waitFor();
    await answered(page);
    expect(await page.locator('[role=option]').count()).toBe(51);
    expect(await asked(page, 'resume')).toEqual([[208, 'shift']]);
  });

  test('forgets by itself where that is wanted', async () => {
    const page = await stage.page('full=8');
    await loadModel(page);
    await page.getByText('Sampling', { exact: true }).first().click();
    await page.getByRole('switch', { name: /^When the context is full/ }).check();
    await ask(page);
    await page.getByText('5 tokens of the middle were forgotten').waitFor();
    await answered(page);
    expect(await asked(page, 'resume')).toEqual([]);
  });

  test('goes on where it was stopped', async () => {
    const page = await stage.page('pace=40');
    await loadModel(page);
    await ask(page);
    await page.locator('[role=option]').nth(4).waitFor();
    await page.keyboard.press('Escape');
    const before = await page.locator('[role=option]').allTextContents();
    await page.getByRole('button', { name: 'Go on', exact: true }).click();
    await page.getByText('Finished', { exact: true }).waitFor();
    const after = await page.locator('[role=option]').allTextContents();
    expect(after.slice(0, before.length)).toEqual(before);
    expect(after).toHaveLength(51);
  });
});
