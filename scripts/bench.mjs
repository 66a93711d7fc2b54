// npm run bench [-- --model NAME --prompt N --gen N --runs N --browser NAME --json]: speed and memory of the built package in
// a browser. Guided and unguided runs are interleaved, because a machine's own speed drifts; medians are printed.

import { parseArgs } from 'node:util';
import { brotliSize, buildPackage, buildWasm, installPackages, prepareRust } from './lib/build.mjs';
import { fetchModel, manifest } from './lib/models.mjs';
import { bold, dim, megabytes, run, Stop, step } from './lib/say.mjs';

const usage =
  'npm run bench [-- --model NAME] [--prompt TOKENS] [--gen TOKENS] [--runs N] [--browser chromium|firefox] [--json]';

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

/** What runs in the page. @param {any} options */
async function measure({ url, promptTokens, gen, runs, guideCounts }) {
  const { Pilotfish } = /** @type {any} */ (globalThis).pilotfish;
  /** @template T @param {() => Promise<T>} work */
  const timed = async (work) => {
    const began = performance.now();
    const value = await work();
    return { value, seconds: (performance.now() - began) / 1000 };
  };
  /** @type {{ value: any, seconds: number }} */
  const { value: pf, seconds: open } = await timed(() => Pilotfish.open());
  const heapBefore = (await pf.memory()).wasm;
  /** @type {{ value: any, seconds: number }} */
  const { value: model, seconds: load } = await timed(() => pf.load(url, { cache: false }));
  const heapAfter = (await pf.memory()).wasm;

  // Any ids will do: what a token is changes nothing about the work.
  const text = 'The little harbour town woke before the sun, and the fishermen carried their nets down the hill. ';
  const long = await model.tokenize(text.repeat(Math.ceil(promptTokens / 10)));
  const prompt = await model.detokenize(long.slice(0, promptTokens));
  const persona = ['You are relentlessly cheerful.', 'You are a pirate.', 'You speak like a scientist.'];
  const all = [];
  for (let run = 0; run < runs; run += 1) {
    for (const guided of guideCounts) {
      const guides = Object.fromEntries(
        persona.slice(0, guided).map((context, index) => [`guide${index}`, { context, weight: 0.5 }]),
      );
      const options = { prompt, guides, temperature: 0.8, seed: run, maxTokens: gen + 1 };
      /** @type {{ value: any, seconds: number }} */
      const { value: session, seconds: prefill } = await timed(() => model.session(options));
      const { seconds: first } = await timed(() => session.next());
      const { value: made, seconds: decode } = await timed(async () => {
        let steps = 0;
        while ((await session.next()) !== undefined) steps += 1;
        return steps;
      });
      all.push({ guided, prefill, first, decode, made, info: session.info });
      await session.dispose();
    }
  }
  return { info: pf.info, model: model.info, open, load, heapBefore, heapAfter, all };
}

await run(async () => {
  const { values } = parseArgs({
    options: {
      model: { type: 'string', default: 'smollm2-135m-instruct-q4_1' },
      prompt: { type: 'string', default: '64' },
      gen: { type: 'string', default: '16' },
      runs: { type: 'string', default: '3' },
      browser: { type: 'string', default: 'chromium' },
      json: { type: 'boolean', default: false },
    },
  });
  const model = manifest().find((candidate) => candidate.name === values.model);
  if (model === undefined) throw new Stop(`there is no model ${values.model}`, 'npm run models -- --list shows them.');
  if (values.browser !== 'chromium' && values.browser !== 'firefox')
    throw new Stop(`no browser ${values.browser}`, usage);
  const options = {
    url: `/models/${model.name}.gguf`,
    promptTokens: count(values.prompt, 'prompt'),
    gen: count(values.gen, 'gen'),
    runs: count(values.runs, 'runs'),
    guideCounts: [0, 1, 3],
  };
  await installPackages();
  await prepareRust();
  await buildWasm({ folder: 'web/package/src/wasm' });
  await buildPackage();
  await fetchModel(model);
  const { browsers, installBrowsers, serveTests } = await import('../tests/browser/browsers.mjs');
  await installBrowsers();

  const line = step(`measuring in ${values.browser}`);
  const server = await serveTests();
  const browser = await browsers[values.browser]();
  try {
    const page = await browser.open(`${server.address}package.html`);
    const found = await page.evaluate(measure, options);
    line.done();
    report(found, options, values.json);
  } finally {
    await browser.close();
    await server.close();
  }
});

/** @param {Awaited<ReturnType<typeof measure>>} found @param {{ promptTokens: number, guideCounts: number[] }} options
 * @param {boolean} json */
function report(found, { promptTokens, guideCounts }, json) {
  const brotli = brotliSize('web/package/dist/wasm/pilotfish_bg.wasm');
  const rows = guideCounts.map((guided) => {
    const runs = found.all.filter((one) => one.guided === guided);
    const info = runs[0]?.info;
    const rowTokens = info.rows.reduce(
      (/** @type {number} */ sum, /** @type {any} */ row) => sum + row.promptTokens,
      0,
    );
    return {
      guides: guided,
      rows: info.rows.length,
      dispatches: info.dispatchesPerStep,
      prefillTokensPerSecond: median(runs.map((one) => rowTokens / one.prefill)),
      prefillSeconds: median(runs.map((one) => one.prefill)),
      firstTokenSeconds: median(runs.map((one) => one.prefill + one.first)),
      decodeTokensPerSecond: median(runs.map((one) => one.made / one.decode)),
      weightBytesPerStep: info.weightBytesPerStep,
    };
  });
  const result = {
    adapter: found.info.adapter,
    matvec: found.info.matvec,
    features: found.info.features,
    model: found.model.name,
    openSeconds: found.open,
    loadSeconds: found.load,
    wasmHeapPeak: found.heapAfter,
    wasmHeapBeforeLoad: found.heapBefore,
    wasmBrotli: brotli,
    rows,
  };
  if (json) {
    console.log(JSON.stringify(result, null, 2));
    return;
  }
  const { vendor, architecture, description } = found.info.adapter;
  const features = found.info.features.join(', ') || 'no optional features';
  console.log(`
${bold(found.model.name || found.model.architecture)} on ${[vendor, architecture, description].filter(Boolean).join(' ') || 'an unnamed adapter'} ${dim(`(matvec ${found.info.matvec}; ${features})`)}
  wasm ${(brotli / 1000).toFixed(0)} kB brotli; opened in ${found.open.toFixed(1)} s, loaded in ${found.load.toFixed(1)} s
  wasm heap: peak ${megabytes(found.heapAfter)} after loading, ${megabytes(found.heapBefore)} before
`);
  const [plain] = rows;
  for (const row of rows) {
    const ratio = (plain?.decodeTokensPerSecond ?? Number.NaN) / row.decodeTokensPerSecond;
    const name = row.guides === 0 ? 'unguided' : `${row.guides} context guide${row.guides > 1 ? 's' : ''}`;
    console.log(
      `  ${name.padEnd(17)} ${row.rows} rows, ${row.dispatches} dispatches a step: decode ${row.decodeTokensPerSecond.toFixed(2)} tok/s` +
        ` (a step costs ${ratio.toFixed(2)}x), prefill ${row.prefillTokensPerSecond.toFixed(1)} tok/s,` +
        ` first token of ${promptTokens} after ${row.firstTokenSeconds.toFixed(1)} s`,
    );
  }
}
