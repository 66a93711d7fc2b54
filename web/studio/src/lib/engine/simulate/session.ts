/** One pretend answer: the real formula over the pretend language's few fillings a place. */

import type {
  Candidate,
  Cost,
  Method,
  RunOptions,
  Sampling,
  Session,
  SessionInfo,
  Step,
  TurnOptions,
  Weight,
  WhenFull,
} from '../port';
import { type Lean, leanOf, logSoftmax, placeAt, type Place } from './language';

/** An adapter as a row uses it, which live calls change. */
interface Use {
  readonly name: string;
  share: number;
  preference: readonly number[];
}

export class SimulatedSession implements Omit<
  Session,
  | 'next'
  | 'setTokens'
  | 'force'
  | 'rest'
  | 'fork'
  | 'save'
  | 'setAdapters'
  | typeof Symbol.asyncIterator
  | typeof Symbol.asyncDispose
> {
  info: SessionInfo;
  readonly #weights: Map<string, number>;
  #sampling: Pick<Sampling, 'temperature'>;
  #seed: number;
  #stopped = false;
  #at = 0;
  #maxTokens: number;
  #whenFull: WhenFull;
  #cost: Cost = { steps: 0, decoded: 0, prefilled: 0, reused: 0, scored: 0, kvPeak: 0 };
  /** Adapters by guide; empty for guides without. */
  readonly #uses: ReadonlyMap<string, Use[]>;

  constructor(
    private readonly options: RunOptions,
    private readonly pace: number,
    private readonly mayFail: () => void,
    /** The token at which the context is full. */
    private readonly fullAt: number,
  ) {
    this.#sampling = options;
    this.#seed = options.seed;
    this.#maxTokens = options.maxTokens;
    this.#whenFull = options.whenFull;
    const guides = Object.entries(options.guides);
    // The page's faders are numbers.
    this.#weights = new Map(guides.map(([name, { weight }]) => [name, typeof weight === 'number' ? weight : 1]));
    const rows = [{ name: 'base', model: 'SmolLM2 135M Instruct', promptTokens: 31 }];
    for (const [name] of guides) rows.push({ name, model: 'SmolLM2 135M Instruct', promptTokens: 38 });
    this.#uses = new Map(guides.map(([name, { adapter }]) => [name, usesOf(adapter)]));
    this.info = {
      samples: options.method.name === 'genarm' ? 1 : (triesOf(options.method) ?? 1),
      rows: rows.map((row) => ({ ...row, adapters: this.#uses.get(row.name)?.length ?? 0 })),
      dispatchesPerStep: 215,
      weightBytesPerStep: 96_808_960,
      memory: { weights: 96_808_960, adapters: 2_580_480, kv: 23_592_960 * rows.length, activations: 4_200_000 },
      contextLength: options.contextLength,
    };
    const prefilled = rows.reduce((sum, { promptTokens }) => sum + promptTokens - 1, 0);
    this.#cost = { ...this.#cost, prefilled };
  }

  async turn(options: TurnOptions): Promise<number> {
    performance.mark('turn', { detail: options.messages?.length });
    for (let i = 0; i <= 2; i++) {
      options.signal?.throwIfAborted();
      options.onProgress?.({ phase: 'prefill', loaded: i, total: 2 });
      await new Promise((resolve) => setTimeout(resolve, this.pace / 4));
    }
    const reused = this.info.rows.reduce((sum, { promptTokens }) => sum + promptTokens - 1, 0);
    const rows = this.info.rows.map((row) => ({ ...row, promptTokens: row.promptTokens + 24 }));
    this.info = { ...this.info, rows };
    const prefilled = this.#cost.prefilled + 24 * rows.length;
    this.#cost = { ...this.#cost, reused: this.#cost.reused + reused, prefilled };
    this.#at = 0;
    this.#stopped = false;
    this.#maxTokens = options.maxTokens ?? this.#maxTokens;
    this.#whenFull = options.whenFull ?? this.#whenFull;
    return reused;
  }

  async resume({ maxTokens, whenFull }: { maxTokens?: number; whenFull?: WhenFull }): Promise<void> {
    performance.mark('resume', { detail: [maxTokens, whenFull] });
    this.#stopped = false;
    this.#maxTokens = maxTokens ?? this.#maxTokens;
    this.#whenFull = whenFull ?? this.#whenFull;
  }

  async cost(): Promise<Cost> {
    return this.#cost;
  }

  setWeight(guide: string, weight: Weight): void {
    if (typeof weight === 'number') this.#weights.set(guide, weight);
  }

  setSampling(sampling: Partial<Sampling>): void {
    this.#sampling = { ...this.#sampling, ...sampling };
    this.#seed = sampling.seed ?? this.#seed;
  }

  setShare(guide: string | null, at: number, share: number): void {
    // Left where the page's tests can see it.
    performance.mark('setShare', { detail: [guide, at, share] });
    const use = this.#uses.get(guide ?? '')?.[at];
    if (use) use.share = share;
  }

  setPreference(guide: string | null, at: number, preference: readonly number[]): void {
    performance.mark('setPreference', { detail: [guide, at, ...preference] });
    const use = this.#uses.get(guide ?? '')?.[at];
    if (use) use.preference = preference;
  }

  stop(): void {
    this.#stopped = true;
  }

  async dispose(): Promise<void> {
    this.#stopped = true;
  }

  async *[Symbol.asyncIterator](): AsyncIterator<Step> {
    const { method } = this.options;
    const rows = this.info.rows.length;
    const tries = triesOf(method);
    while (this.#at < this.#maxTokens) {
      const index = this.#at;
      const place = placeAt(index);
      if (!place) return;
      // Best of N takes its time before the first token, the others at each.
      const steps = tries === null ? 1 : method.name === 'best-of-n' ? (index === 0 ? 8 : 0) : 3;
      for (let i = 0; i < Math.max(1, steps); i++) {
        if (steps > 0) await new Promise((resolve) => setTimeout(resolve, this.pace));
        const decoded = steps === 0 ? 0 : method.name === 'best-of-n' ? tries! * rows * 6 : (tries ?? 1) * rows;
        this.#cost = { ...this.#cost, steps: this.#cost.steps + 1, decoded: this.#cost.decoded + decoded };
        if (this.#stopped) return;
      }
      if (index === 12) this.mayFail();
      const full = index + 1 === this.fullAt && this.#whenFull === 'stop';
      const length = index + 1 === this.#maxTokens ? 'length' : placeAt(index + 1) ? null : 'end';
      const stop = full ? 'context' : length;
      this.#at += 1;
      yield this.#step(index, place, stop);
      if (stop) return;
    }
  }

  #step(index: number, place: Place, stop: Step['stop']): Step {
    const temperature = this.#sampling.temperature;
    const guides = Object.entries(this.options.guides).map(([name, guide]) => ({
      name,
      weight: this.#weights.get(name) ?? 0,
      // Reward models add their log-probability; a sentence, what it changes.
      less: guide.context === undefined ? 0 : 1,
      logProbs: place.under(
        guide.context === undefined ? leanUnder(this.#uses.get(name) ?? []) : leanOf(guide.context),
      ),
    }));
    const mixed = place.base.map((base, i) =>
      guides.reduce((z, guide) => z + guide.weight * ((guide.logProbs[i] ?? 0) - guide.less * base), base),
    );
    const mix = logSoftmax(mixed);
    const sampled = logSoftmax(mixed.map((z) => z / (temperature === 0 ? 1 : temperature)));
    const base = place.base;
    const chosen = this.#sample(sampled, index);
    const under = (i: number): Record<string, number> =>
      Object.fromEntries(guides.map((guide) => [guide.name, guide.logProbs[i] ?? 0]));
    const columns = (i: number) => ({
      base: base[i] ?? 0,
      mix: mix[i] ?? 0,
      sampled: sampled[i] ?? 0,
      guides: under(i),
    });
    const candidates: Candidate[] = place.texts
      .map((text, i) => ({ id: index * 16 + i, text, ...columns(i) }))
      .sort((a, b) => b.mix - a.mix);
    const reward = Object.values(under(chosen))[0] ?? 0;
    return {
      index,
      sample: 0,
      id: index * 16 + chosen,
      text: place.texts[chosen] ?? '',
      stop,
      shifted: index === this.fullAt ? 5 : 0,
      ...(this.options.method.name !== 'genarm' && { reward }),
      logProbs: columns(chosen),
      entropy: -base.reduce((sum, lp) => sum + Math.exp(lp) * lp, 0),
      kl: mix.reduce((sum, lp, i) => sum + Math.exp(lp) * (lp - (base[i] ?? 0)), 0),
      weights: Object.fromEntries(this.#weights),
      temperature,
      candidates,
    };
  }

  /** Gumbel-max with a hash of (seed, index) as its randomness, so that a seed replays. */
  #sample(logProbs: readonly number[], index: number): number {
    let best = 0;
    let bestScore = Number.NEGATIVE_INFINITY;
    logProbs.forEach((logProb, i) => {
      let h = (this.#seed ^ Math.imul(index + 1, 0x9e3779b1) ^ Math.imul(i + 1, 0x85ebca6b)) >>> 0;
      h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d) >>> 0;
      h = Math.imul(h ^ (h >>> 12), 0x297a2d39) >>> 0;
      const u = ((h ^ (h >>> 15)) >>> 0) / 2 ** 32;
      const gumbel = this.#sampling.temperature === 0 ? 0 : -Math.log(-Math.log(u + 1e-12) + 1e-12);
      if (logProb + gumbel > bestScore) {
        best = i;
        bestScore = logProb + gumbel;
      }
    });
    return best;
  }
}

/** How many texts a search tries at once; null without one. */
function triesOf(method: Method): number | null {
  return method.name === 'genarm' ? null : (method.candidates ?? 8);
}

function usesOf(adapter: RunOptions['guides'][string]['adapter']): Use[] {
  if (adapter === undefined) return [];
  const list = 'dispose' in adapter ? [{ adapter }] : 'adapter' in adapter ? [adapter] : adapter;
  return list.map((use) => ({ name: use.adapter.info.name, share: use.share ?? 1, preference: use.preference ?? [] }));
}

/** Where a row leans under its adapters; without any, where a second model does. */
function leanUnder(uses: readonly Use[]): Lean {
  if (uses.length === 0) return [0.4, 0];
  const leans = uses.map(({ name, share, preference: [sunny = 0, salty = 0] }): Lean => {
    const own: Lean = /upbeat/.test(name) ? [1, 0] : /parm/.test(name) ? [sunny, salty] : [0, 0.3];
    return [share * own[0], share * own[1]];
  });
  return [leans.reduce((sum, lean) => sum + lean[0], 0), leans.reduce((sum, lean) => sum + lean[1], 0)];
}
