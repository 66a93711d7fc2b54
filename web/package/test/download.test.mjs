// Downloads from a real server that cuts connections, changes its file, and answers as servers do.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { after, before, beforeEach, describe, it } from 'node:test';
import { source } from './source.mjs';

const { download, keyOf, MemoryStore, PilotfishError } = await source({
  download: 'cache/download.ts',
  keyOf: 'cache/store.ts',
  MemoryStore: 'cache/memory.ts',
  PilotfishError: 'errors.ts',
});

const content = randomBytes(3_000_000);
const other = randomBytes(2_500_000);
const sha256 = (/** @type {Buffer} */ bytes) => createHash('sha256').update(bytes).digest('hex');

/**
 * How the server behaves in a test.
 * @type {{ body: Buffer, etag: string | null, lastModified: string | null, ranges: boolean, cutAfter: number[],
 *   statuses: number[], length: boolean, holdAfter: number | null }}
 */
let way;
/** @type {{ range: string | undefined, ifRange: string | string[] | undefined }[]} */
let asked;
let served = 0;
/** @type {any} */
let store;
let url = '';

const server = createServer((request, response) => {
  asked.push({ range: request.headers.range, ifRange: request.headers['if-range'] });
  const status = way.statuses.shift();
  if (status !== undefined) {
    response.writeHead(status).end();
    return;
  }
  const { body, etag, lastModified } = way;
  /** @type {Record<string, string | number>} */
  const headers = {};
  if (etag !== null) headers.ETag = etag;
  if (lastModified !== null) headers['Last-Modified'] = lastModified;
  const guard = request.headers['if-range'];
  const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
  const partial = way.ranges && from > 0 && (guard === undefined || guard === etag || guard === lastModified);
  if (partial && from >= body.length) {
    response.writeHead(416, { 'Content-Range': `bytes */${body.length}` }).end();
    return;
  }
  const rest = partial ? body.subarray(from) : body;
  if (partial) headers['Content-Range'] = `bytes ${from}-${body.length - 1}/${body.length}`;
  if (way.length) headers['Content-Length'] = rest.length;
  response.writeHead(partial ? 206 : 200, headers);
  const cut = way.cutAfter.shift();
  if (cut !== undefined && cut < rest.length) {
    served += cut;
    response.write(rest.subarray(0, cut), () => setTimeout(() => response.destroy(), 50));
    return;
  }
  if (way.holdAfter !== null) {
    response.write(rest.subarray(0, way.holdAfter));
    return;
  }
  served += rest.length;
  response.end(rest);
});

before(() => new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(undefined))));
after(() => {
  server.closeAllConnections();
  server.close();
});
beforeEach(() => {
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  url = `http://127.0.0.1:${port}/model.gguf`;
  way = {
    body: content,
    etag: '"one"',
    lastModified: null,
    ranges: true,
    cutAfter: [],
    statuses: [],
    length: true,
    holdAfter: null,
  };
  asked = [];
  served = 0;
  store = new MemoryStore();
});

const fast = { pauses: [1, 1, 1] };
const bytesOf = async (/** @type {Blob} */ blob) => Buffer.from(await blob.arrayBuffer());
const refusal =
  (/** @type {string} */ code, /** @type {RegExp} */ message = /./) =>
  (/** @type {any} */ error) => {
    assert.ok(error instanceof PilotfishError, String(error));
    assert.equal(error.code, code);
    assert.match(error.message, message);
    return true;
  };

