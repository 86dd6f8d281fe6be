// Owns the application's side of one channel: handlers, iteration, the cursor of what was taken,
// the refresh after a gap. Never checks the chain and never talks to the server.

import { jitterMs } from './backoff.js';
import type { Clock } from './clock.js';
import { CursorSaver, type CursorStore } from './cursors.js';
import { asMeridianError, MeridianError } from './errors.js';
import { Follow } from './follow.js';
import type { FollowApp, FollowPort, Start } from './follow-port.js';
import { Inbox, type InboxLimits } from './inbox.js';
import { cursorOf } from './position.js';
import type { Gap, Item, MeridianEvent, SubscriptionState } from './types.js';

export interface SubscribeOptions<T = unknown> {
  /** Where to start without a stored cursor; from now if absent. */
  from?: Start;
  /** Takes each event, in order. A promise holds the next event back. */
  onEvent?: (event: MeridianEvent<T>) => void | Promise<void>;
  /** Told in order with the events: what lay before `gap.cursor` cannot be had. */
  onGap?: (gap: Gap) => void;
  /** Loads the application's state afresh after a gap, spread in time over `refreshSpreadMs`. */
  onRefresh?: (gap: Gap) => void | Promise<void>;
  refreshSpreadMs?: number;
  /** On an `ephemeral` channel: this many events were dropped. */
  onSkipped?: (count: number) => void;
  onState?: (state: SubscriptionState) => void;
  /** The subscription has ended and will not come back by itself. */
  onError?: (error: MeridianError) => void;
  /** Keeps the cursor over reloads. */
  store?: CursorStore;
  /** Events held for an application that is slower than its channel. */
  maxQueued?: number;
  maxQueuedBytes?: number;
}

/** What a subscription needs of its client. */
export interface SubscriptionHost extends FollowPort {
  readonly clock: Clock;
  readonly saveIntervalMs: number;
  readonly inbox: InboxLimits;
  readonly refreshSpreadMs: number;
  /** Something in the application's own code failed. */
  fault(error: MeridianError): void;
  gap(gap: Gap): void;
  /** The subscription has ended. */
  ended(subscription: Subscription): void;
}

export class Subscription<T = unknown> implements AsyncIterable<MeridianEvent<T>> {
  readonly channel: string;
  /** Whether the server made it, because the token asks for this channel. */
  readonly serverMade: boolean;
  /** @internal */
  readonly follow: Follow;
  readonly #host: SubscriptionHost;
  readonly #inbox: Inbox;
  #options: SubscribeOptions<T>;
  #adoptable: boolean;
  #saver: CursorSaver | null = null;
  #cursor: string | undefined;
  #error: MeridianError | null = null;
  #refreshing: { gap: Gap; timer: unknown } | null = null;

