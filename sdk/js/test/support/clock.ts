// Owns time in tests: a clock that moves when told, with timers that can be late as in a frozen page.

import type { Clock } from '../../src/clock.js';

type Timer = { at: number; order: number; run: () => void };

export class FakeClock implements Clock {
  #now = 1_764_000_000_000;
  #order = 0;
  readonly #timers = new Set<Timer>();
  readonly #random: () => number;

  constructor(seed = 1) {
    this.#random = randomFrom(seed);
  }

  now(): number {
    return this.#now;
  }

  random(): number {
    return this.#random();
  }

  setTimeout(run: () => void, ms: number): unknown {
    const timer = { at: this.#now + Math.max(0, ms), order: this.#order++, run };
    this.#timers.add(timer);
    return timer;
  }

  clearTimeout(timer: unknown): void {
    this.#timers.delete(timer as Timer);
  }

  /** Runs timers in order, each at its time, letting promises settle in between. */
  async advance(ms: number): Promise<void> {
    const until = this.#now + ms;
    await settle();
    for (let timer = this.#due(until); timer; timer = this.#due(until)) {
      this.#now = Math.max(this.#now, timer.at);
      this.#timers.delete(timer);
      timer.run();
      await settle();
    }
    this.#now = until;
  }

  /** Time passes and no timer runs: sleep, or a frozen page. */
  freeze(ms: number): void {
    this.#now += ms;
  }

  /** Advances by small steps until `holds`, at most `limitMs`. */
  async until(holds: () => boolean, limitMs = 120_000): Promise<void> {
    const end = this.#now + limitMs;
    await settle();
    while (!holds()) {
      if (this.#now >= end) throw new Error('what was waited for did not come');
      await this.advance(20);
    }
  }

  #due(until: number): Timer | undefined {
    let next: Timer | undefined;
    for (const timer of this.#timers) {
      if (timer.at > until) continue;
      if (!next || timer.at < next.at || (timer.at === next.at && timer.order < next.order)) next = timer;
    }
    return next;
  }
}

export async function settle(): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve));
}

/** A small generator of numbers in [0, 1) (mulberry32), the same for the same seed. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** The seed of a random test: from SEED, else of this run. Printed, so that a failure can be had again. */
export function seedOf(name: string): number {
  const seed = Number(process.env['SEED'] ?? Date.now() % 1_000_000_007);
  console.log(`# seed of ${name}: SEED=${seed}`);
  return seed;
}
