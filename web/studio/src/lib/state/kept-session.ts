/** The session behind the last answer. It stays, so that the next turn computes only what is new. */

import type { Model, Session } from '../engine/port';
import type { Guide, MixedGuide } from './desk.svelte';
import type { Turn } from './turn.svelte';

export interface Kept {
  readonly session: Session;
  readonly model: Model;
  /** What a turn cannot change. */
  readonly key: string;
  readonly guides: readonly MixedGuide[];
  /** Shares and preferences that it began with. */
  readonly mixed: ReadonlyMap<number, string>;
  /** Whose answer it holds; nobody's after a turn that was aborted. */
  turn: Turn | null;
  /** Whether shares or preferences moved since: what was read before was read with others. */
  stale: boolean;
}

/** How a guide's row is made of its adapters. */
export function mixture(guide: Guide): string {
  return JSON.stringify([guide.shares, guide.adapters.map((_, at) => guide.preference(at))]);
}

export function mixtures(guides: readonly MixedGuide[]): Map<number, string> {
  return new Map(guides.map(({ guide }) => [guide.id, mixture(guide)]));
}

/** The sentences of context guides, which a turn may change. */
export function contexts(
  guides: readonly MixedGuide[],
): Record<string, { readonly context: string; readonly against: string | null }> {
  return Object.fromEntries(
    guides.flatMap(({ label, spec }) =>
      spec.context === undefined ? [] : [[label.key, { context: spec.context, against: spec.against ?? null }]],
    ),
  );
}
