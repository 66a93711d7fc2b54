/** What a source of bytes is to the worker, and what is asked of a load. */

import { PilotfishError } from './errors.js';
import type { WireSource } from './protocol.js';
import type { LoadOptions, Source } from './types.js';

/** @throws PilotfishError `argument.invalid` for a hash that is none */
export function loadParams({ sha256, cache = true }: LoadOptions): { cache: boolean; sha256?: string } {
  if (sha256 === undefined) return { cache };
  if (!/^[0-9a-fA-F]{64}$/.test(sha256)) {
    throw new PilotfishError('argument.invalid', `sha256 must be 64 hex digits, found ${JSON.stringify(sha256)}`);
  }
  return { cache, sha256: sha256.toLowerCase() };
}

/** @throws PilotfishError `argument.invalid` for what is no source */
export function wireSource(source: Source): WireSource {
  if (typeof source === 'string' || source instanceof URL) return { url: absolute(source) };
  if (source instanceof Blob) return { blob: source };
  // A blob crosses to the worker by reference, an array would be copied once more.
  if (source instanceof ArrayBuffer) return { blob: new Blob([source]) };
  if (source instanceof Uint8Array) return { blob: new Blob([source as Uint8Array<ArrayBuffer>]) };
  if (typeof FileSystemFileHandle !== 'undefined' && source instanceof FileSystemFileHandle) return { file: source };
  throw new PilotfishError(
    'argument.invalid',
    'a source is a URL, a File or Blob, an ArrayBuffer or Uint8Array, or a FileSystemFileHandle',
  );
}

/** @throws PilotfishError `argument.invalid` for what is no address */
export function absolute(url: string | URL): string {
  const base = typeof document === 'undefined' ? location.href : document.baseURI;
  try {
    return new URL(url, base).href;
  } catch (cause) {
    throw new PilotfishError('argument.invalid', `not a URL: ${String(url)}`, { cause });
  }
}
