// Owns the public client: puts the parts together and offers what applications call.
// Never decides by itself: connection, channels and publishes each have their owner.

import { Calls } from './calls.js';
import { jsonCodec } from './codec/json.js';
import { msgpackCodec } from './codec/msgpack.js';
import { memoryCursors } from './cursors.js';
import { Emitter } from './emitter.js';
import { Engine, type EngineEvents } from './engine.js';
import { MeridianError } from './errors.js';
import { Feed, type FeedOptions } from './feed.js';
import { watchPage } from './lifecycle.js';
import { settle, type ClientOptions, type Settings } from './options.js';
import { Publisher, type BatchEvent, type PublishOptions, type PublishResult } from './publish.js';
import type { Modes } from './modes.js';
import type { RedirectNotice } from './regions/redirects.js';
import type { RegionChange } from './regions/events.js';
import { Registry } from './registry.js';
import { ackCall, historyCall, type HistoryRange } from './requests.js';
import { Subscription, type SubscribeOptions, type SubscriptionHost } from './subscription.js';
import { TokenSource } from './token.js';
import { TransportMemory } from './transport/memory.js';
import type { ClientState, Gap, History, Published, SessionInfo, Stats, TransportName } from './types.js';

export interface ClientEvents extends Record<string, unknown> {
  state: ClientState;
  /** The transport in use; `null` while there is none. */
  transport: TransportName | null;
  /** The node stops; this client moves after so many milliseconds. */
  drain: number;
  /** Connected in another region than before, or for the first time. */
  region: RegionChange;
  /** The gateway gives another part of its service than before. */
  mode: Modes;
  /** The server sends this client to another region, and whether it goes. */
  redirect: RedirectNotice;
  /** Every fault, also those that the client heals by itself. */
  error: MeridianError;
  /** The client stopped and does not come back by itself. */
  stopped: MeridianError;
  gap: Gap;
  /** A subscription that the server made. */
  subscription: Subscription;
}

const encoder = new TextEncoder();
const MAX_CHANNEL_BYTES = 255;

export class MeridianClient {
  /** Counters since the client was made. */
  readonly stats: Readonly<Stats>;
  readonly #counters: Stats;
  readonly #settings: Settings;
  readonly #emitter = new Emitter<ClientEvents>();
  readonly #engine: Engine;
  readonly #registry: Registry;
  readonly #calls: Calls;
  readonly #publisher: Publisher;
  readonly #subscriptions = new Map<string, Subscription>();
  #unwatch: (() => void) | null = null;

