// Owns carrying out a race: dials links, sends `connect`, remembers what worked, cleans up the rest.
// All choices are the race's; never reconnects after the race is decided.

import { Alarm, type Clock, type WakingTime } from './clock.js';
import type { Codec } from './codec/codec.js';
import { asMeridianError, isTransportFailure, MeridianError } from './errors.js';
import { Session, type SessionEvents } from './session.js';
import { choose, PREFERRED, type Choice, type FallbackReason } from './transport/choice.js';
import { linkUrl, type Dials } from './transport/link.js';
import type { TransportMemory } from './transport/memory.js';
import { Race, type RaceAction, type RaceEvent } from './transport/race.js';
import type { TransportName } from './types.js';

export interface DialerSetup {
  readonly codec: Codec;
  readonly dials: Dials;
  readonly mode: 'auto' | TransportName;
  /** The platform's WebTransport is known not to hold: use it only when forced. */
  readonly avoidWebTransport: boolean;
  /** Which transport worked at an address. */
  readonly memory: (url: string) => TransportMemory;
  /** How long a fallback to WebSocket is remembered. */
  readonly rememberMs: number;
  readonly headStartMs: number;
  readonly clock: Clock;
  readonly waking: WakingTime;
}

export interface Won {
  readonly session: Session;
  /** Another attempt of this client had sent `connect` too. */
  readonly rivals: boolean;
}

const OPEN_MS = 10_000;
const ANSWER_MS = 8_000;
/** WebTransport sessions that went silent, in a row, until WebSocket is preferred for a while. */
const SILENT_DEATHS = 2;
const SILENCE_MEMORY_MS = 3_600_000;

export class Dialer {
  readonly #setup: DialerSetup;
  #silentDeaths = 0;

  constructor(setup: DialerSetup) {
    this.#setup = setup;
  }

