// Owns one channel on the wire: its position, the chain check, subscribing and resuming.
// Never keeps events: those it accepts go to the application's side, which says when it is full.

import type { FollowApp, FollowPort, Start } from './follow-port.js';
import { Patience } from './patience.js';
import { badFrame, MeridianError } from './errors.js';
import { compare, cursorOf, judge, type Position } from './position.js';
import type { Session } from './session.js';
import type { SubscriptionState } from './types.js';
import type { ChannelMessage, ServerMessage } from './wire.js';
import { toEvent } from './wire-event.js';

type Of<T extends ChannelMessage['type']> = Extract<ChannelMessage, { type: T }>;

/** Ticks of the client, about a second each, that an answer may take. */
const ANSWER_TICKS = 30;

export class Follow {
  readonly channel: string;
  #start: Start;
  readonly #port: FollowPort;
  readonly #app: FollowApp;
  #state: SubscriptionState = 'loading';
  #position: Position | null = null;
  #behind: string | undefined;
  #source: Session | null = null;
  /** The source delivers, but not what follows our position. */
  #broken = false;
  #lane = 0;
  #asking: Session | null = null;
  #forget = () => {};
  readonly #patience: Patience;
  #retryAt = 0;
  #askedTicks = 0;

  constructor(channel: string, start: Start, port: FollowPort, app: FollowApp) {
    this.channel = channel;
    this.#start = start;
    this.#port = port;
    this.#app = app;
    this.#patience = new Patience(() => port.random());
  }

  get state(): SubscriptionState {
    return this.#state;
  }

  /** Up to where the region has applied the log, while it is behind the position held. */
  get behind(): string | undefined {
    return this.#behind;
  }

  /** Whether this channel still lives on `session`. */
  uses(session: Session): boolean {
    return this.#source === session || this.#asking === session;
  }

  /** A cursor kept from before comes first. */
  startFrom(cursor: string): void {
    this.#start = { cursor };
  }