  constructor(options: ClientOptions) {
    const settings = settle(options);
    const { clock } = settings;
    this.#settings = settings;
    this.#counters = newStats();
    this.stats = this.#counters;
    this.#engine = new Engine(engineSetup(settings), this.#engineEvents());
    this.#registry = new Registry(clock, (channel) => this.#adopt(channel));
    this.#calls = new Calls({
      clock,
      session: () => this.#engine.session,
      awake: () => this.#engine.awake,
      renewToken: () => this.#engine.renewToken(),
      reconnect: (error) => this.#engine.reconnect(error),
    });
    this.#publisher = new Publisher(this.#calls, settings.publishes);
  }

  get state(): ClientState {
    return this.#engine.state;
  }

  /** What the server said about the running session. */
  get session(): SessionInfo | null {
    return this.#engine.session?.info ?? null;
  }

  /** The region of the running or last connection, as it calls itself; `null` before the first. */
  get region(): string | null {
    return this.#engine.region;
  }

  /** How much of its service the gateway gives, as it said last. */
  get modes(): Modes {
    return this.#engine.modes;
  }

  get transport(): TransportName | null {
    return this.#counters.transport;
  }

  /** Starts to connect, and starts again after `stopped`. Never throws: see `on('error')`. */
  connect(): void {
    this.#calls.open();
    for (const subscription of this.#subscriptions.values()) subscription.restart();
    this.#unwatch ??= watchPage(this.#settings.page, {
      online: () => this.#engine.handle({ type: 'online' }),
      offline: () => this.#engine.handle({ type: 'offline' }),
      froze: () => this.#engine.handle({ type: 'freeze' }),
      woke: () => this.#engine.handle({ type: 'wake' }),
      leaving: () => this.#flush(),
    });
    this.#engine.handle({ type: 'start' });
  }

  /** Ends the connection and everything under way. `connect` starts anew, with the same subscriptions. */
  close(): void {
    this.#flush();
    this.#unwatch?.();
    this.#unwatch = null;
    this.#engine.handle({ type: 'close' });
    this.#calls.fail(new MeridianError('closed', 'stop', 'the client was closed'));
    for (const subscription of this.#subscriptions.values()) subscription.interrupt(null);
  }

  /** Drops the connection as a network would and stays away for `ms`. */
  interrupt(ms: number): void {
    this.#engine.handle({ type: 'interrupt', ms });
  }

  /** Listens until the answered function is called. */
  on<Name extends keyof ClientEvents & string>(name: Name, listener: (payload: ClientEvents[Name]) => void): () => void {
    return this.#emitter.on(name, listener);
  }

  /**
   * Follows a channel. A channel that the server subscribed already is taken over with these options;
   * one that the application follows already is an `already_subscribed` error.
   */
  subscribe<T = unknown>(channel: string, options: SubscribeOptions<T> = {}): Subscription<T> {
    const { length } = encoder.encode(channel);
    if (length < 1 || length > MAX_CHANNEL_BYTES) throw new MeridianError('bad_channel', 'stop', 'not a channel name');
    // A cursor that is not there would mean now, and skip what the caller thought to go on from.
    if (typeof options.from === 'object' && 'cursor' in options.from && !isText(options.from.cursor)) {
      throw new MeridianError('bad_cursor', 'stop', 'from.cursor is no cursor', { channel });
    }
    const complete = { ...options, store: options.store ?? this.#settings.store } as SubscribeOptions<T>;
    const held = this.#subscriptions.get(channel) as Subscription<T> | undefined;
    if (held && !held.adopt(complete)) {
      throw new MeridianError('already_subscribed', 'stop', `${channel} is followed already`, { channel });
    }
    return held ?? this.#follow(channel, complete, false);
  }

  /** The subscription to a channel, if there is one. */
  subscription(channel: string): Subscription | undefined {
    return this.#subscriptions.get(channel);
  }

  /**
   * Publishes an event; resolves once the log has it. Kept and sent again with the same id over
   * reconnects. To keep the order of two events on a channel, await the first or use a batch.
   */
  publish(channel: string, data?: unknown, options: PublishOptions = {}): Promise<Published> {
    return this.#publisher.publish(channel, data, options);
  }

  /** Publishes events that keep their order; each has its own result. */
  publishBatch(events: readonly BatchEvent[], options: { timeoutMs?: number } = {}): Promise<PublishResult[]> {
    return this.#publisher.batch(events, options.timeoutMs);
  }

  /** Reads a channel's past, oldest first. */
  history<T = unknown>(channel: string, range: HistoryRange): Promise<History<T>> {
    const timeoutMs = this.#settings.requestTimeoutMs;
    return new Promise<History>((resolve, reject) => {
      this.#calls.add(historyCall(channel, range, timeoutMs, resolve, reject));
    }) as Promise<History<T>>;
  }

  /** Follows a feed and keeps its current values. */
  feed<T = unknown>(channel: string, options: FeedOptions<T> = {}): Feed<T> {
    const { onChange, ...rest } = options;
    const feed = new Feed<T>(onChange);
    // A stored cursor would go on where the values before it are not known any more.
    const store = memoryCursors();
    const followed = this.subscribe<T>(channel, { ...rest, store, onEvent: (event) => feed.take(event), onGap: (gap) => feed.lost(gap) });
    return feed.keep(followed);
  }

  /** Records that this subscriber took everything up to `cursor`. */
  ack(channel: string, cursor: string, options: { reset?: boolean } = {}): Promise<void> {
    const timeoutMs = this.#settings.requestTimeoutMs;
    const body = { channel, cursor, ...(options.reset ? { reset: true } : {}) };
    return new Promise((resolve, reject) => this.#calls.add(ackCall(body, timeoutMs, resolve, reject)));
  }

  #follow<T>(channel: string, options: SubscribeOptions<T>, serverMade: boolean): Subscription<T> {
    const subscription = new Subscription<T>(channel, options, this.#host(), serverMade);
    this.#subscriptions.set(channel, subscription as unknown as Subscription);
    this.#registry.add(subscription.follow);
    subscription.start();
    return subscription;
  }

  #adopt(channel: string): void {
    this.#emitter.emit('subscription', this.#follow(channel, {}, true) as Subscription);
  }

  #host(): SubscriptionHost {
    const { clock, saveIntervalMs, inbox, refreshSpreadMs } = this.#settings;
    return {
      clock, saveIntervalMs, inbox, refreshSpreadMs,
      stats: this.#counters,
      session: () => this.#engine.session,
      now: () => clock.now(),
      random: () => clock.random(),
      wakeBy: (at) => this.#registry.wakeBy(at),
      renewToken: () => this.#engine.renewToken(),
      reconnect: (error) => this.#engine.reconnect(error),
      followsZone: (error) => this.#engine.followsZone(error),
      fault: (error) => this.#emitter.emit('error', error),
      gap: (gap) => this.#emitter.emit('gap', gap),
      ended: (subscription) => {
        this.#registry.remove(subscription.follow);
        if (this.#subscriptions.get(subscription.channel) === subscription) this.#subscriptions.delete(subscription.channel);
      },
    };
  }

  #engineEvents(): EngineEvents {
    return {
      state: (state) => this.#emitter.emit('state', state),
      up: (session) => {
        this.#counters.reconnects += this.#counters.connects > 0 ? 1 : 0;
        this.#counters.connects += 1;
        this.#setTransport(session.transport);
        this.#publisher.up(session);
        this.#registry.up(session);
        this.#calls.up();
      },
      down: (session) => {
        if (!this.#engine.session) this.#setTransport(null);
        this.#registry.down(session);
        this.#calls.down(session);
      },
      message: (session, message, lane, bytes) => this.#registry.take(message, session, lane, bytes),
      laneEnded: (session, lane) => this.#registry.laneEnded(session, lane),
      stopped: (error) => this.#stopped(error),
      tick: (awake) => {
        this.#registry.tick();
        this.#calls.tick(awake);
      },
      drain: (afterMs) => this.#emitter.emit('drain', afterMs),
      region: (change) => {
        if (change.reason !== 'start') this.#counters.moves[change.reason] += 1;
        this.#emitter.emit('region', change);
      },
      mode: (modes) => this.#emitter.emit('mode', modes),
      channels: () => [...this.#subscriptions.keys()],
      redirect: (notice) => {
        if (!notice.followed) this.#counters.redirectsIgnored += 1;
        this.#emitter.emit('redirect', notice);
      },
      fault: (error) => this.#emitter.emit('error', error),
      idle: (session) => session.unanswered === 0 && this.#registry.idle(session),
    };
  }

  #stopped(error: MeridianError): void {
    this.#calls.fail(error);
    for (const subscription of this.#subscriptions.values()) subscription.interrupt(error);
    this.#emitter.emit('stopped', error);
  }

  #setTransport(transport: TransportName | null): void {
    if (this.#counters.transport === transport) return;
    this.#counters.transport = transport;
    this.#emitter.emit('transport', transport);
  }

  #flush(): void {
    for (const subscription of this.#subscriptions.values()) subscription.flush();
  }
}

function engineSetup(settings: Settings) {
  const { dials, mode, avoidWebTransport, rememberMs, headStartMs, clock, backoff, greeting, page } = settings;
  const codec = settings.codec === 'msgpack' ? msgpackCodec : jsonCodec;
  const memory = (url: string) => new TransportMemory(settings.storage, settings.memoryKey(url));
  return {
    dialer: { codec, dials, mode, avoidWebTransport, memory, rememberMs, headStartMs },
    machine: { backoff, stableMs: 10_000, returnSpreadMs: 1_000 },
    regions: { policy: settings.regions, fetch: settings.fetch },
    token: new TokenSource(settings.token, clock),
    greeting,
    online: page.online,
    clock,
  };
}

function newStats(): Stats {
  return {
    transport: null, connects: 0, reconnects: 0, events: 0, duplicates: 0, gaps: 0,
    skipped: 0, chainBreaks: 0, overflows: 0, resubscribes: 0,
    moves: { failure: 0, home: 0, redirect: 0 }, redirectsIgnored: 0,
  };
}

/** Not empty: what the type says is not what every caller holds. */
function isText(value: unknown): boolean {
  return typeof value === 'string' && value !== '';
}