  /** Starts an attempt; exactly one of `won` and `lost` follows, unless it is aborted. */
  dial(
    url: string,
    greeting: Record<string, unknown>,
    live: Pick<SessionEvents, 'message' | 'laneEnded' | 'closed'>,
    won: (result: Won) => void,
    lost: (error: MeridianError) => void,
  ): Attempt {
    const setup = { ...this.#setup, url, memory: this.#setup.memory(url) };
    return new Attempt(setup, this.#choice(setup.memory), greeting, live, won, lost);
  }

  /** A session ended; one that went silent speaks against its transport. */
  sessionEnded({ base, transport }: Session, error: MeridianError): void {
    if (transport !== PREFERRED || error.code !== 'unresponsive') return;
    this.#silentDeaths += 1;
    if (this.#silentDeaths < SILENT_DEATHS) return;
    this.#silentDeaths = 0;
    this.#setup.memory(base).remember('websocket', this.#setup.clock.now() + SILENCE_MEMORY_MS);
  }

  #choice(memory: TransportMemory): Choice {
    const { dials, mode, clock, avoidWebTransport } = this.#setup;
    const remembered = memory.recall(clock.now()) === 'websocket';
    const usable = (transport: TransportName) => dials[transport] !== undefined;
    return choose({ mode, usable, remembered, avoid: avoidWebTransport });
  }
}

type AttemptSetup = Omit<DialerSetup, 'memory'> & { readonly url: string; readonly memory: TransportMemory };

/** One race under way. */
export class Attempt {
  readonly #setup: AttemptSetup;
  readonly #choice: Choice;
  readonly #greeting: Record<string, unknown>;
  readonly #live: Pick<SessionEvents, 'message' | 'laneEnded' | 'closed'>;
  readonly #won: (result: Won) => void;
  readonly #lost: (error: MeridianError) => void;
  readonly #race: Race;
  readonly #sessions = new Map<TransportName, Session>();
  readonly #alarm: Alarm;
  readonly #opened = new Set<TransportName>();
  #loser: Session | null = null;
  #loserTimer: unknown = null;
  #preferredFailed = false;
  /** Why a `connect` over another transport does not go over the preferred one. */
  #fallback: FallbackReason;
  #over = false;

  constructor(
    setup: AttemptSetup,
    choice: Choice,
    greeting: Record<string, unknown>,
    live: Pick<SessionEvents, 'message' | 'laneEnded' | 'closed'>,
    won: (result: Won) => void,
    lost: (error: MeridianError) => void,
  ) {
    this.#setup = setup;
    this.#choice = choice;
    this.#fallback = choice.without ?? 'timeout';
    this.#greeting = greeting;
    this.#live = live;
    this.#won = won;
    this.#lost = lost;
    this.#race = new Race({ order: choice.order, headStartMs: setup.headStartMs, openMs: OPEN_MS, answerMs: ANSWER_MS });
    this.#alarm = new Alarm(setup.clock, () => this.#step({ type: 'timer' }));
    this.#step({ type: 'start' });
  }

  abort(): void {
    this.#over = true;
    this.#alarm.clear();
    for (const session of this.#sessions.values()) session.close();
    if (this.#loser) this.#judgeLoser(true);
  }

  #step(event: RaceEvent): void {
    if (this.#over) return;
    const { clock, waking } = this.#setup;
    const awake = waking.at(clock.now());
    for (const action of this.#race.handle(event, awake)) this.#carryOut(action);
    const next = this.#race.nextAt();
    if (!this.#over && next !== null) this.#alarm.by(clock.now() + Math.max(1, next - awake));
  }

  #carryOut(action: RaceAction): void {
    switch (action.type) {
      case 'dial': return this.#dial(action.transport);
      case 'greet': return this.#greet(action.transport);
      case 'abandon': return this.#abandon(action.transport);
      case 'won': return this.#finish(action.transport, action.rivals);
      case 'lost':
        this.#over = true;
        this.#alarm.clear();
        if (this.#choice.order.length < 2) this.#setup.memory.forget();
        return this.#lost(action.error);
    }
  }

  #dial(transport: TransportName): void {
    const { url, codec, dials, clock, waking } = this.#setup;
    try {
      const dial = dials[transport];
      if (!dial) throw new MeridianError('connect_failed', 'reconnect', `there is no ${transport} here`);
      const setup = { transport, dial, codec, clock, waking, base: url, url: linkUrl(url, transport, codec.name) };
      this.#sessions.set(transport, new Session(setup, this.#events(transport)));
    } catch (error) {
      const typed = asMeridianError(error, 'connect_failed', 'reconnect', `${transport} could not start`);
      queueMicrotask(() => this.#failed(transport, typed));
    }
  }

  #greet(transport: TransportName): void {
    const fallback = { from: PREFERRED, reason: this.#fallback };
    const told = transport === PREFERRED ? {} : { fallback };
    this.#sessions.get(transport)?.greet({ ...this.#greeting, ...told });
  }

  #events(transport: TransportName): SessionEvents {
    return {
      opened: (session) => {
        if (session === this.#loser) return this.#judgeLoser(true);
        this.#opened.add(transport);
        this.#step({ type: 'opened', transport });
      },
      connected: () => this.#step({ type: 'connected', transport }),
      message: this.#live.message,
      laneEnded: this.#live.laneEnded,
      closed: (session, error) => {
        if (session === this.#loser) this.#judgeLoser(false);
        else if (this.#over) this.#live.closed(session, error);
        else this.#failed(transport, error);
      },
    };
  }

  #failed(transport: TransportName, error: MeridianError): void {
    if (transport === PREFERRED) {
      this.#fallback = 'failed';
      this.#preferredFailed ||= isTransportFailure(error);
    }
    this.#step({ type: 'failed', transport, error });
  }

  #abandon(transport: TransportName): void {
    const session = this.#sessions.get(transport);
    this.#sessions.delete(transport);
    if (!session) return;
    if (this.#over && transport === PREFERRED && !this.#opened.has(transport)) return this.#watchLoser(session);
    if (!this.#over && transport === PREFERRED) this.#preferredFailed = true;
    session.close();
  }

  #finish(transport: TransportName, rivals: boolean): void {
    const session = this.#sessions.get(transport) as Session;
    this.#over = true;
    this.#alarm.clear();
    this.#sessions.delete(transport);
    if (transport === PREFERRED) this.#remember(PREFERRED);
    else if (this.#preferredFailed) this.#remember('websocket');
    this.#won({ session, rivals });
  }

  /** WebSocket won while WebTransport was still opening: slow is no reason to avoid it, blocked is. */
  #watchLoser(session: Session): void {
    this.#loser = session;
    this.#loserTimer = this.#setup.clock.setTimeout(() => this.#judgeLoser(false), OPEN_MS);
  }

  #judgeLoser(opened: boolean): void {
    const loser = this.#loser;
    this.#loser = null;
    this.#setup.clock.clearTimeout(this.#loserTimer);
    if (loser && !opened) this.#remember('websocket');
    loser?.close();
  }

  #remember(transport: TransportName): void {
    if (this.#setup.mode !== 'auto') return;
    this.#setup.memory.remember(transport, this.#setup.clock.now() + this.#setup.rememberMs);
  }
}
