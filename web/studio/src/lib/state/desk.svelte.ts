/** The mixing desk: the guides and their faders. */

import type { AdapterUse, GuideSpec, Model, Source } from '../engine/port';
import type { GuideLabel } from '../logic/answer';
import { fields, keep, numberIn, recall } from '../logic/kept';
import { nameFromSentence, uniqueName } from '../logic/names';
import type { GuidePreset } from '../logic/presets';
import type { Problem } from '../logic/problems';
import { SHIPPED_GUIDES, type ShippedGuide } from '../logic/shipped';
import { AdapterFile } from './adapter-file.svelte';

export const WEIGHT_MIN = -2;
export const WEIGHT_MAX = 4;
export const WEIGHT_STEP = 0.05;
const HUES = 6;

/** What a guide is made of: adapters over the base's weights, a sentence, or a model of its own. */
export type GuideKind = 'adapter' | 'context' | 'model';

export class Guide {
  name = $state('');
  context = $state('');
  against = $state('');
  weight = $state(1);
  muted = $state(false);
  /** Of an adapter guide: only what the adapter changes, so that a weight below 0 turns it round. */
  relative = $state(false);
  /** Of an adapter guide: one, or two that are blended. */
  adapters = $state.raw<readonly AdapterFile[]>([]);
  /** How much of two adapters is the second, 0..1. */
  blend = $state(0.5);
  /** Set for a model guide only. */
  model = $state.raw<Model | null>(null);
  /** Where a model guide came from, to read it again after the device was lost. */
  source: Source | null = null;
  /** The preference vectors that were set, by the place of their adapter. */
  #preferences = $state<Record<number, readonly number[]>>({});

  constructor(
    readonly id: number,
    readonly hue: number,
    readonly kind: GuideKind,
  ) {}

  /** The weight that acts. */
  get acting(): number {
    return this.muted ? 0 : this.weight;
  }

  get label(): string {
    if (this.name.trim() !== '') return this.name.trim();
    if (this.kind === 'adapter') return this.adapters.map(({ name }) => name).join(' + ');
    return this.kind === 'context' ? nameFromSentence(this.context) : 'model';
  }

  get ready(): boolean {
    if (this.kind === 'adapter') return this.adapters.every(({ adapter }) => adapter !== null);
    return this.kind === 'model' ? this.model !== null : this.context.trim() !== '';
  }

  /** Whether the loaded base does not take it. */
  get refused(): boolean {
    return this.adapters.some(({ phase }) => phase === 'refused');
  }

  /** How much of each adapter acts. */
  get shares(): readonly number[] {
    return this.adapters.length === 2 ? [1 - this.blend, this.blend] : this.adapters.map(() => 1);
  }

  /** The preference vector of an adapter, even at first; empty for one without preferences. */
  preference(at: number): readonly number[] {
    const entries = this.adapters[at]?.adapter?.info.preferences ?? 0;
    const set = this.#preferences[at];
    return set?.length === entries ? set : Array.from({ length: entries }, () => 1 / entries);
  }

  prefer(at: number, preference: readonly number[]): void {
    this.#preferences[at] = preference;
  }
}

export interface MixedGuide {
  readonly guide: Guide;
  readonly label: GuideLabel;
  readonly spec: GuideSpec;
}

export class Desk {
  guides = $state<Guide[]>([]);
  /** What was wrong with files that were to be guides. */
  problem = $state.raw<Problem | null>(null);
  /** Called when a fader moves, with the weight that now acts. */
  onWeight: (guide: Guide) => void = () => {};
  /** Called when a blend moves. */
  onShares: (guide: Guide) => void = () => {};
  /** Called when a preference of the adapter `at` moves. */
  onPreference: (guide: Guide, at: number) => void = () => {};
  /** Called when a guide that was a model of its own has gone. */
  onModelGone: () => void = () => {};
  #nextId = 1;

  constructor() {
    for (const { shipped, weight, relative } of recall('shipped', readShipped, SHIPPED_AT_FIRST)) {
      this.addAdapters([new AdapterFile(shipped)], weight).relative = relative;
    }
    for (const kept of recall('guides', readGuides, [])) this.addContext(kept);
  }

  /** Every adapter that a guide here uses, each once. */
  get adapterFiles(): readonly AdapterFile[] {
    return [...new Set(this.guides.flatMap((guide) => guide.adapters))];
  }

  /** One adapter, or two to blend. */
  addAdapters(adapters: readonly AdapterFile[], weight = 1): Guide {
    const guide = this.#new('adapter');
    guide.adapters = adapters;
    guide.name = adapters.map(({ name }) => name).join(' + ');
    guide.weight = weight;
    this.guides.push(guide);
    return guide;
  }

  /** A guide of two adapters, which from now on act through it alone: their own guides are muted. */
  addBlend(first: AdapterFile, second: AdapterFile): Guide {
    for (const guide of this.guides) {
      const [only, ...more] = guide.adapters;
      if (more.length === 0 && (only === first || only === second)) this.setMuted(guide, true);
    }
    return this.addAdapters([first, second]);
  }

