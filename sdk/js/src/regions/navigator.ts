// Owns carrying out what `Regions` decides: sends probes, keeps its timer, hands addresses to whoever
// wants to dial. Decides nothing.

import { Alarm, type Clock } from '../clock.js';
import type { MachineEvent } from '../machine.js';
import { probe, type Fetch } from './probe.js';
import type { Redirect, RedirectNotice } from './redirects.js';
import type { RegionAction, RegionChange, RegionEvent, RegionsPolicy } from './events.js';
import { Regions } from './regions.js';

export interface NavigatorSetup {
  readonly policy: RegionsPolicy;
  readonly fetch: Fetch | undefined;
  readonly online: boolean;
  readonly clock: Clock;
}

export interface NavigatorEvents {
  /** Dial beside the running connection. */
  move(): void;
  arrived(change: RegionChange): void;
  /** What becomes of a redirect. */
  redirected(notice: RedirectNotice): void;
}

/** The address to dial, and why a server sent this client there, if one did. */
type Ready = (url: string, redirected: string | undefined) => void;

export class Navigator {
  readonly #setup: NavigatorSetup;
  readonly #events: NavigatorEvents;
  readonly #regions: Regions;
  readonly #alarm: Alarm;
  #wanting: Ready | null = null;

  constructor(setup: NavigatorSetup, events: NavigatorEvents) {
    this.#setup = setup;
    this.#events = events;
    this.#regions = new Regions(setup.policy, () => setup.clock.random());
    this.#alarm = new Alarm(setup.clock, () => this.#handle({ type: 'timer' }));
    if (!setup.online) this.#handle({ type: 'offline' });
  }

  /** Where this client is or was last. */
  get region(): string | null {
    return this.#regions.region;
  }

  /** Answers with the address to dial: at once, unless regions must be probed first. */
  pick(ready: Ready): void {
    this.#wanting = ready;
    this.#handle({ type: 'pick' });
  }

  /** Goes elsewhere because the server says so; whether it does. */
  redirect(redirect: Redirect): boolean {
    this.#handle({ type: 'redirect', redirect });
    return this.#regions.isSentTo(redirect.places);
  }

  /** How the region that answered the dial calls itself; `dialed` follows. */
  named(name: string): void {
    this.#handle({ type: 'named', name });
  }

  /** The connection, or the dial under way, was dropped by this side. */
  dropped(): void {
    this.#wanting = null;
    this.#handle({ type: 'dropped' });
  }

  /** Hears what happens to the connection and to the page. */
  hear(event: MachineEvent): void {
    switch (event.type) {
      case 'dial_failed':
      case 'lost': return this.#handle(event);
      case 'dialed':
      case 'offline':
      case 'online':
      case 'freeze':
      case 'wake': return this.#handle({ type: event.type });
    }
  }

  #handle(event: RegionEvent): void {
    const actions = this.#regions.handle(event, this.#setup.clock.now());
    this.#alarm.clear();
    this.#alarm.by(this.#regions.wakeAt());
    for (const action of actions) this.#carryOut(action);
  }

  #carryOut(action: RegionAction): void {
    switch (action.type) {
      case 'probe':
        for (const url of action.urls) void this.#probe(url);
        return;
      case 'dial': {
        const ready = this.#wanting;
        this.#wanting = null;
        return ready?.(action.url, action.redirected);
      }
      case 'move': return this.#events.move();
      case 'arrived': return this.#events.arrived(action.change);
      case 'redirected': return this.#events.redirected(action.notice);
    }
  }

  async #probe(url: string): Promise<void> {
    const { fetch, clock } = this.#setup;
    const health = fetch ? await probe(fetch, clock, url) : null;
    this.#handle({ type: 'probed', url, health });
  }
}