  /** @internal */
  constructor(channel: string, options: SubscribeOptions<T>, host: SubscriptionHost, serverMade: boolean) {
    this.channel = channel;
    this.serverMade = serverMade;
    this.#host = host;
    this.#options = options;
    const limits = {
      items: options.maxQueued ?? host.inbox.items,
      bytes: options.maxQueuedBytes ?? host.inbox.bytes,
    };
    this.#inbox = new Inbox(limits, (item) => this.#taken(item), () => this.follow.drained());
    this.follow = new Follow(channel, options.from ?? 'now', host, this.#app());
    this.#adoptable = serverMade;
    this.#listen();
  }

  get state(): SubscriptionState {
    return this.follow.state;
  }

  /** Up to here the application has taken everything. */
  get cursor(): string | undefined {
    return this.#cursor;
  }

  /** Up to where the region has applied the log, while it is behind this subscription. */
  get behind(): string | undefined {
    return this.follow.behind;
  }

  /** Why the subscription ended, if it did by an error. */
  get error(): MeridianError | null {
    return this.#error;
  }

  unsubscribe(): void {
    if (this.state === 'ended') return;
    this.#saver?.flush();
    this.#inbox.finish(null, true);
    this.#dropRefresh();
    this.follow.unsubscribe();
    this.#host.ended(this as unknown as Subscription);
  }

  /** Events only; use `items()` to see gaps in their place, too. */
  async *[Symbol.asyncIterator](): AsyncGenerator<MeridianEvent<T>, void, undefined> {
    for await (const item of this.items()) {
      if (item.type === 'event') yield item.event;
    }
  }

  /** Events, gaps and skips, in the channel's order. One consumer at a time. */
  async *items(): AsyncGenerator<Item<T>, void, undefined> {
    try {
      for (;;) {
        const { done, value } = await this.#inbox.next();
        if (done) return;
        this.#tell(value);
        yield value as Item<T>;
      }
    } finally {
      this.#inbox.abandon();
    }
  }

  /** @internal Finds the place to start from and subscribes. */
  start(): void {
    if (this.serverMade) this.follow.begin();
    else this.#load();
  }

  /** @internal Gives handlers to a subscription that the server made; once only. */
  adopt(options: SubscribeOptions<T>): boolean {
    if (!this.#adoptable) return false;
    this.#adoptable = false;
    this.#options = options;
    this.#listen();
    return true;
  }

  /** @internal The client stopped or closed: iterators end, with the error if there is one. */
  interrupt(error: MeridianError | null): void {
    this.#inbox.interrupt(error);
  }

  /** @internal The client connects again. */
  restart(): void {
    this.#inbox.restart();
  }

  /** @internal */
  flush(): void {
    this.#saver?.flush();
  }

  #listen(): void {
    const { store, onEvent } = this.#options;
    const { clock, saveIntervalMs } = this.#host;
    if (store) this.#saver = new CursorSaver(this.channel, store, clock, saveIntervalMs, (e) => this.#host.fault(e));
    if (!onEvent) return;
    this.#inbox.consume((item) => {
      this.#tell(item);
      if (item.type === 'event') return this.#guard(() => onEvent(item.event as MeridianEvent<T>));
    });
  }

  #load(): void {
    const { store, from } = this.#options;
    // What the application says that it has counts from here on, whenever the server answers.
    if (typeof from === 'object' && 'cursor' in from) this.#cursor = from.cursor;
    const loaded = (cursor: string | null | undefined) => {
      if (cursor) {
        this.#cursor = cursor;
        this.follow.startFrom(cursor);
      }
      this.follow.begin();
    };
    const failed = (error: unknown) => {
      const typed = asMeridianError(error, 'cursor_not_loaded', 'stop', `the cursor of ${this.channel} was not loaded`);
      this.#host.fault(typed);
      this.follow.begin();
    };
    try {
      const cursor = store?.load(this.channel);
      if (cursor instanceof Promise) cursor.then(loaded, failed);
      else loaded(cursor);
    } catch (error) {
      failed(error);
    }
  }

  #app(): FollowApp {
    return {
      hasRoom: (bytes) => this.#inbox.hasRoom(bytes),
      event: (event, bytes) => this.#inbox.push({ type: 'event', event }, bytes),
      gap: (gap) => {
        this.#host.gap(gap);
        this.#inbox.push({ type: 'gap', gap }, 0);
      },
      skipped: (count) => this.#inbox.push({ type: 'skipped', count }, 0),
      placed: (position) => {
        if (this.#inbox.empty) this.#move(cursorOf(position));
      },
      state: (state) => void this.#guard(() => this.#options.onState?.(state)),
      ended: (error) => this.#ended(error),
    };
  }

  #ended(error: MeridianError): void {
    this.#error = error;
    this.#saver?.flush();
    this.#inbox.finish(error, false);
    this.#dropRefresh();
    this.#host.ended(this as unknown as Subscription);
    void this.#guard(() => this.#options.onError?.(error));
  }

  #taken(item: Item): void {
    if (item.type === 'event' && item.event.cursor !== undefined) this.#move(item.event.cursor);
    else if (item.type === 'gap') this.#move(item.gap.cursor);
  }

  #move(cursor: string): void {
    this.#cursor = cursor;
    this.#saver?.note(cursor);
  }

  /** Handlers for what is no event, in the event's place. */
  #tell(item: Item): void {
    if (item.type === 'skipped') void this.#guard(() => this.#options.onSkipped?.(item.count));
    if (item.type !== 'gap') return;
    void this.#guard(() => this.#options.onGap?.(item.gap));
    this.#planRefresh(item.gap);
  }

  /** One refresh however many gaps come while it waits. */
  #planRefresh(gap: Gap): void {
    const { onRefresh } = this.#options;
    if (!onRefresh) return;
    if (this.#refreshing) {
      this.#refreshing.gap = gap;
      return;
    }
    const { clock } = this.#host;
    const wait = jitterMs(this.#options.refreshSpreadMs ?? this.#host.refreshSpreadMs, () => clock.random());
    const timer = clock.setTimeout(() => {
      const latest = this.#refreshing?.gap ?? gap;
      this.#refreshing = null;
      void this.#guard(() => onRefresh(latest));
    }, wait);
    this.#refreshing = { gap, timer };
  }

  #dropRefresh(): void {
    if (this.#refreshing) this.#host.clock.clearTimeout(this.#refreshing.timer);
    this.#refreshing = null;
  }

  /** Runs the application's code: what it throws is reported and stops nothing. */
  #guard(run: () => void | Promise<void>): void | Promise<void> {
    const failed = (error: unknown) =>
      this.#host.fault(
        new MeridianError('handler_failed', 'stop', `a handler of ${this.channel} failed`, { channel: this.channel, cause: error }),
      );
    try {
      const result = run();
      return result instanceof Promise ? result.catch(failed) : undefined;
    } catch (error) {
      failed(error);
    }
  }
}
