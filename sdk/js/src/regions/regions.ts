// Owns the decisions about regions: which one to dial, when to leave it, when to go back home.
// Pure: no probe, timer or dial of its own; `handle(event, now)` answers actions, `wakeAt` the next time.

import type { MeridianError } from '../errors.js';
import { speaksAgainst } from './fault.js';
import { isWell, type Health } from './health.js';
import type { RegionAction, RegionEvent, RegionReason, RegionsPolicy } from './events.js';
import { Homing } from './homing.js';
import { Places, type Place } from './places.js';
import { Redirects, type Redirect } from './redirects.js';
import { Round, PROBE_MS, TIE_MS } from './round.js';

/** Failures in a row before a region is left: the first may be one node's, another answers there. */
const STRIKES = 2;
/** A connection that lived this long clears what failed before it, in milliseconds. */
const STABLE_MS = 10_000;
/** One that lived this long makes a region trusted as if it had never failed. */
const TRUSTED_MS = 120_000;

type Aim = { place: Place; reason: RegionReason | null; why?: string };

export class Regions {
  readonly #places: Places;
  readonly #discover: boolean;
  readonly #homing: Homing;
  readonly #redirects: Redirects;
  readonly #random: () => number;
  #home: Place;
  /** Whether home was found well, and compared with the others, at least once. */
  #settled = false;
  #current: Place | null = null;
  #dialing: Aim | null = null;
  #arrived: Place | null = null;
  /** Where the next dial goes, and why, if not by the rules of failure. */
  #aim: Aim | null = null;
  #round: Round | null = null;
  #strikes = 0;
  #live = false;
  #liveSince = 0;
  #paused = { offline: false, frozen: false };
  #learnAt = Infinity;

  constructor(policy: RegionsPolicy, random: () => number) {
    this.#places = new Places(policy.urls, policy.discover, random);
    this.#discover = policy.discover;
    this.#redirects = new Redirects(this.#places);
    this.#homing = new Homing(policy.homing, random);
    this.#random = random;
    this.#home = this.#places.first;
  }

  /** Where this client is or was last; `null` before it first arrived. */
  get region(): string | null {
    return this.#arrived?.name ?? null;
  }

  /** When to send `timer`; `null` while nothing is planned. */
  wakeAt(): number | null {
    const background = this.#quiet ? Infinity : Math.min(this.#homing.nextAt(), this.#learnAt);
    // Without a connection the next dial goes there by itself.
    const sent = this.#live ? this.#redirects.nextAt() : Infinity;
    const at = Math.min(this.#round?.until ?? Infinity, sent, background);
    return at === Infinity ? null : at;
  }

  handle(event: RegionEvent, now: number): RegionAction[] {
    switch (event.type) {
      case 'pick': return this.#pick(now);
      case 'timer': return this.#timer(now);
      case 'dialed': return this.#dialed(now);
      case 'dial_failed': return this.#dialFailed(event.error, now);
      case 'named': return this.#named(event.name);
      case 'lost': return this.#lost(event.error, now);
      case 'dropped': return this.#dropped();
      case 'probed': return this.#probed(event.url, event.health, now);
      case 'redirect': return this.#redirect(event.redirect, this.#discover, now);
      case 'offline': return this.#pause('offline');
      case 'freeze': return this.#pause('frozen');
      case 'online': return this.#resume('offline', now);
      case 'wake': return this.#resume('frozen', now);
    }
  }

  #pick(now: number): RegionAction[] {
    const aim = this.#aim ?? this.#redirected(now, true);
    this.#aim = null;
    if (aim) return this.#dial(aim);
    if (this.#places.all.length === 1) return this.#dialCurrent(this.#home);
    if (this.#current && this.#strikes < STRIKES) return this.#dialCurrent(this.#current);
    const urls = this.#places.candidates(this.#current, now).map((place) => place.url);
    this.#round = new Round(urls, now);
    return [{ type: 'probe', urls }];
  }

  #dialCurrent(place: Place): RegionAction[] {
    this.#current = place;
    return this.#dial({ place, reason: null });
  }

  #dial(aim: Aim): RegionAction[] {
    this.#dialing = aim;
    return [{ type: 'dial', url: aim.place.url, ...(aim.why === undefined ? {} : { redirected: aim.why }) }];
  }

