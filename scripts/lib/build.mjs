// The build's steps, in order: npm packages, wasm, the npm package, the page. Each is skipped when it is up to date.

import { existsSync, mkdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync } from 'node:zlib';
import { root } from './paths.mjs';
import { megabytes, Stop, step } from './say.mjs';
import { stamp } from './stamp.mjs';
import { answers, call } from './tools.mjs';

const windows = process.platform === 'win32';
const npm = windows ? 'npm.cmd' : 'npm';
const bin = (/** @type {string} */ name) => join(root, 'node_modules/.bin', windows ? `${name}.cmd` : name);

const rustAdvice =
  'Rust comes from rustup (rustup.rs). Install it, open a new shell so that cargo is on the PATH, and run this again.';

/** Installs what `package-lock.json` names. */
export async function installPackages() {
  const inputs = ['package.json', 'package-lock.json', 'web/package/package.json', 'web/studio/package.json'];
  const mark = stamp('npm', { inputs, outputs: ['node_modules/.package-lock.json'], salt: process.version });
  const line = step('npm packages');
  if (mark.fresh) {
    line.skip('up to date');
    return;
  }
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19)) {
    throw new Stop(`Node ${process.versions.node} is too old`, 'Node 20.19 or newer is needed.');
  }
  await call(npm, ['ci', '--no-audit', '--no-fund'], {
    step: line,
    missing: 'npm comes with Node.js.',
    advice: 'Is this machine online? npm must reach its registry once.',
  });
  mark.keep();
  line.done();
}

/** Makes sure that cargo is there and can compile to wasm. */
export async function prepareRust() {
  if (!answers('cargo')) throw new Stop('cargo was not found', rustAdvice);
  const line = step('rust target wasm32-unknown-unknown');
  const sysroot = (await call('rustc', ['--print', 'sysroot'], { missing: rustAdvice })).trim();
  if (existsSync(join(sysroot, 'lib/rustlib/wasm32-unknown-unknown/lib'))) {
    line.skip('installed');
    return;
  }
  await call('rustup', ['target', 'add', 'wasm32-unknown-unknown'], {
    step: line,
    missing: `The installed Rust has no wasm target, and without rustup none can be added. ${rustAdvice}`,
    advice: 'Is this machine online? rustup must download the target once.',
  });
  line.done();
}

const rustInputs = ['Cargo.toml', 'Cargo.lock', 'crate/pilotfish', 'crate/pilotfish-wasm', 'shaders', 'tools/bindgen'];

/**
 * Compiles the engine: cargo, then wasm-bindgen, then wasm-opt, into `folder`.
 * @param {{ folder: string, features?: string[] }} options `folder` is below the root; `features` of pilotfish-wasm
 */
export async function buildWasm({ folder, features = [] }) {
  const name = ['wasm', ...features].join('-');
  const mark = stamp(name, { inputs: rustInputs, outputs: [`${folder}/pilotfish_bg.wasm`], salt: features.join() });
  const line = step(`engine to wasm${features.length > 0 ? ` (${features.join(', ')})` : ''}`);
  if (mark.fresh) {
    line.skip('up to date');
    return;
  }
  const target = process.env.CARGO_TARGET_DIR ?? join(root, 'target');
  const cargo = ['build', '--package', 'pilotfish-wasm', '--profile', 'wasm', '--target', 'wasm32-unknown-unknown'];
  if (features.length > 0) cargo.push('--features', features.join());
  const advice = 'A first build also downloads crates: is this machine online, and is there disk space (3 GB)?';
  await call('cargo', cargo, { step: line, missing: rustAdvice, advice });
  await call('cargo', ['build', '--package', 'pilotfish-bindgen', '--profile', 'tool'], {
    step: line,
    missing: rustAdvice,
    advice,
  });

  const out = join(root, folder);
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out, { recursive: true });
  line.progress('wasm-bindgen');
  const compiled = join(target, 'wasm32-unknown-unknown/wasm/pilotfish_wasm.wasm');
  await call(join(target, `tool/pilotfish-bindgen${windows ? '.exe' : ''}`), [compiled, out]);
  const wasm = join(out, 'pilotfish_bg.wasm');
  const before = statSync(wasm).size;
  line.progress(`wasm-opt (${megabytes(before)})`);
  // The features are what rustc's wasm32-unknown-unknown turns on by default, which every browser with WebGPU has.
  const enabled = [
    'bulk-memory',
    'nontrapping-float-to-int',
    'sign-ext',
    'mutable-globals',
    'reference-types',
    'multivalue',
  ];
  await call(bin('wasm-opt'), ['-O3', '-Oz', ...enabled.map((f) => `--enable-${f}`), wasm, '-o', wasm], { step: line });
  mark.keep();
  const after = statSync(wasm).size;
  line.done(`${megabytes(before)} -> ${megabytes(after)}`);
}

/** Bytes of a file after brotli at its highest level: what a visitor downloads. @param {string} path below the root */
export function brotliSize(path) {
  return brotliCompressSync(readFileSync(join(root, path))).length;
}

/** Builds the npm package into `web/package/dist`. */
export async function buildPackage() {
  const mark = stamp('package', {
    inputs: ['web/package', 'package-lock.json', '.cache/stamps/wasm'],
    outputs: ['web/package/dist/index.js', 'web/package/dist/wasm/pilotfish_bg.wasm'],
  });
  const line = step('npm package');
  if (mark.fresh) {
    line.skip('up to date');
    return;
  }
  await call(npm, ['run', 'build', '--workspace', 'web/package'], { step: line });
  mark.keep();
  line.done();
}

/** Builds the page into `web/studio/dist`. */
export async function buildPage() {
  const mark = stamp('page', {
    inputs: ['web/studio', 'models/guides/manifest.json', 'package-lock.json', '.cache/stamps/package'],
    outputs: ['web/studio/dist/index.html'],
  });
  const line = step('page');
  if (mark.fresh) {
    line.skip('up to date');
    return;
  }
  await call(npm, ['run', 'build', '--workspace', 'web/studio'], { step: line });
  mark.keep();
  line.done();
}

/** All of it. */
export async function buildAll() {
  await installPackages();
  await prepareRust();
  await buildWasm({ folder: 'web/package/src/wasm' });
  await buildPackage();
  await buildPage();
}
