// Owns the token: asks the application for it, keeps it while it is good, says when to renew it.
// Never reads into a token and never stores it.

import { asMeridianError, MeridianError } from './errors.js';
import type { Clock } from './clock.js';

export type TokenOption = string | (() => string | Promise<string>) | undefined;

/** Renew after this share of the lifetime, plus a random part of the second share. */
const RENEW_AFTER = 0.75;
const RENEW_SPREAD = 0.15;
const RETRY_MS = 5_000;
/** A token this close to its end is not used for a new connection, and should be renewed by now, in milliseconds. */
const NEARLY_OVER_MS = 5_000;

export class TokenSource {
  readonly #option: TokenOption;
  readonly #clock: Clock;
  #token: string | null = null;
  #expiresAt = Infinity;
  #renewAt = Infinity;

  constructor(option: TokenOption, clock: Clock) {
    this.#option = option;
    this.#clock = clock;
  }

  get canRenew(): boolean {
    return typeof this.#option === 'function';
  }

  /** The token for a new connection; `undefined` for a client that has none. */
  async current(): Promise<string | undefined> {
    if (typeof this.#option !== 'function') return this.#option;
    const usable = this.#token !== null && this.#clock.now() < this.#expiresAt - NEARLY_OVER_MS;
    return usable ? (this.#token ?? undefined) : await this.renewed();
  }

  /** A token fresh from the application. */
  async renewed(): Promise<string> {
    if (typeof this.#option !== 'function') {
      throw new MeridianError('token_not_renewable', 'stop', 'a token given as text cannot be renewed');
    }
    this.#renewAt = this.#clock.now() + RETRY_MS;
    try {
      const token = await this.#option();
      if (typeof token !== 'string' || token === '') throw new TypeError('the token callback gave no token');
      this.#token = token;
      this.#expiresAt = Infinity;
      return token;
    } catch (error) {
      throw asMeridianError(error, 'token_callback_failed', 'reconnect', 'the token callback failed');
    }
  }

  /** The server refused the token held. */
  invalidate(): void {
    this.#token = null;
  }

  /** The server said how long the token it took is good. */
  accepted(expiresInMs: number | undefined): void {
    const now = this.#clock.now();
    this.#expiresAt = expiresInMs === undefined ? Infinity : now + expiresInMs;
    this.#renewAt = expiresInMs === undefined ? Infinity : now + Math.max(1_000, this.#renewAfter(expiresInMs));
  }

  /** A share of a short lifetime leaves too little for the callback; its half has to do then. */
  #renewAfter(lifetimeMs: number): number {
    const share = RENEW_AFTER + RENEW_SPREAD * this.#clock.random();
    const latest = Math.max(lifetimeMs - NEARLY_OVER_MS, lifetimeMs / 2);
    return Math.min(lifetimeMs * share, latest);
  }

  /** Whether the token of the running session should be renewed now. */
  due(now: number): boolean {
    return this.canRenew && now >= this.#renewAt;
  }

  /** A renewal was not accepted; when to try again. */
  retryLater(): void {
    this.#renewAt = this.#clock.now() + RETRY_MS;
  }
}
