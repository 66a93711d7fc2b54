// npm test [-- STAGE...]: everything from an empty machine: tools, browsers and models are installed, then all checks run.
// A failed check does not hide the others; the last line counts them. With names, only those stages run: `npm test -- rust`.

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { buildPackage, buildPage, buildWasm, installPackages, prepareRust } from './lib/build.mjs';
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

/** @param {string} folder @param {string[]} [options] */
const nodeTests = (folder, options = []) => ({
  program: process.execPath,
  args: ['--test', '--test-reporter=spec', ...options, ...testsIn(folder)],
});

// Two browsers at once on two cores only make both slow.
const oneAtATime = ['--test-concurrency=1'];

await run(async () => {
  const only = process.argv.slice(2);
  const wanted = (/** @type {{ name: string }} */ { name }) => only.length === 0 || only.includes(name);

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
    { name: 'rust', title: 'engine and CLI', program: 'cargo', args: ['test', '--no-fail-fast'], env },
    { name: 'scripts', title: 'scripts', ...nodeTests('tests/scripts') },
  ];
  const total = await runStages(rust.filter(wanted));

  await buildWasm({ folder: 'web/package/src/wasm' });
  await buildPackage();
  await buildPage();
  /** @type {import('./lib/stages.mjs').Stage[]} */
  const web = [
    { name: 'package', title: 'package', ...nodeTests('web/package/test') },
    { name: 'studio', title: 'types of the page', program: npm, args: ['run', 'check', '-w', 'web/studio'] },
    { name: 'studio', title: 'page', program: npm, args: ['test', '-w', 'web/studio'] },
  ];
  // On emulated GPUs the kernel grid alone takes longer than everything else together: it runs when it is asked for by name.
  if (only.includes('browser')) {
    await buildWasm({ folder: '.cache/wasm-grid', features: ['grid'] });
    web.push({ name: 'browser', title: 'browsers', ...nodeTests('tests/browser', oneAtATime), env });
  }
  const more = await runStages(web.filter(wanted));

  const passed = total.passed + more.passed;
  const failed = total.failed + more.failed;
  console.log(`\n${passed} passed, ${failed} failed`);
  if (failed > 0) process.exitCode = 1;
  if (passed + failed === 0) throw new Stop(`no stage is named ${only.join(' or ')}`);
});
