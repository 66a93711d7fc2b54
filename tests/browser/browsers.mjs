// The two browsers of the tests, with the same few methods: Chromium (SwiftShader's Vulkan) and Firefox (Mesa's lavapipe).
// Both come from the system: Playwright's own headless shell has no WebGPU.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe } from 'node:test';
import { chromium } from 'playwright-core';
import puppeteer from 'puppeteer-core';
import { modelsDir, root } from '../../scripts/lib/paths.mjs';
import { serve } from '../../scripts/lib/serve.mjs';
import { aptInstall } from '../../scripts/lib/tools.mjs';
import { Stop } from '../../scripts/lib/say.mjs';

/**
 * @typedef {{
 *   evaluate<A, R>(code: (argument: A) => R | Promise<R>, argument: A): Promise<R>,
 *   reload(): Promise<unknown>,
 *   screenshot(options: { path: string }): Promise<unknown>,
 *   close(): Promise<void>,
 * }} Page
 * @typedef {{ name: 'chromium' | 'firefox', version: string, open(address: string): Promise<Page>, close(): Promise<void> }} Browser
 */

/** Where each browser is looked for, first the one that was asked for. */
const places = {
  chromium: [
    process.env.PILOTFISH_CHROMIUM,
    '/usr/bin/chromium',
    '/usr/bin/google-chrome',
    '/usr/bin/chromium-browser',
  ],
  firefox: [process.env.PILOTFISH_FIREFOX, '/usr/bin/firefox-esr', '/usr/bin/firefox'],
};
const debianPackage = { chromium: 'chromium', firefox: 'firefox-esr' };

/** @param {'chromium' | 'firefox'} name @returns {string} */
function executable(name) {
  const found = places[name].find((path) => path !== undefined && existsSync(path));
  if (found !== undefined) return found;
  throw new Stop(`${name} was not found`, `Install it, or set PILOTFISH_${name.toUpperCase()} to its path.`);
}

/** Installs what is missing: the browsers, and the software Vulkan that Firefox and the native tests run on. */
export async function installBrowsers() {
  const missing = /** @type {const} */ (['chromium', 'firefox']).filter(
    (name) => !places[name].some((path) => path !== undefined && existsSync(path)),
  );
  const driver = existsSync('/usr/share/vulkan/icd.d') ? [] : ['mesa-vulkan-drivers'];
  await aptInstall([...missing.map((name) => debianPackage[name]), ...driver], 'testing in browsers');
}

/** How long a page may take for one call: a second model on an emulated GPU needs minutes on a busy machine. */
const callMinutes = 10;

/**
 * What is promised, or a failure after so many minutes: a browser whose GPU process hangs says nothing.
 * @template R
 * @param {number} minutes
 * @param {string} what
 * @param {Promise<R>} promised
 * @returns {Promise<R>}
 */
