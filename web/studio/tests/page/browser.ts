/** A page on the simulated engine, in Chromium: what every page test begins with. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Browser, chromium, type Page } from 'playwright-core';
import { build, preview, type PreviewServer } from 'vite';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));

export interface Look {
  readonly width?: number;
  readonly height?: number;
  readonly dark?: boolean;
}

export class Stage {
  private constructor(
    private readonly folder: string,
    private readonly server: PreviewServer,
    private readonly browser: Browser,
    private readonly address: string,
  ) {}

  static async open(): Promise<Stage> {
    const folder = mkdtempSync(join(tmpdir(), 'studio-test-'));
    // A development build, which has the simulated engine; bundled all the same, since a hundred modules a page are slow.
    await build({ root: ROOT, mode: 'test', logLevel: 'error', build: { outDir: folder, emptyOutDir: true } });
    const server = await preview({
      root: ROOT,
      logLevel: 'error',
      build: { outDir: folder },
      preview: { port: 0 },
    });
    const address = server.resolvedUrls?.local[0];
    if (address === undefined) throw new Error('the preview server gave no address');
    return new Stage(folder, server, await launch(), address);
  }

  async page(query: string, { width = 1440, height = 900, dark = false }: Look = {}): Promise<Page> {
    const context = await this.browser.newContext({
      viewport: { width, height },
      colorScheme: dark ? 'dark' : 'light',
      // Colours are measured, and must not be caught half way.
      reducedMotion: 'reduce',
    });
    const page = await context.newPage();
    page.setDefaultTimeout(20_000);
    // Of a name that is given twice, the first counts.
    await page.goto(`${this.address}?simulate&${query}&load=40&pace=4`);
    await page.waitForSelector('#prompt');
    return page;
  }

  /** Between tests: no page goes on working behind the next. */
  async clear(): Promise<void> {
    await Promise.all(this.browser.contexts().map((context) => context.close()));
  }

  async close(): Promise<void> {
    await this.browser.close();
    await this.server.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export function launch(): Promise<Browser> {
  const executablePath = process.env['CHROMIUM'] ?? '/usr/bin/chromium';
  return chromium.launch({
    executablePath,
    args: ['--no-sandbox', '--disable-background-networking', '--disable-component-update'],
  });
}

export async function loadModel(page: Page): Promise<void> {
  await page.getByRole('button', { name: /^Load SmolLM2/ }).click();
  await page.getByText('is ready. Ask it something').waitFor();
}

export async function ask(page: Page, prompt = 'Describe a rainy morning.'): Promise<void> {
  await page.getByLabel('Prompt', { exact: true }).fill(prompt);
  await page.keyboard.press('Control+Enter');
}

/** Opens an adapter by address; the form must be unfolded. */
export async function openAdapter(page: Page, name: string): Promise<void> {
  const address = page.getByLabel('Address of an adapter');
  await address.fill(`https://example.org/${name}.gguf`);
  await address.press('Enter');
}

export async function answered(page: Page): Promise<void> {
  await page.getByRole('button', { name: 'Regenerate' }).waitFor();
}