  addContext(preset?: GuidePreset): Guide {
    const guide = this.#new('context');
    guide.name = preset?.name ?? '';
    guide.context = preset?.context ?? '';
    guide.against = preset?.against ?? '';
    guide.weight = preset?.weight ?? 1;
    this.guides.push(guide);
    return guide;
  }

  addModel(model: Model, source: Source, name: string): Guide {
    const guide = this.#new('model');
    guide.name = name;
    guide.model = model;
    guide.source = source;
    guide.weight = 0.5;
    this.guides.push(guide);
    return guide;
  }

  remove(guide: Guide): void {
    this.guides = this.guides.filter((other) => other.id !== guide.id);
    if (guide.model) {
      void guide.model.dispose();
      this.onModelGone();
    }
    const used = new Set(this.adapterFiles);
    for (const file of guide.adapters) if (!used.has(file)) file.take(null);
  }

  setWeight(guide: Guide, weight: number): void {
    if (!Number.isFinite(weight)) return;
    const clamped = Math.min(WEIGHT_MAX, Math.max(WEIGHT_MIN, weight));
    guide.weight = Math.round(clamped * 100) / 100;
    this.onWeight(guide);
  }

  setMuted(guide: Guide, muted: boolean): void {
    guide.muted = muted;
    this.onWeight(guide);
  }

  setBlend(guide: Guide, blend: number): void {
    if (!Number.isFinite(blend)) return;
    guide.blend = Math.min(1, Math.max(0, blend));
    this.onShares(guide);
  }

  /** Sets one number of the preference vector of a guide's adapter `at`. */
  setPreference(guide: Guide, at: number, entry: number, value: number): void {
    if (!Number.isFinite(value)) return;
    guide.prefer(
      at,
      guide.preference(at).map((other, i) => (i === entry ? value : other)),
    );
    this.onPreference(guide, at);
  }

  /** The guides as an answer takes them: those that say something, each with a name of its own. */
  mixed(): MixedGuide[] {
    const taken = new Set(['base', 'mix']);
    return this.guides
      .filter((guide) => guide.ready)
      .map((guide) => {
        const key = uniqueName(guide.label, taken);
        taken.add(key);
        const label = { key, name: guide.label, hue: guide.hue };
        const weight = guide.acting;
        if (guide.kind === 'adapter') {
          const relative = guide.relative ? { relative: true } : {};
          return { guide, label, spec: { adapter: uses(guide), weight, ...relative } };
        }
        if (guide.model) return { guide, label, spec: { model: guide.model, weight } };
        const context = guide.context.trim();
        const against = guide.against.trim();
        return { guide, label, spec: against ? { context, against, weight } : { context, weight } };
      });
  }

  /** After the engine is gone, model guides have no model, and adapters are to be read again. */
  forget(): void {
    this.guides = this.guides.filter((guide) => guide.kind !== 'model');
    for (const file of this.adapterFiles) file.forget();
  }

  keep(): void {
    const contexts = this.guides.filter((guide) => guide.kind === 'context');
    keep(
      'guides',
      contexts.map(({ name, context, against, weight }) => ({ name, context, against, weight })),
    );
    const shipped = this.guides.flatMap(({ adapters: [only, ...more], weight, relative }) =>
      only?.shipped && more.length === 0 ? [{ name: only.shipped.name, weight, relative }] : [],
    );
    keep('shipped', shipped);
  }

  #new(kind: GuideKind): Guide {
    const used = new Set(this.guides.map((guide) => guide.hue));
    let hue = 0;
    while (hue < HUES - 1 && used.has(hue)) hue++;
    return new Guide(this.#nextId++, hue, kind);
  }
}

function uses(guide: Guide): AdapterUse[] {
  const { shares } = guide;
  return guide.adapters.flatMap(({ adapter }, at) =>
    adapter ? [{ adapter, share: shares[at] ?? 1, preference: guide.preference(at) }] : [],
  );
}

interface ShippedAt {
  readonly shipped: ShippedGuide;
  readonly weight: number;
  readonly relative: boolean;
}

/** As a first visit finds them. */
const SHIPPED_AT_FIRST: readonly ShippedAt[] = SHIPPED_GUIDES.filter(({ atFirst }) => atFirst).map((shipped) => ({
  shipped,
  weight: shipped.weight,
  relative: false,
}));

function readShipped(stored: unknown): ShippedAt[] | null {
  if (!Array.isArray(stored)) return null;
  return stored.flatMap((item) => {
    const { name, weight, relative } = fields(item) ?? {};
    const shipped = SHIPPED_GUIDES.find((guide) => guide.name === name);
    if (!shipped) return [];
    const at = numberIn(weight, WEIGHT_MIN, WEIGHT_MAX, shipped.weight);
    return [{ shipped, weight: at, relative: relative === true }];
  });
}

function readGuides(stored: unknown): GuidePreset[] | null {
  if (!Array.isArray(stored)) return null;
  const guides: GuidePreset[] = [];
  for (const item of stored.slice(0, 12)) {
    const { name, context, against, weight } = fields(item) ?? {};
    if (typeof context !== 'string') continue;
    guides.push({
      name: typeof name === 'string' ? name : '',
      context,
      against: typeof against === 'string' ? against : '',
      weight: numberIn(weight, WEIGHT_MIN, WEIGHT_MAX, 1),
    });
  }
  return guides;
}