async function within(minutes, what, promised) {
  /** @type {NodeJS.Timeout | undefined} */
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} took more than ${minutes} minutes`)), minutes * 60_000);
  });
  try {
    return /** @type {R} */ (await Promise.race([promised, late]));
  } finally {
    clearTimeout(timer);
  }
}

/**
 * The same page, whose calls fail when they are not answered.
 * @template {{ evaluate(code: any, argument: any): Promise<any> }} P
 * @param {P} page
 * @returns {P}
 */
function answering(page) {
  const evaluate = page.evaluate.bind(page);
  page.evaluate = (code, argument) => within(callMinutes, "a call's answer", evaluate(code, argument));
  return page;
}

/** @returns {Promise<Browser>} */
export async function openChromium() {
  const browser = await chromium.launch({
    executablePath: executable('chromium'),
    // Headless as a mode of the full browser; `headless: true` would look for the headless shell.
    headless: false,
    args: [
      '--headless=new',
      '--no-sandbox',
      '--enable-unsafe-webgpu',
      '--use-webgpu-adapter=swiftshader',
      '--enable-features=Vulkan',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
  return {
    name: 'chromium',
    version: `Chromium ${browser.version()}`,
    async open(address) {
      const page = await within(1, 'opening a page', browser.newPage({ viewport: { width: 1280, height: 900 } }));
      forward('chromium', page);
      await page.goto(address);
      return /** @type {Page} */ (answering(page));
    },
    close: () => within(1, 'closing Chromium', browser.close()),
  };
}

/** @returns {Promise<Browser>} */
export async function openFirefox() {
  const browser = await puppeteer.launch({
    browser: 'firefox',
    executablePath: executable('firefox'),
    headless: true,
    // A call may take minutes; `within` ends those that never end.
    protocolTimeout: 0,
    extraPrefsFirefox: {
      'dom.webgpu.enabled': true,
      'dom.webgpu.workers.enabled': true,
      'gfx.webgpu.ignore-blocklist': true,
    },
  });
  return {
    name: 'firefox',
    version: (await browser.version()).replace('/', ' '),
    async open(address) {
      const page = await within(1, 'opening a page', browser.newPage());
      forward('firefox', page);
      await page.goto(address);
      return /** @type {Page} */ (/** @type {unknown} */ (answering(page)));
    },
    close: () =>
      within(1, 'closing Firefox', browser.close()).catch((error) => {
        browser.process()?.kill('SIGKILL');
        throw error;
      }),
  };
}

export const browsers = { chromium: openChromium, firefox: openFirefox };

/** PILOTFISH_BROWSERS=firefox runs the tests in one browser. @type {('chromium' | 'firefox')[]} */
export const chosenBrowsers = (process.env.PILOTFISH_BROWSERS ?? 'chromium,firefox').split(',').map((name) => {
  if (name === 'chromium' || name === 'firefox') return name;
  throw new Stop(`PILOTFISH_BROWSERS names ${JSON.stringify(name)}`, 'It may name chromium, firefox, or both.');
});

/** Browsers that turned out to have no WebGPU, which releases of Firefox before 141 show and refuse. @type {Set<string>} */
const withoutGpu = new Set();

/** Looks whether the chosen browsers have WebGPU: to be awaited before tests that need it are defined. */
export async function lookForGpus() {
  const server = await serveTests();
  for (const name of chosenBrowsers) {
    const browser = await browsers[name]();
    const page = await browser.open(`${server.address}package.html`);
    const found = await page.evaluate(async () => {
      const { gpu } = /** @type {any} */ (navigator);
      return gpu !== undefined && (await gpu.requestAdapter().catch(() => null)) !== null;
    }, null);
    if (!found) {
      withoutGpu.add(name);
      console.log(`  ${browser.version} has no WebGPU here: what needs it is skipped`);
    }
    await browser.close();
  }
  await server.close();
  // Chromium's is SwiftShader, which it brings: without it something is wrong.
  if (withoutGpu.has('chromium')) throw new Stop('Chromium has no WebGPU', 'Is it started with SwiftShader?');
}

/** Why a test is skipped, if it is. @param {string} name @param {boolean} needsGpu */
const skipped = (name, needsGpu) => (needsGpu && withoutGpu.has(name) ? `${name} has no WebGPU here` : false);

/**
 * Defines the same tests for each chosen browser. Both run at once: while one compiles a kernel, which takes most of the time and
 * one core, the other computes.
 * @param {string} title
 * @param {(name: 'chromium' | 'firefox') => void} define
 * @param {{ gpu?: boolean }} [needs] `gpu`: skipped in browsers in which {@link lookForGpus} found none
 */
export function inEachBrowser(title, define, { gpu = false } = {}) {
  describe(title, { concurrency: true }, () => {
    for (const name of chosenBrowsers) {
      describe(`in ${name}`, { concurrency: 1, skip: skipped(name, gpu) }, () => define(name));
    }
  });
}

/** The same, in those that have WebGPU. @param {string} title @param {(name: 'chromium' | 'firefox') => void} define */
export const inEachBrowserWithGpu = (title, define) => inEachBrowser(title, define, { gpu: true });

/**
 * What the engine runs on in a test: how it is opened, in a page that is cross-origin isolated or not.
 * @typedef {{ title: string, kind: 'gpu' | 'cpu', isolated: boolean, open: { backend: string, precision?: string, threads?: number } }} Processor
 */

/** @type {Processor[]} */
const processors = [
  { title: 'on the GPU', kind: 'gpu', isolated: true, open: { backend: 'gpu', precision: 'exact' } },
  { title: 'on the CPU', kind: 'cpu', isolated: true, open: { backend: 'cpu', precision: 'exact', threads: 2 } },
  { title: 'on the CPU of a page that is not isolated', kind: 'cpu', isolated: false, open: { backend: 'cpu' } },
];

/**
 * Defines the same tests for each processor in each chosen browser. PILOTFISH_BACKENDS=cpu leaves the GPU out.
 * @param {string} title
 * @param {(name: 'chromium' | 'firefox', processor: Processor) => void} define
 */
export function onEachProcessor(title, define) {
  const kinds = (process.env.PILOTFISH_BACKENDS ?? 'gpu,cpu').split(',');
  inEachBrowser(title, (name) => {
    for (const processor of processors.filter(({ kind }) => kinds.includes(kind))) {
      const skip = skipped(name, processor.kind === 'gpu');
      describe(processor.title, { concurrency: 1, skip }, () => define(name, processor));
    }
  });
}

/**
 * Shows a page's errors; with PILOTFISH_VERBOSE, all that it logs.
 * @param {string} name
 * @param {{ on(event: any, listener: (message: any) => void): unknown }} page
 */
function forward(name, page) {
  page.on('console', (message) => {
    if (message.type() === 'error' || process.env.PILOTFISH_VERBOSE) console.log(`  [${name}] ${message.text()}`);
  });
  page.on('pageerror', (error) => console.log(`  [${name}] ${error}`));
}

/** The test pages, with the package, the grid's wasm, the fixtures, the cached models, the golden adapters and the built page beside them. */
export const testMounts = () => [
  { at: '/package/', folder: join(root, 'web/package/dist') },
  { at: '/grid/', folder: join(root, '.cache/wasm-grid') },
  { at: '/fixtures/', folder: join(root, 'tests/fixtures') },
  { at: '/models/', folder: process.env.PILOTFISH_MODELS ?? modelsDir },
  { at: '/models/guides/', folder: join(root, 'models/guides') },
  { at: '/golden/', folder: join(root, 'tests/golden') },
  { at: '/studio/', folder: join(root, 'web/studio/dist') },
  { at: '/', folder: join(root, 'tests/browser/pages') },
];

/** @param {{ isolated?: boolean }} [options] */
export const serveTests = ({ isolated = true } = {}) => serve({ port: 0, mounts: testMounts(), isolated });
