/** The mixing desk: the guides and their faders. */

import type { GuideSpec, Model, Source } from '../engine/port';
import type { GuideLabel } from '../logic/answer';
import { fields, keep, numberIn, recall } from '../logic/kept';
import { nameFromSentence, uniqueName } from '../logic/names';
import { GUIDE_PRESETS, type GuidePreset } from '../logic/presets';

export const WEIGHT_MIN = -2;
export const WEIGHT_MAX = 4;
export const WEIGHT_STEP = 0.05;
const HUES = 6;

export class Guide {
  name = $state('');
  context = $state('');
  against = $state('');
  weight = $state(1);
  muted = $state(false);
  /** Set for a model guide; null for a context guide. */
  model = $state.raw<Model | null>(null);
  /** Where a model guide came from, to read it again after the device was lost. */
  source: Source | null = null;

  constructor(
    readonly id: number,
    readonly hue: number,
    readonly kind: 'context' | 'model',
  ) {}

  /** The weight that acts. */
  get acting(): number {
    return this.muted ? 0 : this.weight;
  }

  get label(): string {
    return this.name.trim() || (this.kind === 'context' ? nameFromSentence(this.context) : 'model');
  }

  get ready(): boolean {
    return this.kind === 'model' ? this.model !== null : this.context.trim() !== '';
  }
}

export interface MixedGuide {
  readonly guide: Guide;
  readonly label: GuideLabel;
  readonly spec: GuideSpec;
}

export class Desk {
  guides = $state<Guide[]>([]);
  /** Called when a fader moves, with the weight that now acts. */
  onWeight: (guide: Guide) => void = () => {};
  #nextId = 1;

  constructor() {
    for (const kept of recall('guides', readGuides, GUIDE_PRESETS.slice(0, 1))) this.addContext(kept);
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
    void guide.model?.dispose();
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
        if (guide.model) return { guide, label, spec: { model: guide.model, weight } };
        const context = guide.context.trim();
        const against = guide.against.trim();
        return { guide, label, spec: against ? { context, against, weight } : { context, weight } };
      });
  }

  /** After the engine is gone, model guides have no model. */
  forget(): void {
    this.guides = this.guides.filter((guide) => guide.kind === 'context');
  }

  keep(): void {
    const contexts = this.guides.filter((guide) => guide.kind === 'context');
    keep(
      'guides',
      contexts.map(({ name, context, against, weight }) => ({ name, context, against, weight })),
    );
  }

  #new(kind: 'context' | 'model'): Guide {
    const used = new Set(this.guides.map((guide) => guide.hue));
    let hue = 0;
    while (hue < HUES - 1 && used.has(hue)) hue++;
    return new Guide(this.#nextId++, hue, kind);
  }
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
