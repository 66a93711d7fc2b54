import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { parseRange, serve } from '../../scripts/lib/serve.mjs';

const folder = mkdtempSync(join(tmpdir(), 'pilotfish-serve-'));
mkdirSync(join(folder, 'site'));
mkdirSync(join(folder, 'models'));
writeFileSync(join(folder, 'site/index.html'), '<!doctype html>');
writeFileSync(join(folder, 'site/app.wasm'), Buffer.from([0, 97, 115, 109]));
writeFileSync(join(folder, 'models/one.gguf'), '0123456789');
writeFileSync(join(folder, 'models/private.txt'), 'not listed');
writeFileSync(join(folder, 'secret.txt'), 'outside');
symlinkSync(join(folder, 'secret.txt'), join(folder, 'site/link.txt'));

/** @type {Awaited<ReturnType<typeof serve>>} */
let server;
before(async () => {
  server = await serve({
    port: 0,
    mounts: [
      { at: '/models/', folder: join(folder, 'models'), only: (name) => name === 'one.gguf' },
      { at: '/', folder: join(folder, 'site') },
    ],
  });
});
after(async () => {
  await server.close();
  rmSync(folder, { recursive: true });
});

/** @param {string} path @param {Record<string, string>} [headers] */
const get = (path, headers = {}) => fetch(`${server.address}${path}`, { headers });

/** An address sent as it is: `fetch` would tidy it. @param {string} path @returns {Promise<number | undefined>} */
const rawStatus = (path) =>
  new Promise((resolve, reject) => {
    const call = request({ port: server.port, path }, (response) => {
      response.resume();
      resolve(response.statusCode);
    });
    call.on('error', reject).end();
  });

describe('parseRange', () => {
  it('reads what RFC 9110 allows for one range', () => {
    assert.deepEqual(parseRange('bytes=0-3', 10), { from: 0, to: 3 });
    assert.deepEqual(parseRange('bytes=4-', 10), { from: 4, to: 9 });
    assert.deepEqual(parseRange('bytes=-3', 10), { from: 7, to: 9 });
    assert.deepEqual(parseRange('bytes=-30', 10), { from: 0, to: 9 });
    assert.deepEqual(parseRange('bytes=8-99', 10), { from: 8, to: 9 });
  });

  it('tells what cannot be satisfied from what is ignored', () => {
    assert.equal(parseRange('bytes=10-', 10), null);
    assert.equal(parseRange('bytes=-0', 10), null);
    for (const ignored of [undefined, 'bytes=5-4', 'bytes=0-1,3-4', 'bytes=-', 'lines=1-2']) {
      assert.equal(parseRange(ignored, 10), undefined);
    }
  });
});

describe('the server', () => {
  it('isolates the page from other origins and names the types', async () => {
    const page = await get('');
    assert.equal(page.headers.get('Content-Type'), 'text/html; charset=utf-8');
    assert.equal(page.headers.get('Cross-Origin-Opener-Policy'), 'same-origin');
    assert.equal(page.headers.get('Cross-Origin-Embedder-Policy'), 'require-corp');
    assert.equal((await get('app.wasm')).headers.get('Content-Type'), 'application/wasm');
  });

  it('isolates nothing where it is told so, as most sites are', async () => {
    const open = await serve({ port: 0, isolated: false, mounts: [{ at: '/', folder: join(folder, 'site') }] });
    const { headers } = await fetch(open.address);
    await open.close();
    assert.equal(headers.get('Cross-Origin-Opener-Policy'), null);
    assert.equal(headers.get('Cross-Origin-Embedder-Policy'), null);
    assert.equal(headers.get('X-Content-Type-Options'), 'nosniff');
  });

  it('answers ranges, guarded by If-Range', async () => {
    const whole = await get('models/one.gguf');
    assert.equal(whole.status, 200);
    const etag = whole.headers.get('ETag') ?? '';
    const part = await get('models/one.gguf', { Range: 'bytes=4-', 'If-Range': etag });
    assert.equal(part.status, 206);
    assert.equal(part.headers.get('Content-Range'), 'bytes 4-9/10');
    assert.equal(await part.text(), '456789');
    const changed = await get('models/one.gguf', { Range: 'bytes=4-', 'If-Range': '"another"' });
    assert.equal(changed.status, 200);
    assert.equal(await changed.text(), '0123456789');
    const beyond = await get('models/one.gguf', { Range: 'bytes=10-' });
    assert.equal(beyond.status, 416);
    assert.equal(beyond.headers.get('Content-Range'), 'bytes */10');
  });

  it('says that a file has not changed', async () => {
    const etag = (await get('app.wasm')).headers.get('ETag') ?? '';
    assert.equal((await get('app.wasm', { 'If-None-Match': etag })).status, 304);
  });

  it('serves nothing outside its folders', async () => {
    assert.equal((await get('models/private.txt')).status, 404);
    assert.equal((await get('link.txt')).status, 404);
    for (const path of ['/../secret.txt', '/%2e%2e/secret.txt', '/..%2fsecret.txt', '/%00', '/%zz', '/models/']) {
      assert.equal(await rawStatus(path), 404, path);
    }
  });

  it('allows reading only', async () => {
    const response = await fetch(server.address, { method: 'POST' });
    assert.equal(response.status, 405);
  });
});
