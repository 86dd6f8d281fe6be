// Owns one connection from dialing to its end: the `connect` exchange, commands and their replies,
// heartbeats. Never reconnects, and knows nothing of channels.

import type { Codec, Frame } from './codec/codec.js';
import { asMeridianError, MeridianError } from './errors.js';
import { Liveness } from './liveness.js';
import { Outbox } from './outbox.js';
import { Alarm, type Clock, type WakingTime } from './clock.js';
import type { Dial, Link } from './transport/link.js';
import type { SessionInfo, TransportName } from './types.js';
import { readMessage, type ServerMessage } from './wire.js';

/** Silence beyond the heartbeat before the client asks, and how long it waits for the answer. */
const GRACE_MS = 5_000;
const ANSWER_MS = 10_000;
const CLOSE_REQUESTED = 4000;

export interface ReplyHandler {
  reply(message: ServerMessage, lane: number): void;
  failed(error: MeridianError): void;
  /** The connection ended first. */
  lost(): void;
}

const NO_REPLY: ReplyHandler = { reply: () => undefined, failed: () => undefined, lost: () => undefined };

/** What a session tells its owner. After `closed` it tells nothing more. */
export interface SessionEvents {
  opened(session: Session): void;
  connected(session: Session): void;
  message(session: Session, message: ServerMessage, lane: number, bytes: number): void;
  laneEnded(session: Session, lane: number): void;
  closed(session: Session, error: MeridianError): void;
}

export interface SessionSetup {
  readonly transport: TransportName;
  readonly dial: Dial;
  /** The gateway's base address, which `url` is made of. */
  readonly base: string;
  readonly url: string;
  readonly codec: Codec;
  readonly clock: Clock;
  readonly waking: WakingTime;
}

type Stashed = { message: ServerMessage; lane: number; bytes: number };

export class Session {
  readonly transport: TransportName;
  readonly base: string;
  readonly codec: Codec;
  readonly #setup: SessionSetup;
  readonly #events: SessionEvents;
  readonly #link: Link;
  readonly #alarm: Alarm;
  readonly #replies = new Map<number, ReplyHandler>();
  #phase: 'opening' | 'greeting' | 'connected' | 'live' | 'over' = 'opening';
  #stash: Stashed[] = [];
  #info: SessionInfo | null = null;
  #outbox: Outbox | null = null;
  #liveness: Liveness | null = null;
  #flushing = false;
  #nextId = 1;
  #sentAt = 0;

  constructor(setup: SessionSetup, events: SessionEvents) {
    this.transport = setup.transport;
    this.base = setup.base;
    this.codec = setup.codec;
    this.#setup = setup;
    this.#events = events;
    this.#alarm = new Alarm(setup.clock, () => this.#flush());
    this.#link = setup.dial(
      { url: setup.url, codec: setup.codec.name },
      {
        opened: () => events.opened(this),
        frame: (frame, lane) => this.#frame(frame, lane),
        laneEnded: (lane) => {
          if (this.#phase === 'live') events.laneEnded(this, lane);
        },
        closed: (error) => this.#end(error),
      },
    );
  }

  /** What the server said; only after `connected`. */
  get info(): SessionInfo {
    if (this.#info === null) throw new Error('the session is not connected');
    return this.#info;
  }

  get over(): boolean {
    return this.#phase === 'over';
  }

  /** Commands that wait for their reply. */
  get unanswered(): number {
    return this.#replies.size;
  }

  /** Commands that wait for their turn to be sent. */
  get queued(): number {
    return this.#outbox?.size ?? 0;
  }

  greet(body: Record<string, unknown>): void {
    this.#phase = 'greeting';
    this.#sendNow({ id: this.#nextId++, connect: body });
  }

  /** Starts to hand messages over, those first that came while others were still racing. */
  activate(): void {
    const now = this.#setup.clock.now();
    const { limits } = this.info;
    this.#phase = 'live';
    this.#outbox = new Outbox(this.codec, limits, now);
    this.#liveness = new Liveness(
      { heartbeatMs: limits.heartbeatMs, graceMs: GRACE_MS, answerMs: ANSWER_MS },
      this.#setup.waking.at(now),
    );
    const stash = this.#stash;
    this.#stash = [];
    for (const { message, lane, bytes } of stash) this.#message(message, lane, bytes);
  }

