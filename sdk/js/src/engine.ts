// Owns the running connection: feeds the machine with events and carries its actions out, keeps the
// current session and the one it moves away from. Never decides about reconnects and knows no channels.

import { Alarm, WakingTime, type Clock } from './clock.js';
import { Attempt, Dialer, type DialerSetup, type Won } from './dialer.js';
import { Ending } from './ending.js';
import { asMeridianError, MeridianError } from './errors.js';
import { Machine, type MachineAction, type MachineEvent, type MachinePolicy } from './machine.js';
import { ALL_NORMAL, leavesConnection, sameModes, type Modes } from './modes.js';
import { Navigator, type NavigatorSetup } from './regions/navigator.js';
import type { RedirectNotice } from './regions/redirects.js';
import type { RegionChange } from './regions/events.js';
import type { Session } from './session.js';
import type { TokenSource } from './token.js';
import type { ClientState } from './types.js';
import type { ServerMessage } from './wire.js';

export interface EngineEvents {
  state(state: ClientState): void;
  /** A session is ready; subscribe on it. */
  up(session: Session): void;
  /** A session is over, whether the current one or one that was moved away from. */
  down(session: Session, error: MeridianError): void;
  message(session: Session, message: ServerMessage, lane: number, bytes: number): void;
  laneEnded(session: Session, lane: number): void;
  stopped(error: MeridianError): void;
  tick(awake: number): void;
  drain(afterMs: number): void;
  /** The client is connected in another region than before. */
  region(change: RegionChange): void;
  /** The gateway gives another part of its service than before. */
  mode(modes: Modes): void;
  /** What the client follows. */
  channels(): readonly string[];
  /** The server sends this client to another region, and whether it goes. */
  redirect(notice: RedirectNotice): void;
  /** A fault that ends nothing. */
  fault(error: MeridianError): void;
  /** Whether nothing depends on this session any more. */
  idle(session: Session): boolean;
}

export interface EngineSetup {
  readonly dialer: Omit<DialerSetup, 'clock' | 'waking'>;
  readonly machine: Omit<MachinePolicy, 'canRenewToken'>;
  readonly regions: Omit<NavigatorSetup, 'clock' | 'online'>;
  readonly token: TokenSource;
  readonly greeting: Readonly<Record<string, unknown>>;
  readonly online: boolean;
  readonly clock: Clock;
}

const TICK_MS = 1_000;
/** How long a session that was moved away from may finish what it has, in waking milliseconds. */
const RETIRE_MS = 10_000;
/** A takeover while moving, or this soon after two attempts said `connect`, is our own doing. */
const OWN_TAKEOVER_MS = 10_000;

/** Modes that stand are told right behind `connected`. */
const MODES_MS = 2_000;

export class Engine {
  readonly #setup: EngineSetup;
  readonly #events: EngineEvents;
  readonly #waking: WakingTime;
  readonly #dialer: Dialer;
  readonly #navigator: Navigator;
  readonly #machine: Machine;
  readonly #ending = new Ending();
  readonly #alarm: Alarm;
  #attempt: Attempt | null = null;
  #generation = 0;
  #current: Session | null = null;
  #retiring: { session: Session; until: number } | null = null;
  #rivalsUntil = 0;
  #ticker: unknown = null;
  #renewing = false;
  #modes = ALL_NORMAL;
  /** The next connection is none: channels are polled. */
  #polls = false;
  /** Until when a new session may be told the modes that stand; told nothing, all is normal. */
  #modesBy = Infinity;

  constructor(setup: EngineSetup, events: EngineEvents) {
    const { clock } = setup;
    this.#setup = setup;
    this.#events = events;
    this.#waking = new WakingTime(clock.now());
    this.#dialer = new Dialer({ ...setup.dialer, clock, waking: this.#waking });
    this.#navigator = new Navigator({ ...setup.regions, online: setup.online, clock }, {
      move: () => this.handle({ type: 'move' }),
      // Told when the machine is done with what it handles, so that a listener may close the client.
      arrived: (change) => queueMicrotask(() => this.#events.region(change)),
      redirected: (notice) => queueMicrotask(() => this.#events.redirect(notice)),
    });
    const policy = { ...setup.machine, canRenewToken: setup.token.canRenew };
    this.#machine = new Machine(policy, () => clock.random());
    this.#alarm = new Alarm(clock, () => this.handle({ type: 'timer' }));
    if (!setup.online) this.#machine.handle({ type: 'offline' }, clock.now());
  }

