// Owns how long one channel waits before it asks again: after refusals, conflicts and broken chains.
// A server that keeps breaking chains is asked less and less often. Never waits by itself.

import { backoffMs } from './backoff.js';

const RETRY = { baseMs: 500, capMs: 30_000 };
/** After this long without a broken chain the next one is healed at once again. */
const CALM_MS = 30_000;
const MAX_REFRESHES = 3;

export class Patience {
  readonly #random: () => number;
  #attempts = 0;
  #conflicts = 0;
  #refreshes = 0;
  #breaks = 0;
  #brokeAt = 0;

  constructor(random: () => number) {
    this.#random = random;
  }

  /** The channel is subscribed. */
  restored(): void {
    this.#attempts = 0;
    this.#conflicts = 0;
    this.#refreshes = 0;
  }

  retryMs(): number {
    return backoffMs(RETRY, this.#attempts++, this.#random);
  }

  /** The session holds this subscription already: replace it, at once the first time. */
  conflictMs(): number {
    return this.#conflicts++ === 0 ? 0 : this.retryMs();
  }

  /** Whether another token may help. */
  mayRefresh(): boolean {
    this.#refreshes += 1;
    return this.#refreshes <= MAX_REFRESHES;
  }

  /** The chain broke at `now`. */
  healMs(now: number): number {
    if (now - this.#brokeAt > CALM_MS) this.#breaks = 0;
    const wait = this.#breaks === 0 ? 0 : backoffMs(RETRY, this.#breaks - 1, this.#random);
    this.#breaks += 1;
    this.#brokeAt = now + wait;
    return wait;
  }
}
