/** Which module to fetch, and what it is to run on. */

import { PilotfishError } from '../errors.js';
import type { OpenParams } from '../protocol.js';
import type { Backend } from '../types.js';

/** What is known of the machine's GPU. */
export interface Sight {
  /** Whether the browser shows WebGPU to workers. */
  readonly webgpu: boolean;
  /** Some browsers show it only to secure contexts. */
  readonly secure: boolean;
  readonly adapter: AdapterSight | null;
  /** What a browser says that shows WebGPU and refuses to give an adapter. */
  readonly refusal?: string;
}

export interface AdapterSight {
  readonly vendor: string;
  readonly architecture: string;
  readonly device: string;
  readonly description: string;
  readonly isFallbackAdapter?: boolean;
}

export interface Choice {
  readonly module: 'gpu' | 'cpu';
  /** The engine's own choice. */
  readonly backend: Backend;
  /** Why, where nobody asked for it. */
  readonly why: string;
}

/** @throws PilotfishError `gpu.unavailable` where the GPU is asked for and there is none */
export function choose(wanted: Backend, sight: Sight): Choice {
  if (wanted === 'cpu') return { module: 'cpu', backend: 'cpu', why: '' };
  const { adapter } = sight;
  if (!sight.webgpu || adapter === null) {
    const why = missing(sight);
    if (wanted === 'gpu') throw new PilotfishError('gpu.unavailable', `${why}. ${advice(sight)}`);
    return { module: 'cpu', backend: 'cpu', why };
  }
  // One module holds both, so that each can be timed on the loaded model.
  if (wanted === 'auto' && isSoftware(adapter)) return { module: 'cpu', backend: 'auto', why: 'the GPU is software' };
  return { module: 'gpu', backend: 'gpu', why: '' };
}

function missing({ webgpu, secure, refusal }: Sight): string {
  if (refusal !== undefined) return `the browser shows WebGPU, and says: ${refusal.replace(/\.$/, '')}`;
  if (webgpu) return 'the browser has WebGPU, but found no graphics adapter for it';
  return secure ? 'this browser has no WebGPU' : 'WebGPU needs https or localhost';
}

function advice({ webgpu }: Sight): string {
  return webgpu
    ? "The driver may be too old or on the browser's blocklist; the CPU backend needs none."
    : "Chrome and Edge 113, Safari 26 and Firefox 141 have it, each from that version on, where the system's graphics driver allows it; the CPU backend needs none.";
}

/** SwiftShader, Mesa's lavapipe and Windows' WARP. Firefox names none of them, and calls them fallback adapters. */
export function isSoftware(adapter: AdapterSight): boolean {
  const names = [adapter.vendor, adapter.architecture, adapter.device, adapter.description].join(' ').toLowerCase();
  return (
    adapter.isFallbackAdapter === true ||
    ['swiftshader', 'llvmpipe', 'lavapipe', 'basic render'].some((known) => names.includes(known))
  );
}

/** Threads that help: beyond these, memory is the limit, and slow cores hold up quick ones. */
const mostThreads = 8;

/** Threads of the CPU backend, the worker's own included. */
export function threadsFor({ threads }: OpenParams, { isolated, cores }: { isolated: boolean; cores: number }): number {
  if (threads !== undefined && !(Number.isInteger(threads) && threads >= 1 && threads <= 64)) {
    throw new PilotfishError('argument.invalid', `threads is ${threads}; a whole number from 1 to 64 is expected`);
  }
  return isolated ? (threads ?? Math.max(1, Math.min(cores, mostThreads))) : 1;
}
