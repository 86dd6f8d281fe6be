// Owns the list of regions that a client knows: where they are, how they are called, which are left
// alone and how long. Pure.

import { backoffMs } from '../backoff.js';
import type { RegionPlace } from '../errors.js';
import { baseUrl, isSecure, type Health } from './health.js';

export interface Place {
  readonly url: string;
  /** As the region calls itself; its address until it has answered. */
  name: string;
  rttMs: number;
  failures: number;
  /** Left alone until then. */
  heldUntil: number;
  failedAt: number;
}

/** How long a region that failed is left alone: doubling with each failure. */
const HOLD = { baseMs: 30_000, capMs: 600_000 };
const MAX_PLACES = 32;

export class Places {
  readonly #places: Place[] = [];
  readonly #learns: boolean;
  readonly #random: () => number;

  constructor(urls: readonly string[], learns: boolean, random: () => number) {
    this.#learns = learns;
    this.#random = random;
    for (const url of urls) this.add(url);
  }

  /** The one that the application named first. */
  get first(): Place {
    return this.#places[0] as Place;
  }

  get all(): readonly Place[] {
    return this.#places;
  }

  at(url: string): Place | undefined {
    return this.#places.find((place) => place.url === url);
  }

  /** The place at an address, made if it is new; `null` if it is none or there are too many. */
  add(text: string): Place | null {
    const url = baseUrl(text);
    if (url === null) return null;
    const known = this.at(url);
    if (known || this.#places.length >= MAX_PLACES) return known ?? null;
    const place = { url, name: url, rttMs: Infinity, failures: 0, heldUntil: 0, failedAt: -Infinity };
    this.#places.push(place);
    return place;
  }

  /** The nearest known one of those that a server names, by address or else by name. */
  nearestOf(named: readonly RegionPlace[]): Place | null {
    let best: Place | null = null;
    for (const { url, region } of named) {
      const place = this.at(baseUrl(url) ?? '') ?? this.#places.find(({ name }) => name === region);
      if (place && (best === null || place.rttMs < best.rttMs)) best = place;
    }
    return best;
  }

  /** Takes over what a region said of itself and, where the application allows it, of others. */
  heard(place: Place, health: Health): void {
    place.rttMs = health.rttMs;
    if (health.name !== '') place.name = health.name;
    if (!this.#learns) return;
    for (const { url, name } of health.regions) {
      // A token must not go out in the clear because a list said so.
      if (isSecure(this.first.url) && !isSecure(url)) continue;
      const other = this.add(url);
      if (other && other.name === other.url && name !== '') other.name = name;
    }
  }

  /** Leaves a region alone for a while that grows with each time. */
  hold(place: Place, now: number): void {
    place.heldUntil = now + backoffMs(HOLD, place.failures, this.#random);
    place.failures += 1;
  }

  /** Whom to ask after `left` failed: those not left alone; if there are none, all others. */
  candidates(left: Place | null, now: number): Place[] {
    const others = this.#places.filter((place) => place !== left);
    const free = others.filter((place) => now >= place.heldUntil);
    return free.length > 0 ? free : others;
  }

  /** The one whose last failure is longest ago: where to go when no probe gets through. */
  leastRecentlyFailed(): Place {
    return this.#places.reduce((best, place) => (place.failedAt < best.failedAt ? place : best));
  }
}
