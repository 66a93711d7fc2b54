/** What computes, in words. */

import type { Backend, EngineInfo } from '../engine/port';

export const BACKENDS: readonly { readonly value: Backend; readonly label: string }[] = [
  { value: 'auto', label: 'Whichever is faster' },
  { value: 'gpu', label: 'The GPU' },
  { value: 'cpu', label: 'The CPU' },
];

/** A GPU by its name, the CPU by its threads. */
export function processorName({ backend, adapter, cpu }: EngineInfo): string {
  if (backend === 'cpu' && cpu) return `CPU, ${cpu.threads} ${cpu.threads === 1 ? 'thread' : 'threads'}`;
  if (adapter) return adapter.description || [adapter.vendor, adapter.architecture].join(' ').trim() || 'GPU';
  return '';
}

/** How it computes. */
export function processorDetail({ backend, matvec, cpu }: EngineInfo): string {
  if (backend === 'cpu' && cpu) return `${cpu.instructions}, ${cpu.precision === 'fast' ? '8-bit activations' : 'f32'}`;
  return matvec === '' ? '' : `matvec ${matvec}`;
}

/** A sentence as a line of its own. */
export function asSentence(why: string): string {
  return why === '' ? '' : `${why.charAt(0).toUpperCase()}${why.slice(1)}${/[.!?]$/.test(why) ? '' : '.'}`;
}

export function readBackend(stored: unknown): Backend | null {
  return BACKENDS.find(({ value }) => value === stored)?.value ?? null;
}
