// Owns time as the SDK sees it: the injectable clock, waking time that leaves out sleep, and an
// alarm. Never knows what the time is used for.

/** Time, timers and chance, so that tests can hold all of them. */
export interface Clock {
  /** Milliseconds since 1970; must count sleep. */
  now(): number;
  setTimeout(run: () => void, ms: number): unknown;
  clearTimeout(timer: unknown): void;
  /** In `[0, 1)`. */
  random(): number;
}

/** The clock of the platform, kept from running backwards. */
export function systemClock(): Clock {
  let last = 0;
  let shift = 0;
  return {
    now() {
      const raw = Date.now();
      if (raw + shift < last) shift = last - raw;
      last = raw + shift;
      return last;
    },
    setTimeout: (run, ms) => globalThis.setTimeout(run, ms),
    clearTimeout: (timer) => globalThis.clearTimeout(timer as number),
    random: () => Math.random(),
  };
}

/** How much one interval between ticks may add to waking time, in milliseconds. */
const LARGEST_STEP_MS = 2_000;
/** A tick later than this means that the page was frozen, asleep or throttled. */
const LATE_MS = 5_000;

/**
 * Waking time: runs with the clock while ticks arrive, and nearly stands still over sleep, freeze and
 * throttled timers. Timeouts measured in it cannot expire because nobody was awake to hear.
 */
export class WakingTime {
  #awake = 0;
  #seen: number;

  constructor(now: number) {
    this.#seen = now;
  }

  /** Records a tick; answers whether it came much later than ticks do. */
  tick(now: number): { awake: number; late: boolean } {
    const late = this.late(now);
    this.#awake = this.at(now);
    this.#seen = now;
    return { awake: this.#awake, late };
  }

  /** Whether a tick is long overdue at `now`. */
  late(now: number): boolean {
    return now - this.#seen > LATE_MS;
  }

  /** Waking time at `now`. */
  at(now: number): number {
    return this.#awake + Math.min(Math.max(0, now - this.#seen), LARGEST_STEP_MS);
  }
}

const LARGEST_TIMEOUT_MS = 1_000_000_000;

/** One timer that always stands at the earliest time asked for. */
export class Alarm {
  readonly #clock: Clock;
  readonly #ring: () => void;
  #timer: unknown = null;
  #at = Infinity;

  constructor(clock: Clock, ring: () => void) {
    this.#clock = clock;
    this.#ring = ring;
  }

  /** Rings at `at` or earlier; `null` asks for nothing. */
  by(at: number | null): void {
    if (at === null || at >= this.#at) return;
    this.clear();
    this.#at = at;
    const wait = Math.min(Math.max(0, at - this.#clock.now()), LARGEST_TIMEOUT_MS);
    this.#timer = this.#clock.setTimeout(() => {
      this.#timer = null;
      this.#at = Infinity;
      this.#ring();
    }, wait);
  }

  clear(): void {
    if (this.#timer !== null) this.#clock.clearTimeout(this.#timer);
    this.#timer = null;
    this.#at = Infinity;
  }
}
