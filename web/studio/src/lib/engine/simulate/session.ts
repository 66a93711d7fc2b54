/** One pretend answer: the real formula over the pretend language's few fillings a place. */

import type { Candidate, RunOptions, Sampling, Session, SessionInfo, Step, Weight } from '../port';
import { leanOf, logSoftmax, placeAt, type Place } from './language';

export class SimulatedSession implements Omit<
  Session,
  'next' | 'setTokens' | 'force' | 'rest' | typeof Symbol.asyncIterator | typeof Symbol.asyncDispose
> {
  readonly info: SessionInfo;
  readonly #weights: Map<string, number>;
  #sampling: Pick<Sampling, 'temperature'>;
  #stopped = false;

  constructor(
    private readonly options: RunOptions,
    private readonly pace: number,
    private readonly mayFail: () => void,
  ) {
    this.#sampling = options;
    const guides = Object.entries(options.guides);
    // The page's faders are numbers.
    this.#weights = new Map(guides.map(([name, { weight }]) => [name, typeof weight === 'number' ? weight : 1]));
    const rows = [{ name: 'base', model: 'SmolLM2 135M Instruct', promptTokens: 31 }];
    for (const [name] of guides) rows.push({ name, model: 'SmolLM2 135M Instruct', promptTokens: 38 });
    this.info = {
      rows,
      dispatchesPerStep: 215,
      weightBytesPerStep: 96_808_960,
      memory: { weights: 96_808_960, kv: 23_592_960 * rows.length, activations: 4_200_000 },
      contextLength: options.contextLength,
    };
  }

  setWeight(guide: string, weight: Weight): void {
    if (typeof weight === 'number') this.#weights.set(guide, weight);
  }

  setSampling(sampling: Partial<Sampling>): void {
    this.#sampling = { ...this.#sampling, ...sampling };
  }

  stop(): void {
    this.#stopped = true;
  }

  async dispose(): Promise<void> {
    this.#stopped = true;
  }

  async *[Symbol.asyncIterator](): AsyncIterator<Step> {
    for (let index = 0; index < this.options.maxTokens; index++) {
      const place = placeAt(index);
      if (!place) return;
      await new Promise((resolve) => setTimeout(resolve, this.pace));
      if (this.#stopped) return;
      if (index === 12) this.mayFail();
      const stop = index + 1 === this.options.maxTokens ? 'length' : placeAt(index + 1) ? null : 'end';
      yield this.#step(index, place, stop);
      if (stop) return;
    }
  }

  #step(index: number, place: Place, stop: Step['stop']): Step {
    const temperature = this.#sampling.temperature;
    const guides = Object.entries(this.options.guides).map(([name, guide]) => ({
      name,
      weight: this.#weights.get(name) ?? 0,
      logProbs: place.under(guide.context !== undefined ? leanOf(guide.context) : [0.4, 0]),
    }));
    const mixed = place.base.map((base, i) =>
      guides.reduce((z, guide) => z + guide.weight * ((guide.logProbs[i] ?? 0) - base), base),
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
    return {
      index,
      id: index * 16 + chosen,
      text: place.texts[chosen] ?? '',
      stop,
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
      let h = (this.options.seed ^ Math.imul(index + 1, 0x9e3779b1) ^ Math.imul(i + 1, 0x85ebca6b)) >>> 0;
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
