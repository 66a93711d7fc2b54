/** What is shipped: nothing pretended, nothing fetched before it is asked for, nothing that a strict policy refuses. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { readFile, readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { preview, type PreviewServer } from 'vite';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { launch, ROOT } from './browser';

const POLICY =
  "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; worker-src 'self'";

let outDir: string;
let server: PreviewServer;
beforeAll(async () => {
  outDir = mkdtempSync(join(tmpdir(), 'studio-'));
  // As `npm run build` does it: in a process of its own, since the test runner's NODE_ENV would make it a test build.
  const { NODE_ENV: _, ...env } = process.env;
  execFileSync('npx', ['vite', 'build', '--outDir', outDir, '--logLevel', 'error'], { cwd: ROOT, env });
  server = await preview({
    root: ROOT,
    logLevel: 'error',
    build: { outDir },
    preview: { port: 0, headers: { 'Content-Security-Policy': POLICY } },
  });
});
afterAll(async () => {
  await server.close();
  rmSync(outDir, { recursive: true, force: true });
});

test('the simulated engine is not in the bundle', async () => {
  const scripts = (await readdir(outDir, { recursive: true })).filter((name) => name.endsWith('.js'));
  expect(scripts.length).toBeGreaterThan(0);
  for (const name of scripts)
    expect(await readFile(join(outDir, name), 'utf8'), name).not.toMatch(/SwiftShader Device|simulate/i);
});

test('the first paint asks for no engine and no model, and breaks no policy', async () => {
  const browser = await launch();
  const page = await browser.newPage();
  const requests: string[] = [];
  const complaints: string[] = [];
  page.on('request', (request) => requests.push(request.url()));
  page.on('console', (message) => {
    if (message.type() === 'error') complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(error.message));
  const address = server.resolvedUrls?.local[0] ?? '';
  await page.goto(address);
  await page.getByRole('heading', { name: 'Steer a language model while it writes' }).waitFor();
  await page.waitForLoadState('networkidle');
  await page.getByRole('slider', { name: 'Weight of upbeat' }).fill('2');
  expect(complaints).toEqual([]);
  expect(requests.filter((url) => !url.startsWith(address))).toEqual([]);
  expect(requests.filter((url) => /\.wasm|\.gguf|worker/.test(url))).toEqual([]);
  await browser.close();
});