  /**
   * Queues a command. Throws `frame_too_large` where no frame can hold it. Commands queued in one
   * turn of the event loop leave in as few frames as the limits allow. The answered function waits
   * for the reply no longer: a subscribe that an unsubscribe overtakes gets none.
   */
  command(body: Record<string, unknown>, handler = NO_REPLY): () => void {
    const id = this.#nextId++;
    const forget = () => void this.#replies.delete(id);
    if (this.#phase !== 'live' || this.#outbox === null) {
      handler.lost();
      return forget;
    }
    const encoded = this.codec.encode({ id, ...body });
    if (!this.#outbox.fits(encoded.bytes)) {
      const limit = this.info.limits.frameBytes;
      throw new MeridianError('frame_too_large', 'stop', 'the command is larger than a frame may be', { limit });
    }
    this.#replies.set(id, handler);
    this.#outbox.push(encoded);
    if (!this.#flushing) queueMicrotask(() => this.#flush());
    this.#flushing = true;
    return forget;
  }

  /** A look at the clock; `doubt` asks the peer for a sign of life at once. */
  tick(awake: number, doubt: boolean): void {
    if (this.#phase !== 'live' || this.#liveness === null) return;
    const verdict = this.#liveness.check(awake, doubt);
    if (verdict === 'dead') this.fail(new MeridianError('unresponsive', 'reconnect', 'the server does not answer'));
    else if (verdict === 'ask') this.#ping();
    else this.#keepAlive();
  }

  /** Ends the session from our side; `closed` is told with `error`. */
  fail(error: MeridianError): void {
    if (this.#phase === 'over') return;
    this.#link.close(CLOSE_REQUESTED, 'requested');
    this.#end(error);
  }

  /** Ends the session from our side; only what waits for replies is told. */
  close(): void {
    if (this.#phase === 'over') return;
    this.#link.close(CLOSE_REQUESTED, 'requested');
    this.#settleLost();
  }

  #end(error: MeridianError): void {
    if (this.#phase === 'over') return;
    this.#settleLost();
    this.#events.closed(this, error);
  }

  #settleLost(): void {
    this.#phase = 'over';
    this.#alarm.clear();
    const handlers = [...this.#replies.values()];
    this.#replies.clear();
    for (const handler of handlers) handler.lost();
  }

  #frame(frame: Frame, lane: number): void {
    if (this.#phase === 'over') return;
    try {
      const values = this.codec.decode(frame);
      const bytes = frame.length / Math.max(1, values.length);
      this.#liveness?.heard(this.#setup.waking.at(this.#setup.clock.now()));
      for (const value of values) {
        const message = readMessage(value);
        if (message !== null) this.#message(message, lane, bytes);
      }
      this.#keepAlive();
    } catch (error) {
      this.fail(asMeridianError(error, 'internal_client', 'reconnect', 'a message could not be worked off'));
    }
  }

  #message(message: ServerMessage, lane: number, bytes: number): void {
    if (this.#phase === 'over') return;
    if (this.#phase === 'greeting' && this.#answersConnect(message)) return;
    if (this.#phase !== 'live') {
      this.#stash.push({ message, lane, bytes });
      return;
    }
    if (message.type === 'ping') return this.#sendNow(message.id === undefined ? { pong: {} } : { id: message.id, pong: {} });
    const id = 'id' in message ? message.id : undefined;
    const handler = id === undefined ? undefined : this.#replies.get(id);
    if (id === undefined || handler === undefined) {
      if (id === undefined || message.type !== 'error') this.#events.message(this, message, lane, bytes);
      return;
    }
    this.#replies.delete(id);
    if (message.type === 'error') handler.failed(message.error);
    else handler.reply(message, lane);
  }

  #answersConnect(message: ServerMessage): boolean {
    if (message.type === 'connected') {
      this.#info = message.info;
      this.#phase = 'connected';
      this.#events.connected(this);
      return true;
    }
    if (message.type !== 'error') return false;
    this.fail(message.error);
    return true;
  }

  #flush(): void {
    this.#flushing = false;
    if (this.#phase !== 'live' || this.#outbox === null) return;
    const now = this.#setup.clock.now();
    for (const frame of this.#outbox.take(now)) this.#link.send(frame);
    this.#sentAt = now;
    this.#alarm.by(this.#outbox.nextAt(now));
  }

  /** The server counts on hearing from us, and on a busy channel it has no reason to ask. */
  #keepAlive(): void {
    if (this.#phase !== 'live' || this.#link.sendsNothing) return;
    if (this.#setup.clock.now() - this.#sentAt >= this.info.limits.heartbeatMs) this.#ping();
  }

  #ping(): void {
    this.#sendNow({ id: this.#nextId++, ping: {} });
  }

  #sendNow(message: Record<string, unknown>): void {
    this.#sentAt = this.#setup.clock.now();
    this.#link.send(this.codec.join([this.codec.encode(message)]));
  }
}
