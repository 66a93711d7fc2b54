/**
 * Every failure of this package is a `PilotfishError` with a stable `code`; only an abort is the platform's own
 * (`signal.reason`, as `fetch` does it).
 *
 * Codes made here are listed below; codes made by the engine (`gguf.*`, `arch.*`, `tokenizer.*`, `gpu.*`, `session.*`, ...)
 * pass through as they are.
 */
export type ErrorCode =
  /** The GPU was asked for, and the browser offers no WebGPU, or no adapter. */
  | 'gpu.unavailable'
  /** The browser's WebAssembly has no SIMD, which the CPU backend needs. */
  | 'cpu.no_simd'
  /** The model does not fit the memory that WebAssembly can have here. */
  | 'cpu.too_large'
  /** The engine panicked: a bug. The instance is closed; open a new one. */
  | 'internal'
  /** The worker died or could not be started. The instance is closed; open a new one. */
  | 'worker.crashed'
  /** Used after `close()` or `dispose()`. */
  | 'closed'
  /** An argument of a wrong kind, or options that contradict each other. */
  | 'argument.invalid'
  /** The server refused: the message has its status. */
  | 'download.http'
  /** The connection was cut, again and again without a byte in between. What arrived is kept; loading again resumes. */
  | 'download.interrupted'
  /** The content does not have the `sha256` that was asked for. The cached file was removed. */
  | 'download.hash_mismatch'
  /** A file or blob does not have the `sha256` that was asked for. */
  | 'source.hash_mismatch'
  /** A file could not be read: it changed, moved, or permission was withdrawn. */
  | 'source.unreadable'
  /** A scorer threw; what it threw is the `cause`. */
  | 'method.scorer'
  /** A scorer gave too few or too many numbers, one that is not finite, or something else. */
  | 'method.score'
  /** The next turn needs other rows than the session has: make a new session. */
  | 'session.other_rows'
  /** The pool of keys and values has no room left: ask for a larger `poolLength`, or dispose of a fork. */
  | 'session.pool_full'
  /** The browser grants this site no more storage. */
  | 'cache.full'
  /** The browser's private storage failed. */
  | 'cache.failed'
  | (string & {});

/** What this package throws and rejects with. */
export class PilotfishError extends Error {
  override readonly name = 'PilotfishError';
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** An error as it crosses between threads: structured cloning keeps neither classes nor codes. */
export interface PlainError {
  readonly code: string;
  readonly message: string;
  readonly cause?: string;
}

export function toPlain(thrown: unknown): PlainError {
  if (!(thrown instanceof Error)) return { code: 'internal', message: `thrown: ${String(thrown)}` };
  const code = 'code' in thrown && typeof thrown.code === 'string' ? thrown.code : 'internal';
  const message = thrown.name === 'PilotfishError' ? thrown.message : `${thrown.name}: ${thrown.message}`;
  return thrown.cause === undefined ? { code, message } : { code, message, cause: String(thrown.cause) };
}

export function fromPlain(plain: PlainError): PilotfishError {
  return new PilotfishError(plain.code, plain.message, plain.cause === undefined ? undefined : { cause: plain.cause });
}
