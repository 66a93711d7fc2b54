// npm test [-- STAGE...]: everything from an empty machine: tools, browsers and models are installed, then all checks run.
// A failed check does not hide the others; the last line counts them. With names, only those stages run: `npm test -- rust`;
// `npm test -- --help` lists them.

import { readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import {
  buildPackage,
  buildPage,
  buildWasms,
  gridBuild,
  installPackages,
  prepareRust,
  wasmBuilds,
} from './lib/build.mjs';
import { fetchModel, manifest } from './lib/models.mjs';
import { modelsDir, root } from './lib/paths.mjs';
import { run, Stop } from './lib/say.mjs';
import { runStages } from './lib/stages.mjs';

const windows = process.platform === 'win32';
const npm = windows ? 'npm.cmd' : 'npm';
const npx = windows ? 'npx.cmd' : 'npx';

/** Test files of a folder. @param {string} folder */
const testsIn = (folder) =>
  readdirSync(join(root, folder))
    .filter((name) => name.endsWith('.test.mjs'))
    .map((name) => join(folder, name));

/** @param {string[]} files */
const nodeTests = (files) => ({ program: process.execPath, args: ['--test', '--test-reporter=spec', ...files] });

/** What each stage is. */
const stages = {
  format: 'cargo fmt, prettier',
  types: 'types of the scripts and tests',
  rust: "clippy; engine and command line, on this machine's Vulkan and on its CPU",
  scripts: 'what these scripts are made of',
  package: 'the npm package, without a browser',
  studio: 'the page: its types, its logic, and itself with a simulated engine',
  browser: 'kernels, package, real models and the page in Chromium and Firefox',
};
const usage = `npm test [-- STAGE...]
${Object.entries(stages)
  .map(([name, what]) => `  ${name.padEnd(8)}  ${what}`)
  .join('\n')}

  PILOTFISH_BROWSERS=firefox   the browser stage in one browser
  PILOTFISH_GRID=matvec        kernels: the cases whose names hold that, here and in browsers
  PILOTFISH_GRID=full          kernels in browsers: the whole grid with WebGPU's default limits too
  PILOTFISH_VERBOSE=1          all that the browsers' pages log`;

/** The stages that were named, or all. */
function wantedStages() {
  const named = process.argv.slice(2);
  const unknown = named.filter((name) => !(name in stages));
  if (unknown.length > 0) throw new Stop(`no stage is named ${unknown.join(' or ')}`, usage);
  return new Set(named.length > 0 ? named : Object.keys(stages));
}

await run(async () => {
  if (process.argv.slice(2).some((argument) => argument === '--help' || argument === '-h')) {
    console.log(usage);
    return;
  }
  const chosen = wantedStages();
  const wanted = (/** @type {{ name: string }} */ { name }) => chosen.has(name);

  await installPackages();
  await prepareRust();
  // Imported late: it needs the packages that have just been installed.
  const { installBrowsers } = await import('../tests/browser/browsers.mjs');
  await installBrowsers();
  for (const model of manifest()) await fetchModel(model);
  const env = { PILOTFISH_MODELS: modelsDir };

  /** @type {import('./lib/stages.mjs').Stage[]} */
  const rust = [
    { name: 'format', title: 'cargo fmt', program: 'cargo', args: ['fmt', '--all', '--check'] },
    { name: 'format', title: 'prettier', program: npx, args: ['prettier', '--check', '.'] },
    { name: 'types', title: 'types of the scripts and tests', program: npx, args: ['tsc', '-p', 'scripts'] },
    {
      name: 'rust',
      title: 'clippy',
      program: 'cargo',
      args: ['clippy', '--workspace', '--exclude', 'pilotfish-bindgen', '--all-targets', '--', '-D', 'warnings'],
    },
    { name: 'rust', title: 'engine and CLI', program: 'cargo', args: ['test', '--no-fail-fast'], env, minutes: 40 },
    {
      name: 'rust',
      title: 'engine and CLI on the CPU',
      program: 'cargo',
      args: ['test', '--package', 'pilotfish', '--package', 'pilotfish-cli', '--test', '*', '--no-fail-fast'],
      env: { ...env, PILOTFISH_TEST_BACKEND: 'cpu' },
    },
    { name: 'scripts', title: 'scripts', ...nodeTests(testsIn('tests/scripts')) },
  ];
  const total = await runStages(rust.filter(wanted));

  if (['package', 'studio', 'browser'].some((name) => chosen.has(name))) {
    await buildWasms(chosen.has('browser') ? [...wasmBuilds, gridBuild] : wasmBuilds);
    await buildPackage();
    await buildPage();
  }
  /** @type {import('./lib/stages.mjs').Stage[]} */
  const web = [
    { name: 'package', title: 'package', ...nodeTests(testsIn('web/package/test')) },
    { name: 'studio', title: 'types of the page', program: npm, args: ['run', 'check', '-w', 'web/studio'] },
    { name: 'studio', title: 'page', program: npm, args: ['test', '-w', 'web/studio'] },
    // One file after the other: its tests use both browsers at once already.
    ...testsIn('tests/browser').map((file) => ({
      name: 'browser',
      title: `browsers: ${basename(file, '.test.mjs')}`,
      ...nodeTests([file]),
      env,
    })),
  ];
  const more = await runStages(web.filter(wanted));

  const passed = total.passed + more.passed;
  const failed = total.failed + more.failed;
  console.log(`\n${passed} passed, ${failed} failed`);
  if (failed > 0) process.exitCode = 1;
});