describe('download', () => {
  it('stores the whole file, knows its hash, and asks no second time', async () => {
    const seen = /** @type {number[]} */ ([]);
    const onProgress = (/** @type {string} */ _phase, /** @type {number} */ done) => seen.push(done);
    assert.deepEqual(await bytesOf(await download(store, url, { ...fast, onProgress })), content);
    assert.equal(seen.at(-1), content.length);
    const meta = await store.meta(await keyOf(url));
    assert.equal(meta.complete, true);
    assert.equal(meta.sha256, sha256(content));
    await download(store, url, { ...fast, sha256: sha256(content) });
    assert.equal(asked.length, 1);
  });

  it('goes on where a cut connection stopped, as often as it is cut', async () => {
    way.cutAfter = [1_000_000, 1, 700_000];
    assert.deepEqual(await bytesOf(await download(store, url, { ...fast, sha256: sha256(content) })), content);
    assert.equal(asked.length, 4);
    assert.deepEqual(asked[1], { range: 'bytes=1000000-', ifRange: '"one"' });
    assert.deepEqual(asked[3], { range: 'bytes=1700001-', ifRange: '"one"' });
    assert.equal(served, content.length);
  });

  it('gives up after so many tries without a byte, and a later call resumes', async () => {
    way.cutAfter = [1_200_000, 0, 0, 0, 0];
    await assert.rejects(download(store, url, fast), refusal('download.interrupted', /cut at byte 1200000/));
    assert.equal((await store.meta(await keyOf(url))).complete, false);
    way.cutAfter = [];
    asked = [];
    assert.deepEqual(await bytesOf(await download(store, url, fast)), content);
    assert.deepEqual(asked, [{ range: 'bytes=1200000-', ifRange: '"one"' }]);
    assert.equal((await store.meta(await keyOf(url))).sha256, sha256(content), 'the kept beginning is hashed too');
  });

  it('never joins two versions of a file (ETag)', async () => {
    way.cutAfter = [1_200_000];
    await assert.rejects(download(store, url, { pauses: [] }), refusal('download.interrupted'));
    Object.assign(way, { body: other, etag: '"two"' });
    assert.deepEqual(await bytesOf(await download(store, url, fast)), other);
  });

  it('never joins two versions of a file (date)', async () => {
    Object.assign(way, { etag: null, lastModified: 'Sun, 01 Nov 2026 10:00:00 GMT', cutAfter: [1_200_000] });
    await assert.rejects(download(store, url, { pauses: [] }), refusal('download.interrupted'));
    Object.assign(way, { body: other, lastModified: 'Mon, 02 Nov 2026 10:00:00 GMT' });
    assert.deepEqual(await bytesOf(await download(store, url, fast)), other);
    assert.equal(asked[1]?.ifRange, 'Sun, 01 Nov 2026 10:00:00 GMT');
  });

  it('starts anew where nothing tells versions apart', async () => {
    Object.assign(way, { etag: 'W/"weak"', cutAfter: [1_200_000] });
    await assert.rejects(download(store, url, { pauses: [] }), refusal('download.interrupted'));
    assert.deepEqual(await bytesOf(await download(store, url, fast)), content);
    assert.equal(asked[1]?.range, undefined);
  });

  it('lets the expected hash stand in for a version', async () => {
    Object.assign(way, { etag: null, cutAfter: [1_200_000] });
    await assert.rejects(
      download(store, url, { pauses: [], sha256: sha256(content) }),
      refusal('download.interrupted'),
    );
    assert.deepEqual(await bytesOf(await download(store, url, { ...fast, sha256: sha256(content) })), content);
    assert.deepEqual(asked[1], { range: 'bytes=1200000-', ifRange: undefined });
  });

  it('takes a whole answer from a server without ranges', async () => {
    Object.assign(way, { ranges: false, cutAfter: [1_200_000] });
    assert.deepEqual(await bytesOf(await download(store, url, fast)), content);
    assert.equal(asked.length, 2);
  });

  it('takes an answer of unknown length', async () => {
    way.length = false;
    assert.deepEqual(await bytesOf(await download(store, url, fast)), content);
  });

  it('removes wrong content and says so', async () => {
    const wanted = { ...fast, sha256: sha256(other) };
    await assert.rejects(download(store, url, wanted), refusal('download.hash_mismatch', /was removed/));
    assert.equal(await store.size(await keyOf(url)), 0);
    assert.equal(await store.meta(await keyOf(url)), undefined);
  });

  it('fetches again when another content is wanted than the cached one', async () => {
    await download(store, url, fast);
    Object.assign(way, { body: other, etag: '"two"' });
    assert.deepEqual(await bytesOf(await download(store, url, { ...fast, sha256: sha256(other) })), other);
  });

  it('refuses at once what the server refuses, and tries again what may pass', async () => {
    way.statuses = [404];
    await assert.rejects(download(store, url, fast), refusal('download.http', /answered 404/));
    assert.equal(asked.length, 1);
    way.statuses = [503, 429];
    assert.deepEqual(await bytesOf(await download(store, url, fast)), content);
    assert.equal(asked.length, 4);
  });

  it('says so when nobody answers', async () => {
    const nowhere = 'http://127.0.0.1:9/model.gguf';
    await assert.rejects(download(store, nowhere, fast), refusal('download.interrupted', /could not be downloaded/));
  });

  it('stops at an abort, keeps what arrived, and resumes', async () => {
    way.holdAfter = 900_000;
    const abort = new AbortController();
    const onProgress = (/** @type {string} */ _phase, /** @type {number} */ done) => {
      if (done === 900_000) abort.abort();
    };
    const cut = download(store, url, { ...fast, signal: abort.signal, onProgress });
    await assert.rejects(cut, { name: 'AbortError' });
    way.holdAfter = null;
    assert.deepEqual(await bytesOf(await download(store, url, fast)), content);
    assert.equal(asked[1]?.range, 'bytes=900000-');
  });

  it('stops at an abort while it waits for the next try', async () => {
    way.statuses = [503, 503, 503];
    const abort = new AbortController();
    setTimeout(() => abort.abort(), 30);
    await assert.rejects(download(store, url, { pauses: [60_000], signal: abort.signal }), { name: 'AbortError' });
  });

  it('knows a file that was whole but not yet marked so', async () => {
    await download(store, url, fast);
    const key = await keyOf(url);
    await store.setMeta(key, { ...(await store.meta(key)), complete: false, sha256: null });
    assert.deepEqual(await bytesOf(await download(store, url, fast)), content);
    assert.deepEqual(asked[1], { range: `bytes=${content.length}-`, ifRange: '"one"' });
    assert.equal((await store.meta(key)).sha256, sha256(content));
  });

  describe('from another origin', () => {
    before(() => Object.assign(globalThis, { location: { origin: 'http://page.test' } }));
    after(() => Reflect.deleteProperty(globalThis, 'location'));

    it('sends no If-Range, which would need a preflight, and compares what the answer says', async () => {
      way.cutAfter = [1_200_000];
      await assert.rejects(download(store, url, { pauses: [] }), refusal('download.interrupted'));
      Object.assign(way, { body: other, etag: '"two"' });
      assert.deepEqual(await bytesOf(await download(store, url, fast)), other);
      assert.deepEqual(asked[1], { range: 'bytes=1200000-', ifRange: undefined });
      assert.equal(asked[2]?.range, undefined);
    });
  });
});
