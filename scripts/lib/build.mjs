// The build's steps, in order: npm packages, wasm, the npm package, the page. Each is skipped when it is up to date.

import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
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

/** Makes sure that cargo is there, can compile to wasm, and has the standard library's source for wasm with threads. */
export async function prepareRust() {
  if (!answers('cargo')) throw new Stop('cargo was not found', rustAdvice);
  const sysroot = (await call('rustc', ['--print', 'sysroot'], { missing: rustAdvice })).trim();
  /** @param {string} what @param {string} path @param {string[]} command */
  const prepare = async (what, path, command) => {
    const line = step(what);
    if (existsSync(join(sysroot, path))) {
      line.skip('installed');
      return;
    }
    await call('rustup', command, {
      step: line,
      missing: `The installed Rust has no ${what}, and without rustup none can be added. ${rustAdvice}`,
      advice: 'Is this machine online? rustup must download it once.',
    });
    line.done();
  };
  const target = 'wasm32-unknown-unknown';
  await prepare(`rust target ${target}`, `lib/rustlib/${target}/lib`, ['target', 'add', target]);
  await prepare('rust source', 'lib/rustlib/src/rust/library/Cargo.lock', ['component', 'add', 'rust-src']);
}

/** Not the tests and examples of the crates: they are in no build. */
const rustInputs = [
  'Cargo.toml',
  'Cargo.lock',
  ...['pilotfish', 'pilotfish-cpu', 'pilotfish-wasm'].flatMap((name) =>
    ['Cargo.toml', 'build.rs', 'src'].map((part) => `crate/${name}/${part}`),
  ),
  'shaders',
  'tools/bindgen',
  'scripts/lib/build.mjs',
];

/**
 * One compilation of the engine.
 * @typedef {{
 *   name: string,
 *   folder: string,
 *   features?: string[],
 *   simd?: boolean,
 *   threads?: boolean,
 * }} WasmBuild `folder` is below the root; `features` of pilotfish-wasm; `simd`: the CPU's kernels, made for speed; `threads`: over shared memory
 */

/** What the package holds: the GPU's engine, which is small, and what is fetched where it does not suit. @type {WasmBuild[]} */
export const wasmBuilds = [
  { name: 'GPU', folder: 'web/package/src/wasm' },
  { name: 'CPU', folder: 'web/package/src/wasm/cpu', features: ['cpu'], simd: true },
  { name: 'CPU, threads', folder: 'web/package/src/wasm/cpu-threads', features: ['cpu'], simd: true, threads: true },
  {
    name: 'CPU, threads, relaxed SIMD',
    folder: 'web/package/src/wasm/cpu-threads-relaxed',
    features: ['cpu', 'relaxed-simd'],
    simd: true,
    threads: true,
  },
];

/** The kernel grid, for the browser tests. @type {WasmBuild} */
export const gridBuild = { name: 'kernel grid', folder: '.cache/wasm-grid', features: ['grid'] };

/** Cargo's arguments and environment for a build. @param {WasmBuild} build */
function cargoFor({ features = [], simd, threads }) {
  const args = ['build', '--package', 'pilotfish-wasm', '--profile', 'wasm', '--target', 'wasm32-unknown-unknown'];
  if (features.length > 0) args.push('--features', features.join());
  // Our own crates for speed, since its kernels are why it is fetched; all others stay small. In these words and not as a profile
  // of its own, so that what runs while compiling is compiled once for all builds.
  if (simd) args.push('--config', 'profile.wasm.opt-level=3', '--config', 'profile.wasm.package."*".opt-level="z"');
  const flags = simd ? ['-Ctarget-feature=+simd128'] : [];
  /** @type {NodeJS.ProcessEnv} */
  const env = {};
  if (threads) {
    // The standard library that rustup ships knows no threads on wasm; its source is compiled with them, which stable Rust does
    // when told that it may.
    args.push('-Z', 'build-std=std,panic_abort');
    env.RUSTC_BOOTSTRAP = '1';
    flags[0] += ',+atomics,+bulk-memory';
    // 4 GiB: all that can be addressed. wasm-bindgen looks for the exports.
    const link = ['--shared-memory', '--import-memory', '--max-memory=4294967296', '--export=__heap_base'];
    for (const name of ['__wasm_init_tls', '__tls_size', '__tls_align', '__tls_base']) link.push(`--export=${name}`);
    flags.push(...link.map((argument) => `-Clink-arg=${argument}`));
  }
  if (flags.length > 0) env.CARGO_ENCODED_RUSTFLAGS = flags.join('\x1f');
  return { args, env };
}

