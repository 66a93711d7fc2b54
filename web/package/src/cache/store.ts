/** Where downloaded bytes lie. One file per backend; what a download means is `download.ts`'s business. */

/** What is known about a stored file beside its bytes. */
export interface Meta {
  readonly url: string;
  /** Of the whole file as the server said it, null while unknown. */
  readonly size: number | null;
  /** A strong ETag, or null. */
  readonly etag: string | null;
  readonly lastModified: string | null;
  /** Of the whole content; known once complete. */
  readonly sha256: string | null;
  readonly complete: boolean;
  /** Milliseconds since 1970. */
  readonly addedAt: number;
}

/** Appends to one file. Only one writer per key exists at a time. */
export interface Writer {
  /** Bytes there. */
  readonly size: number;
  append(chunk: Uint8Array): Promise<void>;
  /** Forgets all bytes. */
  clear(): Promise<void>;
  close(): Promise<void>;
}

export interface Store {
  keys(): Promise<string[]>;
  meta(key: string): Promise<Meta | undefined>;
  setMeta(key: string, meta: Meta): Promise<void>;
  /** Bytes there; 0 when there is no such file. */
  size(key: string): Promise<number>;
  write(key: string): Promise<Writer>;
  /** The bytes, to be read piece by piece. */
  read(key: string): Promise<Blob>;
  /** Removes file and meta; false when there was neither. */
  remove(key: string): Promise<boolean>;
}

/** The key of an address: a name that any file system takes. */
export async function keyOf(url: string): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(url));
  return Array.from(new Uint8Array(digest, 0, 16), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
