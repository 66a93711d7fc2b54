/**
 * What survives a reload: settings, never text of a conversation. Reading checks every field, because what is stored
 * may have been written by another version of this page; writing fails silently where storage is forbidden.
 */

export type Check<T> = (stored: unknown) => T | null;

export function recall<T>(key: string, check: Check<T>, fallback: T): T {
  try {
    const text = localStorage.getItem(`pilotfish.${key}`);
    return text === null ? fallback : (check(JSON.parse(text)) ?? fallback);
  } catch {
    return fallback;
  }
}

export function keep(key: string, value: unknown): void {
  try {
    localStorage.setItem(`pilotfish.${key}`, JSON.stringify(value));
  } catch {
    // Private windows and full disks: the page works without memory.
  }
}

export function fields(stored: unknown): Record<string, unknown> | null {
  return typeof stored === 'object' && stored !== null && !Array.isArray(stored)
    ? (stored as Record<string, unknown>)
    : null;
}

export function numberIn(value: unknown, low: number, high: number, fallback: number): number {
  return typeof value === 'number' && value >= low && value <= high ? value : fallback;
}
