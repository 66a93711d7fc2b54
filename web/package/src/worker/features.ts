/** What this browser's WebAssembly can do, found by trying. */

/** `(func (result v128) (i8x16.popcnt (i8x16.splat (i32.const 0))))` */
const simdModule = [
  ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
  ...[0x01, 0x05, 0x01, 0x60, 0x00, 0x01, 0x7b, 0x03, 0x02, 0x01, 0x00],
  ...[0x0a, 0x0a, 0x01, 0x08, 0x00, 0x41, 0x00, 0xfd, 0x0f, 0xfd, 0x62, 0x0b],
];

/** `d(x, w, sum)`: lane 0 of `i32x4.relaxed_dot_i8x16_i7x16_add_s` of each as `i32x4.splat` makes it. */
const relaxedModule = [
  ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
  ...[0x01, 0x08, 0x01, 0x60, 0x03, 0x7f, 0x7f, 0x7f, 0x01, 0x7f, 0x03, 0x02, 0x01, 0x00],
  ...[0x07, 0x05, 0x01, 0x01, 0x64, 0x00, 0x00],
  ...[0x0a, 0x16, 0x01, 0x14, 0x00, 0x20, 0x00, 0xfd, 0x11, 0x20, 0x01, 0xfd, 0x11, 0x20, 0x02, 0xfd, 0x11],
  ...[0xfd, 0x93, 0x02, 0xfd, 0x1b, 0x00, 0x0b],
];

export function hasSimd(): boolean {
  return WebAssembly.validate(Uint8Array.from(simdModule));
}

/** Signed activations and levels of six bits, as the kernels multiply them. */
const dots: readonly (readonly [x: readonly number[], w: readonly number[], sum: number])[] = [
  [[-127, 127, -1, 3], [63, 31, 15, 1], 7],
  [[127, 127, 127, 127], [63, 63, 63, 63], 0],
  [[-128, -128, -128, -128], [63, 63, 63, 63], -100_000],
];

/**
 * Whether relaxed SIMD is there and its 8-bit dot product is right: V8 11.3, behind a flag, validates it and multiplies wrongly
 * (found 2026-11-24 in Node 20).
 */
export function hasRelaxedSimd(): boolean {
  const bytes = Uint8Array.from(relaxedModule);
  if (!WebAssembly.validate(bytes)) return false;
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes));
  const dot = exports.d as (x: number, w: number, sum: number) => number;
  return dots.every(([x, w, sum]) => {
    const expected = x.reduce((total, one, at) => total + one * (w[at] ?? 0), sum);
    return dot(word(x), word(w), sum) === expected;
  });
}

/** Four bytes as one word, the first lowest. */
function word(bytes: readonly number[]): number {
  return new DataView(Int8Array.from(bytes).buffer).getInt32(0, true);
}

/** Pages of 64 KiB that a memory begins with: room for the program and its stack. */
const firstPages = 512;
/** 4 GiB, and less where a device cannot set aside so many addresses. */
const mostPages = [65_536, 32_768, 16_384, 8_192];

/** The largest shared memory that the browser makes, or null where it makes none. Only an isolated page may give it to threads. */
export function sharedMemory(): { readonly memory: WebAssembly.Memory; readonly limit: number } | null {
  for (const maximum of mostPages) {
    try {
      const memory = new WebAssembly.Memory({ initial: firstPages, maximum, shared: true });
      return { memory, limit: maximum * 65_536 };
    } catch {
      // Too large, or not allowed: the next, smaller one tells.
    }
  }
  return null;
}
