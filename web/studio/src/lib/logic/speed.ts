/** Speed over the last few seconds, from a running total: of bytes while loading, of tokens while generating. */
export class SpeedMeter {
  readonly #windowMs: number;
  #samples: { at: number; total: number }[] = [];

  constructor(windowMs = 4000) {
    this.#windowMs = windowMs;
  }

  /** `at` in milliseconds, on any clock that only goes forward. */
  add(at: number, total: number): void {
    this.#samples.push({ at, total });
    // One sample older than the window stays, so that a slow stream still has two points to measure between.
    while (this.#samples.length > 2 && at - (this.#samples[1]?.at ?? at) >= this.#windowMs) this.#samples.shift();
  }

  /** Per second; NaN until there are two moments to compare. */
  get perSecond(): number {
    const first = this.#samples[0];
    const last = this.#samples.at(-1);
    if (!first || !last || last.at <= first.at) return Number.NaN;
    return ((last.total - first.total) * 1000) / (last.at - first.at);
  }
}
