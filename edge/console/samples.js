// Owns what is counted of the events: how many each second of the last minute, and how long the live
// ones took. Bounded whatever comes; knows no page and no clock.

const SECONDS = 60;
const PER_SECOND = 64;
/** Percentiles are taken over so many seconds. */
const WINDOW = 10;

export class Samples {
  #buckets = Array.from({ length: SECONDS }, () => ({ events: 0, delays: [] }));
  #second = null;

  /** An event received at `now`; `delayMs` is `null` for one that was caught up with. */
  add(now, delayMs) {
    this.#advance(now);
    const bucket = this.#buckets.at(-1);
    bucket.events += 1;
    if (delayMs === null) return;
    if (bucket.delays.length < PER_SECOND) bucket.delays.push(delayMs);
    else bucket.delays[bucket.events % PER_SECOND] = delayMs;
  }

  /** The minute before `now`, second by second; the running second is left out. */
  series(now) {
    this.#advance(now);
    const full = this.#buckets.slice(0, -1);
    const windows = full.map((_, index) => full.slice(Math.max(0, index - 4), index + 1).flatMap(({ delays }) => delays));
    return {
      events: full.map(({ events }) => events),
      p50: windows.map((delays) => percentile(delays, 0.5)),
      p99: windows.map((delays) => percentile(delays, 0.99)),
    };
  }

  /** What to print: a rate over the last ten full seconds, and percentiles. */
  latest(now) {
    this.#advance(now);
    const window = this.#buckets.slice(-WINDOW - 1, -1);
    const delays = window.flatMap((bucket) => bucket.delays);
    return {
      rate: window.reduce((sum, { events }) => sum + events, 0) / WINDOW,
      p50: percentile(delays, 0.5),
      p99: percentile(delays, 0.99),
      count: delays.length,
    };
  }

  #advance(now) {
    const second = Math.floor(now / 1_000);
    const steps = Math.min(SECONDS, second - (this.#second ?? second));
    this.#second = Math.max(second, this.#second ?? second);
    for (let step = 0; step < steps; step += 1) {
      this.#buckets.shift();
      this.#buckets.push({ events: 0, delays: [] });
    }
  }
}

/** The nearest-rank percentile; `null` of nothing. */
export function percentile(values, share) {
  if (values.length === 0) return null;
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
}
