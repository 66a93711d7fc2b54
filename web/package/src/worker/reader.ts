/** A model's bytes as the engine asks for them: bounded pieces of a blob, wherever the browser keeps it. */

import { PilotfishError } from '../errors.js';
import { turn } from './turn.js';

/** What the engine calls: `size` in bytes, `read` answers exactly `length` bytes from `offset`. */
export interface ByteSource {
  readonly size: number;
  read(offset: number, length: number): Promise<Uint8Array>;
}

/** Longest time in ms that reading keeps the worker from hearing an abort. */
const deafFor = 30;

export function blobReader(blob: Blob, onRead?: (bytes: number) => void): ByteSource {
  let heardAt = performance.now();
  return {
    size: blob.size,
    async read(offset, length) {
      if (!(offset >= 0 && length >= 0 && offset + length <= blob.size)) {
        const asked = `${length} bytes at ${offset}`;
        throw new PilotfishError('source.unreadable', `asked for ${asked} of a file of ${blob.size} bytes`);
      }
      if (performance.now() - heardAt > deafFor) {
        await turn();
        heardAt = performance.now();
      }
      try {
        const bytes = new Uint8Array(await blob.slice(offset, offset + length).arrayBuffer());
        onRead?.(bytes.length);
        return bytes;
      } catch (cause) {
        const message = cause instanceof Error ? cause.message : String(cause);
        throw new PilotfishError(
          'source.unreadable',
          `the file could not be read at byte ${offset}: ${message}. Was it changed or moved? Choose it again.`,
          { cause },
        );
      }
    },
  };
}
