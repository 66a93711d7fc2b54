// A small static server with what the page needs: cross-origin isolation, ranges (a cut download resumes), right types.

import { createReadStream, existsSync, realpathSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join, sep } from 'node:path';
import { Stop } from './say.mjs';

/** @type {Record<string, string>} */
const types = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.mjs': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.json': 'application/json; charset=utf-8',
  '.jsonl': 'application/jsonl; charset=utf-8',
  '.map': 'application/json; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.ico': 'image/x-icon',
  '.webmanifest': 'application/manifest+json',
  '.woff2': 'font/woff2',
  '.wasm': 'application/wasm',
  '.gguf': 'application/octet-stream',
  '.txt': 'text/plain; charset=utf-8',
};

const always = { 'X-Content-Type-Options': 'nosniff' };

/** What makes `crossOriginIsolated` true, and keeps it true for what the page loads from here. */
const isolation = {
  ...always,
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
  'Cross-Origin-Resource-Policy': 'same-origin',
};

/** @typedef {{ at: string, folder: string, only?: (name: string) => boolean }} Mount
 *   `at` is the address's beginning ("/" or "/models/"); `only` admits names below it (all when left out) */

/**
 * The file that an address means, or null. Nothing outside a mount's folder is ever served, links included.
 * @param {Mount[]} mounts
 * @param {string} address path of the address, still percent-encoded
 */
function locate(mounts, address) {
  let path;
  try {
    path = decodeURIComponent(address);
  } catch {
    return null;
  }
  if (path.includes('\0')) return null;
  for (const { at, folder, only } of mounts) {
    if (!path.startsWith(at)) continue;
    let name = path.slice(at.length);
    if (name === '' || name.endsWith('/')) name += 'index.html';
    if (only?.(name) === false) continue;
    const full = join(folder, name);
    if (!existsSync(full) || !statSync(full).isFile()) continue;
    if (realpathSync(full).startsWith(realpathSync(folder) + sep)) return full;
  }
  return null;
}

/**
 * One range of a file, by RFC 9110 section 14: `undefined` for the whole file (no range, or one we may ignore), `null` for
 * one that cannot be satisfied.
 * @param {string | undefined} header
 * @param {number} size
 * @returns {{ from: number, to: number } | null | undefined} `to` is inclusive
 */
export function parseRange(header, size) {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header?.trim() ?? '');
  if (match === null) return undefined;
  const [, first = '', last = ''] = match;
  if (first === '' && last === '') return undefined;
  if (first === '') {
    const length = Math.min(Number(last), size);
    return length === 0 ? null : { from: size - length, to: size - 1 };
  }
  const from = Number(first);
  const to = last === '' ? size - 1 : Math.min(Number(last), size - 1);
  if (last !== '' && Number(last) < from) return undefined;
  return from >= size ? null : { from, to };
}

/**
 * @param {Mount[]} mounts looked at in order
 * @param {{ isolated?: boolean }} [options] most sites are not isolated, and tests want to be as they are
 * @returns {import('node:http').RequestListener}
 */
export function handler(mounts, { isolated = true } = {}) {
  const policy = isolated ? isolation : always;
  return (request, response) => {
    const path = (request.url ?? '/').split(/[?#]/, 1)[0] ?? '/';
    /** @param {number} status @param {string} text @param {Record<string, string>} [headers] */
    const refuse = (status, text, headers = {}) => {
      response.writeHead(status, { ...policy, 'Content-Type': 'text/plain; charset=utf-8', ...headers });
      response.end(`${text}\n`);
    };
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      refuse(405, 'only GET and HEAD', { Allow: 'GET, HEAD' });
      return;
    }
    const file = locate(mounts, path);
    if (file === null) {
      refuse(404, `nothing at ${path}`);
      return;
    }
    const { size, mtimeMs, mtime } = statSync(file);
    const etag = `"${size.toString(16)}-${Math.round(mtimeMs).toString(16)}"`;
    // A bundler puts a hash of the content into an asset's name; everything else is asked for again.
    const hashed = /-[A-Za-z0-9_-]{8,}\.(js|css|wasm|woff2|svg|png)$/.test(file);
    /** @type {Record<string, string | number>} */
    const headers = {
      ...policy,
      'Content-Type': types[extname(file)] ?? 'application/octet-stream',
      'Cache-Control': hashed ? 'public, max-age=31536000, immutable' : 'no-cache',
      'Accept-Ranges': 'bytes',
      'Last-Modified': mtime.toUTCString(),
      ETag: etag,
    };
    if (request.headers['if-none-match'] === etag) {
      response.writeHead(304, headers).end();
      return;
    }
    const guard = request.headers['if-range'];
    const unchanged = guard === undefined || guard === etag || guard === headers['Last-Modified'];
    const range = unchanged ? parseRange(request.headers.range, size) : undefined;
    if (range === null) {
      refuse(416, `the file has ${size} bytes`, { 'Content-Range': `bytes */${size}` });
      return;
    }
    const { from, to } = range ?? { from: 0, to: size - 1 };
    headers['Content-Length'] = to - from + 1;
    if (range !== undefined) headers['Content-Range'] = `bytes ${from}-${to}/${size}`;
    response.writeHead(range === undefined ? 200 : 206, headers);
    if (request.method === 'HEAD' || size === 0) {
      response.end();
      return;
    }
    const stream = createReadStream(file, { start: from, end: to, highWaterMark: 1 << 18 });
    stream.on('error', () => response.destroy());
    response.on('close', () => stream.destroy());
    stream.pipe(response);
  };
}

/**
 * Starts a server; a busy port is stepped over unless it was asked for.
 * @param {{ mounts: Mount[], host?: string, port?: number, isolated?: boolean }} options `port` 0 takes any free one
 * @returns {Promise<{ address: string, port: number, close(): Promise<void> }>}
 */
export async function serve({ mounts, host = '127.0.0.1', port, isolated = true }) {
  const server = createServer(handler(mounts, { isolated }));
  const listen = (/** @type {number} */ at) =>
    new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen(at, host, () => {
        server.off('error', reject);
        resolve(undefined);
      });
    });
  for (let at = port ?? 5173, tries = 0; ; at += 1, tries += 1) {
    try {
      await listen(at);
      break;
    } catch (error) {
      const code = /** @type {NodeJS.ErrnoException} */ (error).code;
      if (code === 'EADDRINUSE' && port === undefined && tries < 20) continue;
      if (code === 'EADDRINUSE') throw new Stop(`port ${at} is in use`, 'Choose another with --port N.');
      if (code === 'EADDRNOTAVAIL') throw new Stop(`${host} is not an address of this machine`, 'See --host.');
      if (code === 'EACCES') throw new Stop(`port ${at} is not allowed`, 'Choose one above 1023 with --port N.');
      throw error;
    }
  }
  const bound = /** @type {import('node:net').AddressInfo} */ (server.address()).port;
  return {
    address: `http://${host === '127.0.0.1' || host === '0.0.0.0' || host === '::' ? 'localhost' : host}:${bound}/`,
    port: bound,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
