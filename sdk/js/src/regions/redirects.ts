// Owns which redirects of a server are followed, and when: only to regions that are known, two a minute.
// Pure: dials nothing and holds no timer.

import type { RegionPlace } from '../errors.js';
import type { Place, Places } from './places.js';

/** Where a server sends this client, why (`zone`, `overload`, `drain`), and after how many milliseconds. */
export interface Redirect {
  readonly places: readonly RegionPlace[];
  readonly reason: string;
  readonly afterMs: number;
}

/** What became of a redirect, as the application is told. */
export interface RedirectNotice {
  /** The addresses that the server named. */
  readonly urls: readonly string[];
  readonly reason: string;
  /** False: no region that this client knows, or one redirect too many. */
  readonly followed: boolean;
}

/** Where a redirect leads. */
export interface Going {
  readonly place: Place;
  readonly why: string;
}

/** `here`: it leads nowhere new. `ask`: the region in use may know it as a region. */
export type Verdict = 'follow' | 'here' | 'ask' | 'ignore';

export interface Whereabouts {
  /** Where the client is connected. */
  readonly here: Place | null;
  /** Where a redirect leads that is being carried out. */
  readonly underWay: Place | null;
  /** Whether the region in use may be asked for others. */
  readonly mayAsk: boolean;
}

/** Redirects followed in any minute, at most. */
const MOST = 2;
const WINDOW_MS = 60_000;

export class Redirects {
  readonly #places: Places;
  #taken: number[] = [];
  #pending: (Going & { readonly at: number }) | null = null;
  /** Waits for what the region in use says of others. */
  #asking: Redirect | null = null;

  constructor(places: Places) {
    this.#places = places;
  }

  /** When the one that is pending is due. */
  nextAt(): number {
    return this.#pending?.at ?? Infinity;
  }

  hear(redirect: Redirect, at: Whereabouts, now: number): Verdict {
    const place = this.#places.nearestOf(redirect.places);
    if (!place) {
      if (!at.mayAsk) return 'ignore';
      this.#asking = redirect;
      return 'ask';
    }
    if (place === at.here || place === at.underWay || place === this.#pending?.place) return 'here';
    this.#taken = this.#taken.filter((taken) => taken > now - WINDOW_MS);
    if (this.#taken.length >= MOST) return 'ignore';
    this.#taken.push(now);
    this.#pending = { place, why: redirect.reason, at: now + Math.max(0, redirect.afterMs) };
    return 'follow';
  }

  /** The redirect that waited for an answer, once. */
  asked(): Redirect | null {
    const asked = this.#asking;
    this.#asking = null;
    return asked;
  }

  /** Where to go now; what is pending until later stays, unless `dialing`: then there is no reason to wait. */
  take(now: number, dialing: boolean): Going | null {
    const pending = this.#pending;
    if (!pending || (!dialing && now < pending.at)) return null;
    this.#pending = null;
    return pending;
  }

  leadsTo(place: Place): boolean {
    return this.#pending?.place === place;
  }

  forget(): void {
    this.#pending = null;
    this.#asking = null;
  }
}
