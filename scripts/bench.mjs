// npm run bench [-- --model NAME --prompt N --gen N --runs N --browser NAME --backend NAME --json]: speed and memory of the built
// package in a browser; with --peers, its CPU backend beside other engines. Guided and unguided sessions take turns step by step, because a machine's own speed drifts; medians are printed.
// Where Linux tells them, CPU seconds of the browser stand beside the clock's: other work disturbs them less.

import { readdirSync, readFileSync, statSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { brotliSize, buildPackage, buildWasms, installPackages, prepareRust, wasmBuilds } from './lib/build.mjs';
import { fetchModel, guides, manifest } from './lib/models.mjs';
import { exportOnnx } from './lib/onnx.mjs';
import { root } from './lib/paths.mjs';
import { bold, dim, megabytes, run, Stop, step } from './lib/say.mjs';

const usage =
  'npm run bench [-- --model NAME] [--prompt TOKENS] [--gen TOKENS] [--runs N] [--browser chromium|firefox] [--backend gpu|cpu] [--json]\nnpm run bench -- --peers [--model NAME] [--prompt TOKENS] [--gen TOKENS] [--runs N]';

/** @param {string | undefined} text @param {string} name */
function count(text, name) {
  const value = Number(text);
  if (Number.isInteger(value) && value > 0) return value;
  throw new Stop(`--${name} ${text} is not a positive whole number`, usage);
}

/** @param {number[]} values */
const median = (values) => {
  const sorted = [...values].sort((one, other) => one - other);
  const middle = sorted.length >> 1;
  const high = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? high : (high + (sorted[middle - 1] ?? Number.NaN)) / 2;
};

/** CPU seconds that the living processes below this one have used, or NaN where there is no /proc. */
function browserCpu() {
  try {
    const processes = readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .flatMap((pid) => {
        try {
          // The name, in parentheses, may hold anything: what follows is counted from its end.
          const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
          const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
          return [{ pid: Number(pid), parent: Number(fields[1]), ticks: Number(fields[11]) + Number(fields[12]) }];
        } catch {
          return []; // it has ended meanwhile
        }
      });
    const below = new Set([process.pid]);
    for (let before = 0; before !== below.size;) {
      before = below.size;
      for (const { pid, parent } of processes) if (below.has(parent)) below.add(pid);
    }
    below.delete(process.pid);
    // Linux counts in hundredths, whatever its own clock.
    return processes.reduce((sum, { pid, ticks }) => sum + (below.has(pid) ? ticks / 100 : 0), 0);
  } catch {
    return Number.NaN;
  }
}

/**
 * What steers a session: so many sentences, and so many adapters; `mixOnly`: nothing of single rows is reported.
 * @typedef {{ contexts: number, adapters: number, mixOnly?: boolean }} Guides
 */

/** @param {Guides} guides */
function nameOf({ contexts, adapters, mixOnly }) {
  const several = (/** @type {number} */ n, /** @type {string} */ what) => `${n} ${what} guide${n > 1 ? 's' : ''}`;
  const guided = adapters > 0 ? several(adapters, 'adapter') : several(contexts, 'context');
  return `${adapters + contexts > 0 ? guided : 'unguided'}${mixOnly ? ", return: 'mix'" : ''}`;
}

/**
 * Opens the engine and loads the model and adapters, in the page.
 * @param {{ url: string, adapterUrls: string[], promptTokens: number, backend: string }} options
 */
async function prepare({ url, adapterUrls, promptTokens, backend }) {
  const here = /** @type {any} */ (globalThis);
  /** @template T @param {() => Promise<T>} work */
  const timed = async (work) => {
    const began = performance.now();
    const value = await work();
    return { value, seconds: (performance.now() - began) / 1000 };
  };
  /** @type {{ value: any, seconds: number }} */
  const { value: pf, seconds: open } = await timed(() => here.pilotfish.Pilotfish.open({ backend }));
  const heapBefore = (await pf.memory()).wasm;
  /** @type {{ value: any, seconds: number }} */
  const { value: model, seconds: load } = await timed(() => pf.load(url, { cache: false }));
  // A wasm memory never shrinks: what it is after loading is the most that loading took.
  const heapAfter = (await pf.memory()).wasm;
  // Any ids will do: what a token is changes nothing about the work.
  const text = 'The little harbour town woke before the sun, and the fishermen carried their nets down the hill. ';
  const long = await model.tokenize(text.repeat(Math.ceil(promptTokens / 10)));
  const adapters = [];
  for (const adapter of adapterUrls) adapters.push(await model.loadAdapter(adapter, { cache: false }));
  here.bench = { model, adapters, prompt: await model.detokenize(long.slice(0, promptTokens)) };
  return { info: pf.info, model: model.info, open, load, heapBefore, heapAfter };
}

/** Begins a session, in the page. @param {{ guided: Guides, seed: number, maxTokens: number }} options */
async function begin({ guided, seed, maxTokens }) {
  const { bench } = /** @type {any} */ (globalThis);
  const personas = ['You are relentlessly cheerful.', 'You are a pirate.', 'You speak like a scientist.'];
  const all = [
    ...personas.slice(0, guided.contexts).map((context) => ({ context, weight: 0.5 })),
    // One adapter in two guides is two rows all the same: each has a share of its own.
    ...Array.from({ length: guided.adapters }, (_, at) => ({
      adapter: bench.adapters[at % bench.adapters.length],
      weight: 0.5,
    })),
  ];
  const guides = Object.fromEntries(all.map((guide, index) => [`guide${index}`, guide]));
  const began = performance.now();
  bench.session = await bench.model.session({
    ...{ prompt: bench.prompt, guides, temperature: 0.8, seed, maxTokens, ignoreEos: true },
    ...(guided.mixOnly && { return: 'mix' }),
  });
  return { seconds: (performance.now() - began) / 1000, info: bench.session.info };
}

/** Makes so many tokens, in the page. @param {{ tokens: number }} options */
async function advance({ tokens }) {
  const { session } = /** @type {any} */ (globalThis).bench;
  const began = performance.now();
  for (let at = 0; at < tokens; at += 1) await session.next();
  return { seconds: (performance.now() - began) / 1000 };
}

const end = () => /** @type {any} */ (globalThis).bench.session.dispose();

/**
 * @param {import('../tests/browser/browsers.mjs').Page} page
 * @param {{ url: string, adapterUrls: string[], promptTokens: number, gen: number, runs: number, backend: string, guideSets: Guides[] }} options
 */
async function measure(page, { url, adapterUrls, promptTokens, gen, runs, backend, guideSets }) {
  /** @template A, R @param {(argument: A) => Promise<R>} work @param {A} argument */
  const counted = async (work, argument) => {
    const before = browserCpu();
    const value = await page.evaluate(work, argument);
    return { ...value, cpu: browserCpu() - before };
  };
  const loaded = await counted(prepare, { url, adapterUrls, promptTokens, backend });
  const all = [];
  for (let run = 0; run < runs; run += 1) {
    const sessions = [];
    // One after the other, since the engine is ahead of what is read: between two steps of a session it makes the next one.
    for (const guided of guideSets) {
      const prefill = await counted(begin, { guided, seed: run, maxTokens: gen + 1 });
      const first = await counted(advance, { tokens: 1 });
      const rest = await counted(advance, { tokens: gen });
      sessions.push({ guided, prefill, first, step: { seconds: rest.seconds / gen, cpu: rest.cpu / gen } });
      await page.evaluate(end, null);
    }
    all.push(sessions);
  }
  return { ...loaded, all };
}

function readOptions() {
  try {
    return parseArgs({
      options: {
        model: { type: 'string', default: 'smollm2-135m-instruct-q4_1' },
        prompt: { type: 'string', default: '20' },
        gen: { type: 'string', default: '16' },
        runs: { type: 'string', default: '3' },
        browser: { type: 'string', default: 'chromium' },
        backend: { type: 'string', default: 'gpu' },
        peers: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
      },
    }).values;
  } catch (error) {
    throw new Stop(error instanceof Error ? error.message : String(error), usage);
  }
}

await run(async () => {
  const values = readOptions();
  if (values.peers) {
    await peers(values);
    return;
  }
  if (values.backend !== 'gpu' && values.backend !== 'cpu') throw new Stop(`no backend ${values.backend}`, usage);
  const model = manifest().find((candidate) => candidate.name === values.model);
  if (model === undefined) throw new Stop(`there is no model ${values.model}`, 'npm run models -- --list shows them.');
  if (values.browser !== 'chromium' && values.browser !== 'firefox')
    throw new Stop(`no browser ${values.browser}`, usage);
  // The guides that ship are for this model.
  const adapterUrls = guides()
    .filter(({ base }) => base.model === model.name)
    .map(({ file }) => `/models/guides/${file}`);
  const options = {
    url: `/models/${model.name}.gguf`,
    promptTokens: count(values.prompt, 'prompt'),
    gen: count(values.gen, 'gen'),
    runs: count(values.runs, 'runs'),
    backend: values.backend,
    adapterUrls,
    guideSets: [
      ...[0, 1, 3].map((contexts) => ({ contexts, adapters: 0 })),
      ...(adapterUrls.length > 0 ? [1, 3].map((adapters) => ({ contexts: 0, adapters })) : []),
      ...[0, 1, 3].map((guides) => ({
        ...(adapterUrls.length > 0 ? { contexts: 0, adapters: guides } : { contexts: guides, adapters: 0 }),
        mixOnly: true,
      })),
    ],
  };
  await buildAndFetch([model]);
  const { browsers, serveTests } = await import('../tests/browser/browsers.mjs');

  const line = step(`measuring in ${values.browser}`);
  const load = loadavg()[0] ?? Number.NaN;
  const server = await serveTests();
  const browser = await browsers[values.browser]();
  try {
    const page = await browser.open(`${server.address}package.html`);
    const found = await measure(page, options);
    line.done();
    report(found, options, { browser: browser.version, load }, values.json);
  } finally {
    await browser.close();
    await server.close();
  }
});

/** @param {ReturnType<typeof manifest>} models */
async function buildAndFetch(models) {
  await installPackages();
  await prepareRust();
  await buildWasms(wasmBuilds);
  await buildPackage();
  for (const model of models) await fetchModel(model);
  const { installBrowsers } = await import('../tests/browser/browsers.mjs');
  await installBrowsers();
}

/** The CPU backend beside other engines. @param {{ model: string, prompt: string, gen: string, runs: string }} values */
async function peers({ model, prompt, gen, runs }) {
  const given = process.argv.some((argument) => argument.startsWith('--model'));
  const models = manifest().filter(({ name }) => !given || name === model);
  if (models.length === 0) throw new Stop(`there is no model ${model}`, 'npm run models -- --list shows them.');
  await buildAndFetch(models);
  for (const each of models) await exportOnnx(each);
  const { comparePeers } = await import('./lib/peers.mjs');
  await comparePeers({
    models: models.map(({ name }) => name),
    promptTokens: process.argv.some((argument) => argument.startsWith('--prompt')) ? count(prompt, 'prompt') : 128,
    tokens: process.argv.some((argument) => argument.startsWith('--gen')) ? count(gen, 'gen') : 32,
    runs: count(runs, 'runs'),
    threads: [1, 2],
  });
}

/**
 * @param {Awaited<ReturnType<typeof measure>>} found
 * @param {{ guideSets: Guides[] }} options
 * @param {{ browser: string, load: number }} around
 * @param {boolean} json
 */
function report(found, { guideSets }, { browser, load }, json) {
  const wasm = 'web/package/dist/wasm/pilotfish_bg.wasm';
  const rows = guideSets.map((guided, at) => {
    const runs = found.all.flatMap((sessions) => sessions[at] ?? []);
    const plain = guideSets.findIndex(
      ({ contexts, adapters, mixOnly }) => contexts + adapters === 0 && mixOnly === guided.mixOnly,
    );
    const unguided = found.all.flatMap((sessions) => sessions[plain]?.step ?? []);
    const steps = runs.map(({ step }) => step);
    const [cold] = runs;
    const info = cold?.prefill.info;
    const promptsTokens = info.rows.reduce(
      (/** @type {number} */ sum, /** @type {any} */ row) => sum + row.promptTokens,
      0,
    );
    const warm = runs.length > 1 ? runs.slice(1) : runs;
    return {
      name: nameOf(guided),
      guides: guided,
      rows: info.rows.length,
      dispatchesPerStep: info.dispatchesPerStep,
      weightBytesPerStep: info.weightBytesPerStep,
      promptTokens: promptsTokens,
      firstSession: {
        firstTokenSeconds: cold === undefined ? Number.NaN : cold.prefill.seconds + cold.first.seconds,
        firstTokenCpuSeconds: cold === undefined ? Number.NaN : cold.prefill.cpu + cold.first.cpu,
      },
      firstTokenSeconds: median(warm.map((one) => one.prefill.seconds + one.first.seconds)),
      firstTokenCpuSeconds: median(warm.map((one) => one.prefill.cpu + one.first.cpu)),
      prefillTokensPerSecond: median(warm.map((one) => (promptsTokens - info.rows.length) / one.prefill.seconds)),
      decodeTokensPerSecond: 1 / median(steps.map(({ seconds }) => seconds)),
      decodeCpuSeconds: median(steps.map(({ cpu }) => cpu)),
      // Against the unguided steps of the same run that report as much.
      stepCost: median(steps.map(({ seconds }, index) => seconds / (unguided[index]?.seconds ?? Number.NaN))),
      stepCpuCost: median(steps.map(({ cpu }, index) => cpu / (unguided[index]?.cpu ?? Number.NaN))),
    };
  });
  const result = {
    date: new Date().toISOString(),
    browser,
    machineLoad: load,
    adapter: found.info.adapter,
    matvec: found.info.matvec,
    cpu: found.info.cpu,
    features: found.info.features,
    model: found.model.name,
    openSeconds: found.open,
    loadSeconds: found.load,
    openAndLoadCpuSeconds: found.cpu,
    wasmHeapPeak: found.heapAfter,
    wasmHeapBeforeLoad: found.heapBefore,
    wasmBytes: statSync(join(root, wasm)).size,
    wasmBrotli: brotliSize(wasm),
    rows,
  };
  if (json) {
    console.log(JSON.stringify(result, null, 2));
    return;
  }
  const { adapter, cpu, matvec } = found.info;
  const on =
    adapter === null
      ? `the CPU, ${cpu.threads} threads`
      : [adapter.vendor, adapter.architecture, adapter.description].filter(Boolean).join(' ') || 'an unnamed adapter';
  const how =
    adapter === null
      ? `${cpu.instructions}, ${cpu.precision}`
      : `matvec ${matvec}; ${found.info.features.join(', ') || 'no optional features'}`;
  const kilobytes = (/** @type {number} */ bytes) => `${(bytes / 1000).toFixed(0)} kB`;
  console.log(`
${bold(found.model.name || found.model.architecture)} on ${on} ${dim(`(${how})`)}
  ${browser}, ${result.date.slice(0, 10)}, machine load ${load.toFixed(1)} at the start
  the GPU's wasm ${kilobytes(result.wasmBytes)}, ${kilobytes(result.wasmBrotli)} brotli; opened in ${found.open.toFixed(1)} s, loaded in ${found.load.toFixed(1)} s (${found.cpu.toFixed(1)} CPU s)
  wasm heap: peak ${megabytes(found.heapAfter)} while loading, ${megabytes(found.heapBefore)} before
  seconds are the clock's, and the browser's CPU seconds in parentheses
`);
  for (const row of rows) {
    const both = (/** @type {number} */ seconds, /** @type {number} */ cpu) =>
      `${seconds.toFixed(2)} s (${cpu.toFixed(2)})`;
    console.log(
      `  ${bold(row.name)}: ${row.rows} rows, ${row.dispatchesPerStep} dispatches a step\n` +
        `    decode ${row.decodeTokensPerSecond.toFixed(2)} tok/s, ${both(1 / row.decodeTokensPerSecond, row.decodeCpuSeconds)} a token,` +
        ` ${row.stepCost.toFixed(2)}x (${row.stepCpuCost.toFixed(2)}x) an unguided one\n` +
        `    prompts of ${row.promptTokens} tokens at ${row.prefillTokensPerSecond.toFixed(1)} tok/s;` +
        ` first token after ${both(row.firstTokenSeconds, row.firstTokenCpuSeconds)},` +
        ` in the first session ${both(row.firstSession.firstTokenSeconds, row.firstSession.firstTokenCpuSeconds)}`,
    );
  }
}
