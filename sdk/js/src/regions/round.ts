// Owns one round of probes: when enough has been heard, and which region is the nearest that is well.
// Pure: sends no probe and holds no timer.

import { isLate, isUsable, isWell, type Health } from './health.js';

/** How long a probe may take, in milliseconds. */
export const PROBE_MS = 1_500;
/** How much longer others may take than the first that is well. */
const GRACE_MS = 100;
/** So much further away the preferred region may be and still be chosen. */
export const TIE_MS = 20;

export class Round {
  readonly #waiting: Set<string>;
  readonly #answers = new Map<string, Health>();
  #until: number;

  constructor(urls: readonly string[], now: number) {
    this.#waiting = new Set(urls);
    this.#until = now + PROBE_MS;
  }

  /** An answer, or that none comes. */
  heard(url: string, health: Health | null, now: number): void {
    if (!this.#waiting.delete(url) || health === null) return;
    this.#answers.set(url, health);
    if (isWell(health)) this.#until = Math.min(this.#until, now + GRACE_MS);
  }

  /** When it ends whatever comes. */
  get until(): number {
    return this.#until;
  }

  over(now: number): boolean {
    return this.#waiting.size === 0 || now >= this.#until;
  }

  wellAt(url: string): boolean {
    const health = this.#answers.get(url);
    return health !== undefined && isWell(health);
  }

  /** The nearest that is well, else that is usable, else that is being rebuilt; `preferred` wins ties. */
  best(preferred: string): string | null {
    return this.#nearest(preferred, isWell) ?? this.#nearest(preferred, isUsable) ?? this.#nearest(preferred, isLate);
  }

  #nearest(preferred: string, wanted: (health: Health) => boolean): string | null {
    let best: { url: string; rank: number } | null = null;
    for (const [url, health] of this.#answers) {
      if (!wanted(health)) continue;
      const rank = health.rttMs - (url === preferred ? TIE_MS : 0);
      if (best === null || rank < best.rank) best = { url, rank };
    }
    return best?.url ?? null;
  }
}
