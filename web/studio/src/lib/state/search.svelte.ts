/** How tokens are chosen: the method, its numbers, the guide that rewards, and what each method was measured to cost. */

import type { Method } from '../engine/port';
import { type MethodEntry, type MethodName, METHODS, type Spent } from '../logic/methods';
import type { Guide, MixedGuide } from './desk.svelte';

export class Search {
  name = $state<MethodName>('genarm');
  /** What was chosen to reward; the first guide where that one is not there. */
  wanted = $state<Guide | null>(null);
  /** By method, then by number. */
  values = $state<Record<string, Record<string, number>>>(initial());
  /** On the loaded model, by the last answer of each method. */
  measured = $state.raw<Partial<Record<MethodName, Spent>>>({});

  get entry(): MethodEntry {
    return METHODS.find(({ name }) => name === this.name) ?? METHODS[0]!;
  }

  /** Of these guides, the one that rewards. */
  rewarding(guides: readonly MixedGuide[]): MixedGuide | null {
    return guides.find(({ guide }) => guide === this.wanted) ?? guides[0] ?? null;
  }

  set(method: MethodName, name: string, value: number): void {
    const number = METHODS.find((entry) => entry.name === method)?.numbers.find((one) => one.name === name);
    if (!number || !Number.isFinite(value)) return;
    const clamped = Math.min(number.max, Math.max(number.min, value));
    this.values[method] = { ...this.values[method], [name]: number.step === 1 ? Math.round(clamped) : clamped };
  }

  /** The method as an answer takes it: without a guide to reward, there is no search. */
  method(guides: readonly MixedGuide[]): Method {
    const reward = this.rewarding(guides)?.label.key;
    if (this.name === 'genarm' || reward === undefined) return { name: 'genarm' };
    return { name: this.name, reward, ...this.values[this.name] };
  }

  measure(name: MethodName, spent: Spent): void {
    // One or two tokens measure how a step begins and ends.
    if (spent.tokens > 3) this.measured = { ...this.measured, [name]: spent };
  }

  /** Another model has other costs. */
  forget(): void {
    this.measured = {};
  }
}

function initial(): Record<string, Record<string, number>> {
  return Object.fromEntries(
    METHODS.map(({ name, numbers }) => [name, Object.fromEntries(numbers.map((one) => [one.name, one.initial]))]),
  );
}