/**
 * Compiles the engine: cargo, then wasm-bindgen, then wasm-opt.
 * @param {WasmBuild} build
 */
async function buildWasm(build) {
  const { name, folder, features = [], simd = false, threads = false } = build;
  const wasm = `${folder}/pilotfish_bg.wasm`;
  const mark = stamp(markOf(build), { inputs: rustInputs, outputs: [wasm] });
  const line = step(`engine to wasm (${name})`);
  if (mark.fresh) {
    line.skip('up to date');
    return;
  }
  const target = process.env.CARGO_TARGET_DIR ?? join(root, 'target');
  const own = threads ? join(target, 'threads') : target;
  const { args, env } = cargoFor(build);
  const advice = 'A first build also downloads crates: is this machine online, and is there disk space (5 GB)?';
  await call('cargo', [...args, '--target-dir', own], { step: line, env, missing: rustAdvice, advice });
  await call('cargo', ['build', '--package', 'pilotfish-bindgen', '--profile', 'tool'], {
    step: line,
    missing: rustAdvice,
    advice,
  });

  const out = join(root, folder);
  mkdirSync(out, { recursive: true });
  for (const old of readdirSync(out).filter((file) => file.startsWith('pilotfish'))) rmSync(join(out, old));
  line.progress('wasm-bindgen');
  const compiled = join(own, 'wasm32-unknown-unknown/wasm/pilotfish_wasm.wasm');
  await call(join(target, `tool/pilotfish-bindgen${windows ? '.exe' : ''}`), [compiled, out]);
  const full = join(root, wasm);
  const before = statSync(full).size;
  line.progress(`wasm-opt (${megabytes(before)})`);
  const enabled = [
    // What rustc's wasm32-unknown-unknown turns on by default, which every browser with WebGPU or SIMD has.
    'bulk-memory',
    'nontrapping-float-to-int',
    'sign-ext',
    'mutable-globals',
    'reference-types',
    'multivalue',
    ...(simd ? ['simd'] : []),
    ...(threads ? ['threads'] : []),
    ...(features.includes('relaxed-simd') ? ['relaxed-simd'] : []),
  ].map((feature) => `--enable-${feature}`);
  // A kernel has one caller; all of them inlined into it are a function of 330 kB, which takes minutes to optimise and runs no faster.
  const how = simd ? ['-Os', '--one-caller-inline-max-function-size=500'] : ['-O3', '-Oz'];
  await call(bin('wasm-opt'), [...how, ...enabled, full, '-o', full], { step: line });
  mark.keep();
  line.done(`${megabytes(before)} -> ${megabytes(statSync(full).size)}, ${megabytes(brotliSize(wasm))} as brotli`);
}

/**
 * Compiles those that are not up to date, in two lanes, since one thread optimises what is linked. Those with threads share nothing
 * with the others, not even the standard library; a target folder of their own keeps each from waiting for the other's.
 * @param {WasmBuild[]} builds
 */
export async function buildWasms(builds) {
  const lanes = [false, true].map(async (wanted) => {
    for (const build of builds.filter(({ threads = false }) => threads === wanted)) await buildWasm(build);
  });
  // One that fails waits for the other: what runs would go on without its line.
  for (const lane of await Promise.allSettled(lanes)) if (lane.status === 'rejected') throw lane.reason;
}

/** The stamp's name. @param {WasmBuild} build */
const markOf = ({ folder }) => `wasm-${folder.replaceAll(/[^a-z]+/g, '-')}`;

/** Bytes of a file after brotli at its highest level: what a visitor downloads. @param {string} path below the root */
export function brotliSize(path) {
  return brotliCompressSync(readFileSync(join(root, path))).length;
}

/** Builds the npm package into `web/package/dist`. */
export async function buildPackage() {
  const mark = stamp('package', {
    inputs: ['web/package', 'package-lock.json', ...wasmBuilds.map((build) => `.cache/stamps/${markOf(build)}`)],
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
  await buildWasms(wasmBuilds);
  await buildPackage();
  await buildPage();
}