  /** Everything needed to subscribe is known. */
  begin(): void {
    if (this.#state === 'loading') this.#wait(0);
  }

  /** `session` is the one to be on from now on; what another was asked doesn't count any more. */
  up(session: Session): void {
    if (this.#asking !== session) this.#asking = null;
    this.#patience.restored();
    this.#retryAt = 0;
    this.resume();
  }

  down(session: Session): void {
    if (this.#asking === session) this.#asking = null;
    if (this.#source === session) this.#source = null;
    if (this.#source || this.#asking || !this.#active) return;
    this.#set('waiting');
    this.resume();
  }

  /** Subscribes if that is due and possible. */
  resume(): void {
    const session = this.#port.session();
    if (!session || session.over || this.#asking || !this.#active || this.#settledOn(session)) return;
    if (this.#port.now() < this.#retryAt) return this.#port.wakeBy(this.#retryAt);
    const { channel } = this;
    if (this.#source === session) session.command({ unsubscribe: { channel } });
    if (this.#position) this.#port.stats.resubscribes += 1;
    this.#asking = session;
    this.#askedTicks = 0;
    if (this.#source === null) this.#set('subscribing');
    this.#forget = session.command({ subscribe: { channel, ...this.#from() } }, {
      reply: (message, lane) => this.#answered(message, session, lane),
      failed: (error) => this.#refused(error, session),
      lost: () => undefined,
    });
  }

  /** Asks again where a subscribe that was sent gets no answer; ticks stand still while frozen. */
  tick(): void {
    if (!this.#asking || this.#asking.queued > 0) return;
    this.#askedTicks += 1;
    if (this.#askedTicks < ANSWER_TICKS) return;
    this.#asking = null;
    this.#wait(this.#patience.retryMs());
  }

  /** The application has room again. */
  drained(): void {
    if (this.#state === 'overflowed') this.#wait(0);
  }

  unsubscribe(): void {
    this.#leave();
    this.#set('ended');
  }

  take(message: ChannelMessage, session: Session, lane: number, bytes: number): void {
    if (message.type === 'subscribed') return this.#madeByServer(message, session, lane);
    if (this.#source !== session) return;
    this.#lane = lane;
    switch (message.type) {
      case 'events': return message.stream === undefined ? this.#passing(message, bytes) : this.#events(message, message.stream, bytes);
      case 'gap': return this.#gap(message);
      case 'values': return this.#values(message, bytes);
      case 'conflated':
        this.#position = message.place;
        this.#behind = undefined;
        return;
      case 'skipped':
        this.#port.stats.skipped += message.count;
        return this.#app.skipped(message.count);
      case 'unsubscribed': return this.#dropped(message);
    }
  }

  laneEnded(session: Session, lane: number): void {
    if (this.#source !== session || this.#lane !== lane || this.#asking) return;
    this.#broken = true;
    this.#wait(this.#patience.retryMs());
  }

  #settledOn(session: Session): boolean {
    return this.#source === session && !this.#broken;
  }

  get #active(): boolean {
    return this.#state !== 'loading' && this.#state !== 'overflowed' && this.#state !== 'ended';
  }

  #from(): Record<string, unknown> {
    if (this.#position) return { cursor: cursorOf(this.#position) };
    return this.#start === 'now' ? {} : { ...this.#start };
  }

  #answered(message: ServerMessage, session: Session, lane: number): void {
    if (message.type !== 'subscribed' || this.#asking !== session) return;
    this.#asking = null;
    this.#settle(message, session, lane);
  }

  #settle(message: Of<'subscribed'>, session: Session, lane: number): void {
    this.#source = session;
    this.#lane = lane;
    this.#broken = false;
    this.#patience.restored();
    this.#behind = message.behind;
    if (message.place && !this.#position) {
      this.#position = message.place;
      this.#app.placed(message.place);
    }
    this.#set('subscribed');
  }

  /** The token asks for this channel. A position held must still be resumed from, by our own command. */
  #madeByServer(message: Of<'subscribed'>, session: Session, lane: number): void {
    if (this.#asking === session || this.#source === session) return;
    if (this.#state === 'overflowed') {
      session.command({ unsubscribe: { channel: this.channel } });
    } else if (!this.#position && this.#start === 'now' && this.#state !== 'loading') {
      this.#settle(message, session, lane);
    }
  }

  #refused(error: MeridianError, session: Session): void {
    if (this.#asking !== session) return;
    this.#asking = null;
    if (!this.#active) return;
    if (error.code === 'already_subscribed') {
      this.#source = session;
      this.#broken = true;
      return this.#wait(this.#patience.conflictMs());
    }
    if (this.#source === session) this.#source = null;
    this.#recover(error);
  }

  #events(message: Of<'events'>, stream: string, bytes: number): void {
    const { epoch } = message;
    if (epoch === undefined) throw badFrame('events without an epoch');
    const each = bytes / Math.max(1, message.events.length);
    for (const event of message.events) {
      const { offset } = event;
      if (offset === undefined) throw badFrame('an event without an offset');
      const verdict = this.#position ? judge(this.#position, epoch, offset, event.prev) : 'accept';
      if (verdict === 'duplicate') this.#port.stats.duplicates += 1;
      else if (verdict === 'broken') return this.#heal();
      else if (!this.#app.hasRoom(each)) return this.#overflow();
      else {
        this.#position = { stream, epoch, offset };
        this.#port.stats.events += 1;
        this.#behind = undefined;
        this.#app.event(toEvent(this.channel, stream, epoch, event), each);
        if (this.#source === null) return;
      }
    }
  }

  /** Events of an `ephemeral` channel: nothing to check, and what finds no room is gone. */
  #passing(message: Of<'events'>, bytes: number): void {
    const each = bytes / Math.max(1, message.events.length);
    for (const event of message.events) {
      if (this.#app.hasRoom(each)) {
        this.#port.stats.events += 1;
        this.#app.event(toEvent(this.channel, undefined, undefined, event), each);
      } else {
        this.#port.stats.skipped += 1;
        this.#app.skipped(1);
      }
    }
  }

  /** A feed's values: they move no position. What finds no room is read again from there. */
  #values(message: Of<'values'>, bytes: number): void {
    const each = bytes / Math.max(1, message.events.length);
    for (const event of message.events) {
      if (!this.#app.hasRoom(each)) return this.#overflow();
      this.#port.stats.events += 1;
      this.#app.event(toEvent(this.channel, message.stream, message.epoch, event), each);
      if (this.#source === null) return;
    }
  }

  #gap(message: Of<'gap'>): void {
    const { place } = message;
    // From the beginning: a feed's snapshot follows.
    const snapshot = place.epoch === 1 && place.offset === -1;
    if (!snapshot && this.#position && compare(place, this.#position) <= 0) return;
    this.#position = place;
    this.#port.stats.gaps += 1;
    const { channel, reason, from } = message;
    this.#app.gap({ channel, reason, from, cursor: cursorOf(place), epoch: place.epoch, offset: place.offset });
  }

  #dropped({ code, action }: Of<'unsubscribed'>): void {
    this.#source = null;
    if (this.#asking) return;
    const { channel } = this;
    this.#recover(new MeridianError(code, action, `the server ended the subscription: ${code}`, { channel }));
  }

  /** Does what the error asks for, then subscribes again after a while; or ends. */
  #recover(error: MeridianError): void {
    const hopeless = error.action === 'refresh' && !this.#patience.mayRefresh();
    const ends = hopeless || (error.action === 'stop' && !this.#port.followsZone(error));
    if (ends) return this.#end(error);
    if (error.action === 'refresh') this.#port.renewToken();
    else if (error.action === 'reconnect') this.#port.reconnect(error);
    this.#wait(Math.max(error.retryAfterMs ?? 0, this.#patience.retryMs()));
  }

  /** Something before this event is missing: ask again from the position held, one at a time. */
  #heal(): void {
    if (this.#asking || this.#broken) return;
    this.#port.stats.chainBreaks += 1;
    this.#broken = true;
    this.#wait(this.#patience.healMs(this.#port.now()));
  }

  #overflow(): void {
    this.#port.stats.overflows += 1;
    this.#set('overflowed');
    this.#leave();
  }

  #leave(): void {
    const sessions = new Set([this.#source, this.#asking]);
    this.#source = null;
    this.#asking = null;
    this.#broken = false;
    this.#forget();
    for (const session of sessions) {
      if (session && !session.over) session.command({ unsubscribe: { channel: this.channel } });
    }
  }

  #end(error: MeridianError): void {
    this.#source = null;
    this.#set('ended');
    this.#app.ended(error);
  }

  #wait(ms: number): void {
    if (!this.#source) this.#set('waiting');
    this.#retryAt = this.#port.now() + ms;
    this.resume();
  }

  #set(state: SubscriptionState): void {
    if (state === this.#state || this.#state === 'ended') return;
    this.#state = state;
    this.#app.state(state);
  }
}