  #timer(now: number): RegionAction[] {
    return [...this.#conclude(now), ...this.#goWhereSent(now), ...this.#background(now)];
  }

  /** What is asked and planned while the client is connected. */
  #background(now: number): RegionAction[] {
    if (this.#quiet) return [];
    const step = this.#homing.due(now);
    if (step === 'probe') return [{ type: 'probe', urls: [this.#home.url] }];
    if (step === 'move') {
      this.#aim = { place: this.#home, reason: 'home' };
      return [{ type: 'move' }];
    }
    if (now < this.#learnAt || !this.#current) return [];
    this.#planLearning(now);
    return [{ type: 'probe', urls: [this.#current.url] }];
  }

  #probed(url: string, health: Health | null, now: number): RegionAction[] {
    const place = this.#places.at(url);
    if (place && health) {
      this.#places.heard(place, health);
      this.#learnAt = Infinity;
    }
    this.#round?.heard(url, health, now);
    if (this.#live && place === this.#home) this.#heardOfHome(health, now);
    const asked = this.#redirects.asked();
    return [...this.#conclude(now), ...(asked ? this.#redirect(asked, false, now) : [])];
  }

  #heardOfHome(health: Health | null, now: number): void {
    const well = health !== null && isWell(health) && health.rttMs <= PROBE_MS;
    this.#homing.heard(well ? health.rttMs : null);
    if (!this.#homing.ready) return;
    const here = this.#current;
    if (!this.#settled && here && this.#homing.nearestMs > here.rttMs + TIE_MS) {
      // Home was down when the nearest was looked for, and is not it: this place is.
      this.#home = here;
      this.#homing.stop();
    } else {
      this.#homing.planMove(now);
    }
    this.#settled = true;
  }

  #conclude(now: number): RegionAction[] {
    const round = this.#round;
    if (!round?.over(now)) return [];
    this.#round = null;
    const left = this.#current;
    const best = this.#places.at(round.best(this.#home.url) ?? '');
    if (!best) {
      // Nobody answers: no word against the region left, and probes may be blocked where dials are not.
      this.#strikes = STRIKES - 1;
      return this.#dialCurrent(this.#places.leastRecentlyFailed());
    }
    if (left && left !== best) this.#places.hold(left, now);
    if (!this.#settled && round.wellAt(this.#home.url)) {
      this.#home = best;
      this.#settled = true;
    }
    this.#strikes = 0;
    return this.#dialCurrent(best);
  }

  #named(name: string): RegionAction[] {
    if (this.#dialing && name !== '') this.#dialing.place.name = name;
    return [];
  }

  #dialed(now: number): RegionAction[] {
    const { place, reason, why }: Aim = this.#dialing ?? { place: this.#home, reason: null };
    const before = this.#arrived;
    this.#dialing = null;
    this.#current = place;
    this.#arrived = place;
    this.#live = true;
    this.#liveSince = now;
    if (why === 'zone') this.#settleAt(place);
    else if (reason === 'redirect' && before) this.#places.hold(before, now);
    if (place === this.#home) this.#homing.stop();
    else if (!this.#homing.away || before !== place) this.#homing.start(now, this.#home.heldUntil);
    if (this.#discover && this.#places.all.length === 1 && this.#learnAt === Infinity) this.#planLearning(now);
    // What was aimed at while another dial was under way comes now.
    const again: RegionAction[] = this.#aim ? [{ type: 'move' }] : [];
    if (before === place) return again;
    const arrivedBy = reason ?? (before ? 'failure' : 'start');
    return [{ type: 'arrived', change: { region: place.name, url: place.url, reason: arrivedBy } }, ...again];
  }

  #dialFailed(error: MeridianError, now: number): RegionAction[] {
    const dialing = this.#dialing;
    this.#dialing = null;
    // Without a dial there was no token: what was aimed at is stale by the time there is one.
    if (!dialing) this.#aim = null;
    if (!dialing || !speaksAgainst(error)) return [];
    const { place, reason } = dialing;
    if (reason === null) {
      this.#strike(place, now);
      return [];
    }
    this.#places.hold(place, now);
    if (this.#live && this.#homing.away) this.#homing.start(now, this.#home.heldUntil);
    return [];
  }

  #lost(error: MeridianError, now: number): RegionAction[] {
    const place = this.#current;
    if (this.#live && place) {
      const age = now - this.#liveSince;
      if (age >= STABLE_MS) this.#strikes = 0;
      if (age >= TRUSTED_MS) place.failures = 0;
      // A node that stops says nothing against its region.
      if (speaksAgainst(error) && error.code !== 'draining') this.#strike(place, now);
    }
    return this.#down();
  }

  /** Dropped by this side, with every dial and probe under way. */
  #dropped(): RegionAction[] {
    this.#round = null;
    this.#dialing = null;
    this.#aim = null;
    this.#redirects.forget();
    return this.#down();
  }

  /** There is no connection; a dial that is under way goes on. */
  #down(): RegionAction[] {
    this.#live = false;
    this.#homing.stop();
    this.#learnAt = Infinity;
    return [];
  }

  #strike(place: Place, now: number): void {
    this.#strikes += 1;
    if (this.#strikes >= STRIKES) place.failedAt = now;
  }

  #redirect(redirect: Redirect, mayAsk: boolean, now: number): RegionAction[] {
    const asked = this.#current ?? this.#home;
    const underWay = [this.#aim, this.#dialing].find((aim) => aim?.reason === 'redirect')?.place ?? null;
    const here = this.#live ? this.#current : null;
    const verdict = this.#redirects.hear(redirect, { here, underWay, mayAsk }, now);
    if (verdict === 'here') return [];
    if (verdict === 'ask') return [{ type: 'probe', urls: [asked.url] }];
    const followed = verdict === 'follow';
    const notice = { urls: redirect.places.map(({ url }) => url), reason: redirect.reason, followed };
    return [{ type: 'redirected', notice }, ...(followed ? this.#goWhereSent(now) : [])];
  }

  /** Whether this client is on its way to one of these places because a server sent it. */
  isSentTo(named: Redirect['places']): boolean {
    const place = this.#places.nearestOf(named);
    const aims = [this.#aim, this.#dialing].some((aim) => aim?.reason === 'redirect' && aim.place === place);
    return place !== null && (aims || this.#redirects.leadsTo(place));
  }

  #redirected(now: number, dialing: boolean): Aim | null {
    const going = this.#redirects.take(now, dialing);
    return going && { ...going, reason: 'redirect' };
  }

  #goWhereSent(now: number): RegionAction[] {
    const aim = this.#live ? this.#redirected(now, false) : null;
    if (!aim) return [];
    this.#aim = aim;
    return [{ type: 'move' }];
  }

  /** This place is home from now on: where home was is of no use to this client. */
  #settleAt(place: Place): void {
    this.#home = place;
    this.#settled = true;
  }

  #pause(why: 'offline' | 'frozen'): RegionAction[] {
    this.#paused[why] = true;
    return [];
  }

  #resume(why: 'offline' | 'frozen', now: number): RegionAction[] {
    if (!this.#paused[why]) return [];
    this.#paused[why] = false;
    if (!this.#quiet) this.#homing.woke(now);
    return [];
  }

  #planLearning(now: number): void {
    this.#learnAt = now + 30_000 * (0.1 + this.#random());
  }

  /** Nothing is asked in the background while nobody is there to hear. */
  get #quiet(): boolean {
    return !this.#live || this.#paused.offline || this.#paused.frozen;
  }
}
