// Owns the way back home: when home is probed while the client is elsewhere, and when it moves back.
// Every time is this client's own by chance, so that clients come back spread out. Pure.

import { jitterMs } from '../backoff.js';

export interface HomingPolicy {
  /** Home is probed this often, ±50 %, in milliseconds. */
  readonly probeMs: number;
  /** The move comes at a random moment within this time after home was found well. */
  readonly spreadMs: number;
}

export type HomingStep = 'probe' | 'move' | null;

/** Healthy answers in a row before home is trusted. */
const TRUSTED_AFTER = 2;
/** A step that is later than this was slept through, and what was known is old. Hidden pages tick once a minute. */
const LATE_MS = 90_000;
/** After waking home is asked within this time. */
const WAKE_SPREAD_MS = 5_000;

export class Homing {
  readonly #policy: HomingPolicy;
  readonly #random: () => number;
  #away = false;
  #notBefore = 0;
  #probeAt = Infinity;
  #moveAt = Infinity;
  #well = 0;
  #nearestMs = Infinity;

  constructor(policy: HomingPolicy, random: () => number) {
    this.#policy = policy;
    this.#random = random;
  }

  get away(): boolean {
    return this.#away;
  }

  /** The shortest round trip to home since it has been well, in milliseconds. */
  get nearestMs(): number {
    return this.#nearestMs;
  }

  nextAt(): number {
    return this.#away ? Math.min(this.#probeAt, this.#moveAt) : Infinity;
  }

  /** The client is away from home, which is left alone until `notBefore`. */
  start(now: number, notBefore: number): void {
    this.#away = true;
    this.#notBefore = Math.max(notBefore, now);
    this.#forget();
    this.#probeAt = this.#notBefore + this.#interval();
  }

  stop(): void {
    this.#away = false;
  }

  /** The client slept or was offline; what it heard before says nothing any more. */
  woke(now: number): void {
    this.#forget();
    this.#probeAt = Math.max(this.#notBefore, now) + jitterMs(WAKE_SPREAD_MS, this.#random);
  }

  due(now: number): HomingStep {
    if (!this.#away || now < this.nextAt()) return null;
    if (now > this.nextAt() + LATE_MS) {
      this.woke(now);
      return null;
    }
    if (now >= this.#moveAt) {
      this.#forget();
      return 'move';
    }
    this.#probeAt = now + this.#interval();
    return 'probe';
  }

  /** What a probe of home found: its round trip in milliseconds, `null` if home is not well. */
  heard(rttMs: number | null): void {
    if (!this.#away) return;
    if (rttMs === null) return this.#forget();
    this.#well += 1;
    this.#nearestMs = Math.min(this.#nearestMs, rttMs);
  }

  /** Whether home was found well often enough and no move is planned yet. */
  get ready(): boolean {
    return this.#away && this.#well >= TRUSTED_AFTER && this.#moveAt === Infinity;
  }

  planMove(now: number): void {
    this.#moveAt = now + jitterMs(this.#policy.spreadMs, this.#random);
  }

  #interval(): number {
    return this.#policy.probeMs * (0.5 + this.#random());
  }

  #forget(): void {
    this.#well = 0;
    this.#nearestMs = Infinity;
    this.#moveAt = Infinity;
  }
}
