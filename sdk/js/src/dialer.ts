// Owns carrying out a race: dials links, sends `connect`, remembers what worked, cleans up the rest.
// All choices are the race's; never reconnects after the race is decided.

import { Alarm, type Clock, type WakingTime } from './clock.js';
import type { Codec } from './codec/codec.js';
import { jsonCodec } from './codec/json.js';
import { asMeridianError, isTransportFailure, MeridianError } from './errors.js';
import { Session, type SessionEvents } from './session.js';
import { choose, PREFERRED, type Choice, type FallbackReason } from './transport/choice.js';
import { isHttp, linkUrl, type Dials } from './transport/link.js';
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
  /** How long a fallback is remembered. */
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
/** Requests are the worst way: one bad hour of a network is not to cost a day of it. */
const HTTP_MEMORY_MS = 3_600_000;

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
    const remembered = memory.recall(clock.now());
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
  /** Better transports that were still opening when another won, and their timers. */
  readonly #losers = new Map<TransportName, { session: Session; timer: unknown }>();
  readonly #failures = new Set<TransportName>();
  #winner: TransportName | null = null;
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
    for (const transport of [...this.#losers.keys()]) this.#judgeLoser(transport, true);
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
        if (this.#choice.shortened) this.#setup.memory.forget();
        return this.#lost(action.error);
    }
  }

  #dial(transport: TransportName): void {
    const { url, dials, clock, waking } = this.#setup;
    const codec = isHttp(transport) ? jsonCodec : this.#setup.codec;
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
        if (this.#losers.get(transport)?.session === session) return this.#judgeLoser(transport, true);
        this.#opened.add(transport);
        this.#step({ type: 'opened', transport });
      },
      connected: () => this.#step({ type: 'connected', transport }),
      message: this.#live.message,
      laneEnded: this.#live.laneEnded,
      closed: (session, error) => {
        if (this.#losers.get(transport)?.session === session) this.#judgeLoser(transport, false);
        else if (this.#over) this.#live.closed(session, error);
        else this.#failed(transport, error);
      },
    };
  }

  #failed(transport: TransportName, error: MeridianError): void {
    if (transport === PREFERRED) this.#fallback = 'failed';
    if (isTransportFailure(error)) this.#failures.add(transport);
    this.#step({ type: 'failed', transport, error });
  }

  #abandon(transport: TransportName): void {
    const session = this.#sessions.get(transport);
    this.#sessions.delete(transport);
    if (!session) return;
    if (this.#over && this.#isBetter(transport) && !this.#opened.has(transport)) return this.#watchLoser(transport, session);
    if (!this.#over) this.#failures.add(transport);
    session.close();
  }

  #finish(transport: TransportName, rivals: boolean): void {
    const session = this.#sessions.get(transport) as Session;
    this.#over = true;
    this.#winner = transport;
    this.#alarm.clear();
    this.#sessions.delete(transport);
    this.#remember();
    this.#won({ session, rivals });
  }

  /** Another won while this one was still opening: slow is no reason to avoid it, blocked is. */
  #watchLoser(transport: TransportName, session: Session): void {
    const timer = this.#setup.clock.setTimeout(() => this.#judgeLoser(transport, false), OPEN_MS);
    this.#losers.set(transport, { session, timer });
  }

  #judgeLoser(transport: TransportName, opened: boolean): void {
    const loser = this.#losers.get(transport);
    if (!loser) return;
    this.#losers.delete(transport);
    this.#setup.clock.clearTimeout(loser.timer);
    if (!opened) {
      this.#failures.add(transport);
      this.#remember();
    }
    loser.session.close();
  }

  /** Remembers the winner where nothing better works here, so far as this attempt has tried. */
  #remember(): void {
    const winner = this.#winner;
    const { mode, memory, rememberMs, clock } = this.#setup;
    if (mode !== 'auto' || winner === null) return;
    const better = this.#choice.order.filter((transport) => this.#isBetter(transport));
    const first = winner === this.#choice.order[0];
    if (first ? winner !== PREFERRED : !better.every((transport) => this.#failures.has(transport))) return;
    memory.remember(winner, clock.now() + (isHttp(winner) ? Math.min(rememberMs, HTTP_MEMORY_MS) : rememberMs));
  }

  #isBetter(transport: TransportName): boolean {
    const { order } = this.#choice;
    return this.#winner !== null && order.indexOf(transport) < order.indexOf(this.#winner);
  }
}
