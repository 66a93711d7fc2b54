/** Rewards by a function of the page: how it is named in options, and what it must answer. */

import { PilotfishError } from './errors.js';
import type { WireMethod } from './protocol.js';
import type { Method, Scorer } from './types.js';

/** A method as the worker takes it, and the function that rewards, if one does. */
export function wireMethod(method: Method, guides: readonly string[]): { method: WireMethod; reward?: Scorer } {
  if (method.name === 'genarm') return { method };
  const { reward, ...rest } = method;
  const numbers = Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined));
  if (typeof reward === 'function') return { method: { ...numbers, name: method.name }, reward };
  if (typeof reward !== 'string' || !guides.includes(reward)) {
    const known = guides.join(', ') || 'none';
    const found = typeof reward === 'string' ? JSON.stringify(reward) : typeof reward;
    throw new PilotfishError(
      'argument.invalid',
      `${method.name} needs a reward: a guide's name (there are: ${known}) or a function, found ${found}`,
    );
  }
  return { method: { ...numbers, name: method.name, reward } };
}

/** Calls the function and checks what can be checked of its answer before it crosses to the worker. */
export function scorerOf(reward: Scorer): (texts: readonly string[]) => Promise<Float32Array> {
  return async (texts) => {
    const scores: unknown = await reward(texts);
    const numbers =
      Array.isArray(scores) || ArrayBuffer.isView(scores) ? Array.from(scores as ArrayLike<unknown>) : null;
    const wrong = numbers?.find((score) => typeof score !== 'number' || !Number.isFinite(score));
    if (numbers?.length === texts.length && wrong === undefined) return Float32Array.from(numbers as number[]);
    const found =
      numbers === null
        ? typeof scores
        : numbers.length !== texts.length
          ? `${numbers.length} of them`
          : `${String(wrong)} among them`;
    throw new PilotfishError(
      'method.score',
      `a scorer must give one finite number for each of ${texts.length} texts, found ${found}`,
    );
  };
}