  get state(): ClientState {
    return this.#machine.state;
  }

  /** The region of this client, as it calls itself or by its address; `null` before the first. */
  get region(): string | null {
    return this.#navigator.region;
  }

  /** How much of its service the gateway gives. */
  get modes(): Modes {
    return this.#modes;
  }

  /** The session to send on; `null` while there is none. */
  get session(): Session | null {
    return this.#current;
  }

  get awake(): number {
    return this.#waking.at(this.#setup.clock.now());
  }

  handle(event: MachineEvent): void {
    const now = this.#setup.clock.now();
    this.#navigator.hear(event);
    const actions = this.#machine.handle(event, now);
    this.#keepTicking();
    this.#alarm.by(this.#machine.wakeAt());
    for (const action of actions) this.#carryOut(action);
  }

  /** Ends the current session for a reason that asks for a new connection. */
  reconnect(error: MeridianError): void {
    this.#current?.fail(error);
  }

  /** Whether this client goes to where a channel is that is not here. */
  followsZone(error: MeridianError): boolean {
    if (error.code !== 'wrong_region' || error.elsewhere.length === 0) return false;
    return this.#navigator.redirect({ places: error.elsewhere, reason: 'zone', afterMs: 0 });
  }

  /** Gets a fresh token from the application and gives it to the running session. */
  renewToken(): void {
    if (this.#renewing || !this.#setup.token.canRenew) return;
    this.#renewing = true;
    const { token } = this.#setup;
    token.renewed().then(
      (fresh) => {
        this.#renewing = false;
        this.#current?.command({ refresh: { token: fresh } }, {
          reply: (message) => {
            if (message.type === 'refreshed') token.accepted(message.expiresInMs);
          },
          failed: (error) => {
            token.retryLater();
            this.#events.fault(error);
          },
          lost: () => undefined,
        });
      },
      (error: MeridianError) => {
        this.#renewing = false;
        this.#events.fault(error);
      },
    );
  }

  #carryOut(action: MachineAction): void {
    switch (action.type) {
      case 'dial': return this.#dial();
      case 'abort_dial': return this.#abortDial();
      case 'drop': return this.#drop();
      case 'retire': return;
      case 'probe': return this.#current?.tick(this.awake, true);
      case 'renew_token': return this.#setup.token.invalidate();
      case 'stop': return this.#events.stopped(action.error);
      case 'state':
        if (action.state === 'closed' || action.state === 'stopped') this.#finishRetiring();
        return this.#events.state(action.state);
    }
  }

  #dial(): void {
    const generation = ++this.#generation;
    this.#setup.token.current().then(
      (token) => {
        if (generation !== this.#generation) return;
        this.#navigator.pick((url, redirected) => this.#race(generation, url, token, redirected));
      },
      (error: unknown) => {
        if (generation !== this.#generation) return;
        const typed = asMeridianError(error, 'token_callback_failed', 'reconnect', 'the token callback failed');
        this.#events.fault(typed);
        this.handle({ type: 'dial_failed', error: typed });
      },
    );
  }

  #race(generation: number, url: string, token: string | undefined, redirected: string | undefined): void {
    const { cause } = this.#ending;
    const greeting = {
      ...this.#setup.greeting,
      ...(token === undefined ? {} : { token }),
      ...(cause === undefined ? {} : { reconnect: cause }),
      ...(redirected === undefined ? {} : { redirected }),
    };
    this.#attempt = this.#dialer.dial(
      url,
      this.#polls,
      greeting,
      {
        message: (session, message, lane, bytes) => this.#message(session, message, lane, bytes),
        laneEnded: (session, lane) => this.#events.laneEnded(session, lane),
        closed: (session, error) => this.#closed(session, error),
      },
      (won) => this.#won(won),
      (error) => {
        if (generation !== this.#generation) return;
        this.#attempt = null;
        this.#events.fault(error);
        this.handle({ type: 'dial_failed', error });
        // Beside a running connection there is no need to go anywhere.
        const full = error.code === 'too_many_sessions' && error.elsewhere.length > 0;
        if (full && !this.#current) this.#navigator.redirect({ places: error.elsewhere, reason: 'overload', afterMs: 0 });
      },
    );
  }

  #won({ session, rivals }: Won): void {
    const previous = this.#current;
    this.#current = session;
    this.#finishRetiring();
    if (previous) this.#retiring = { session: previous, until: this.awake + RETIRE_MS };
    this.#attempt = null;
    this.#rivalsUntil = rivals ? this.awake + OWN_TAKEOVER_MS : 0;
    this.#ending.began();
    this.#setup.token.accepted(session.info.expiresInMs);
    this.#navigator.named(session.info.region);
    this.handle({ type: 'dialed' });
    this.#modesBy = session.transport === 'polling' ? Infinity : this.awake + MODES_MS;
    session.activate();
    if (!session.over) this.#events.up(session);
  }

  #message(session: Session, message: ServerMessage, lane: number, bytes: number): void {
    if (message.type === 'drain') {
      if (session !== this.#current) return;
      this.#ending.drained();
      this.#events.drain(message.afterMs);
      return this.handle({ type: 'drain', afterMs: message.afterMs });
    }
    if (message.type === 'mode') {
      if (session === this.#current) this.#follow(session, message.modes, message.afterMs);
      return;
    }
    if (message.type === 'redirect') {
      if (session === this.#current) this.#navigator.redirect(message);
      return;
    }
    if (message.type !== 'error') return this.#events.message(session, message, lane, bytes);
    if (message.error.action === 'refresh') this.renewToken();
    this.#events.fault(message.error);
  }

  /** Leaves the connection for polls, or polls for a connection, at the moment that the gateway gave. */
  #follow(session: Session, modes: Modes, afterMs: number): void {
    this.#modesBy = Infinity;
    this.#told(modes);
    const polls = this.#dialer.mayPoll && leavesConnection(modes, this.#events.channels());
    if (polls === this.#polls) return;
    this.#polls = polls;
    if (polls !== (session.transport === 'polling')) this.handle({ type: 'drain', afterMs });
  }

  #told(modes: Modes): void {
    if (sameModes(modes, this.#modes)) return;
    this.#modes = modes;
    this.#events.mode(modes);
  }

  #closed(session: Session, error: MeridianError): void {
    this.#dialer.sessionEnded(session, error);
    if (this.#retiring?.session === session) {
      this.#retiring = null;
      return this.#events.down(session, error);
    }
    if (session !== this.#current) return;
    this.#current = null;
    if (this.#waking.late(this.#setup.clock.now())) this.#ending.woke(this.awake);
    this.#ending.lost(error, this.awake);
    const moving = this.#attempt !== null || this.awake < this.#rivalsUntil;
    const own = error.code === 'taken_over' && moving;
    const reason = own ? new MeridianError(error.code, 'reconnect', error.message) : error;
    this.#events.down(session, reason);
    this.#events.fault(reason);
    this.handle({ type: 'lost', error: reason });
  }

  #abortDial(): void {
    this.#generation += 1;
    this.#attempt?.abort();
    this.#attempt = null;
    this.#navigator.dropped();
  }

  #drop(): void {
    this.#finishRetiring();
    const session = this.#current;
    this.#current = null;
    if (!session) return;
    this.#navigator.dropped();
    this.#ending.dropped(this.state === 'closed');
    session.close();
    this.#events.down(session, new MeridianError('closed', 'reconnect', 'the client closed the connection'));
  }

  #finishRetiring(): void {
    const session = this.#retiring?.session;
    this.#retiring = null;
    if (!session) return;
    session.close();
    this.#events.down(session, new MeridianError('moved', 'reconnect', 'the client moved to another connection'));
  }

  #keepTicking(): void {
    const wanted = this.state !== 'idle' && this.state !== 'closed' && this.state !== 'stopped';
    if (!wanted && this.#ticker !== null) {
      this.#setup.clock.clearTimeout(this.#ticker);
      this.#ticker = null;
    } else if (wanted && this.#ticker === null) {
      this.#waking.tick(this.#setup.clock.now());
      this.#ticker = this.#setup.clock.setTimeout(() => this.#tick(), TICK_MS);
    }
  }

  #tick(): void {
    this.#ticker = this.#setup.clock.setTimeout(() => this.#tick(), TICK_MS);
    const now = this.#setup.clock.now();
    const { awake, late } = this.#waking.tick(now);
    if (late) {
      this.#ending.woke(awake);
      this.handle({ type: 'wake' });
    }
    this.#current?.tick(awake, false);
    this.#retiring?.session.tick(awake, false);
    if (this.#retiring && (awake >= this.#retiring.until || this.#events.idle(this.#retiring.session))) {
      this.#finishRetiring();
    }
    if (this.#current && this.#setup.token.due(now)) this.renewToken();
    if (awake >= this.#modesBy) {
      this.#modesBy = Infinity;
      this.#told(ALL_NORMAL);
    }
    this.#events.tick(awake);
  }
}
