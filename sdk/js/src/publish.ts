// Owns publishing: ids, payloads, ages, the bounded set of publishes under way, batches.
// Never gives an event a second id: every retry is the same event.

import type { Call, Calls } from './calls.js';
import type { Codec, Payload } from './codec/codec.js';
import { MeridianError } from './errors.js';
import type { Session } from './session.js';
import type { Published } from './types.js';
import type { ServerMessage } from './wire.js';
import { DEFAULT_LIMITS } from './wire.js';

export interface PublishOptions {
  /** 1 to 64 bytes; identifies the event with channel and publisher. A random UUID if absent. */
  id?: string;
  /** Default by `data`: JSON, or `application/octet-stream` for bytes. With `text/*`, `data` is a string. */
  contentType?: string;
  kind?: 'publish' | 'remove';
  key?: string;
  headers?: Record<string, string>;
  /** W3C traceparent. */
  trace?: string;
  /** Give up after this long, in milliseconds; the event may be stored even so. */
  timeoutMs?: number;
}

export interface BatchEvent extends Omit<PublishOptions, 'timeoutMs'> {
  channel: string;
  data?: unknown;
}

export type PublishResult = Published | { readonly error: MeridianError };

export interface PublishLimits {
  /** Events under way at most. */
  readonly events: number;
  /** Their payloads' bytes at most. */
  readonly bytes: number;
}

/** An event on its way, frozen when the application handed it over. */
interface Prepared {
  readonly members: Readonly<Record<string, unknown>>;
  readonly payload: Payload;
  readonly contentType: string | undefined;
  readonly bytes: number;
}

const encoder = new TextEncoder();
/** What the members around a payload may take, in bytes; for splitting batches. */
const EVENT_OVERHEAD_BYTES = 512;

export class Publisher {
  readonly #calls: Calls;
  readonly #limits: PublishLimits;
  #events = 0;
  #bytes = 0;
  #batchEvents = DEFAULT_LIMITS.batchEvents;
  #frameBytes = DEFAULT_LIMITS.frameBytes;

  constructor(calls: Calls, limits: PublishLimits) {
    this.#calls = calls;
    this.#limits = limits;
  }

  up(session: Session): void {
    this.#batchEvents = session.info.limits.batchEvents;
    this.#frameBytes = session.info.limits.frameBytes;
  }

  async publish(channel: string, data: unknown, options: PublishOptions): Promise<Published> {
    const event = prepare({ ...options, channel, data });
    const [result] = await this.#within([event], () => this.#send([event], false, options.timeoutMs));
    if (!result) throw new MeridianError('bad_frame', 'stop', 'the answer has no result');
    if ('error' in result) throw result.error;
    return result;
  }

  /** Results in the order of the events. Parts of a large batch go one after the other. */
  async batch(events: readonly BatchEvent[], timeoutMs: number | undefined): Promise<PublishResult[]> {
    const prepared = events.map(prepare);
    return await this.#within(prepared, async () => {
      const results: PublishResult[] = [];
      for (const part of this.#parts(prepared)) results.push(...(await this.#send(part, true, timeoutMs)));
      return results;
    });
  }

  #send(events: readonly Prepared[], batch: boolean, timeoutMs: number | undefined): Promise<PublishResult[]> {
    return new Promise((resolve) => this.#calls.add(new PublishCall(events, batch, timeoutMs, resolve)));
  }

  /** Runs `send` within the bounds of what may be under way; a single large batch may pass them alone. */
  async #within(events: readonly Prepared[], send: () => Promise<PublishResult[]>): Promise<PublishResult[]> {
    const bytes = events.reduce((sum, event) => sum + event.bytes, 0);
    const full = this.#events + events.length > this.#limits.events || this.#bytes + bytes > this.#limits.bytes;
    if (full && this.#events > 0) {
      throw new MeridianError('publish_queue_full', 'retry', 'too many publishes are under way', { limit: this.#limits.events });
    }
    this.#events += events.length;
    this.#bytes += bytes;
    try {
      return await send();
    } finally {
      this.#events -= events.length;
      this.#bytes -= bytes;
    }
  }

  #parts(events: readonly Prepared[]): Prepared[][] {
    const parts: Prepared[][] = [];
    let room = 0;
    for (const event of events) {
      // Base64 makes four bytes of three.
      const size = Math.ceil((event.bytes * 4) / 3) + EVENT_OVERHEAD_BYTES;
      const part = parts.at(-1);
      if (part && part.length < this.#batchEvents && size <= room) {
        part.push(event);
        room -= size;
      } else {
        parts.push([event]);
        room = this.#frameBytes - EVENT_OVERHEAD_BYTES - size;
      }
    }
    return parts;
  }
}

/** One publish or one batch, until each of its events has a result. */
class PublishCall implements Call {
  readonly timeoutMs: number | undefined;
  readonly #events: readonly Prepared[];
  readonly #batch: boolean;
  readonly #done: (results: PublishResult[]) => void;
  readonly #results: (PublishResult | undefined)[];
  #open: number[];
  #firstSentAt: number | null = null;

  constructor(
    events: readonly Prepared[],
    batch: boolean,
    timeoutMs: number | undefined,
    done: (results: PublishResult[]) => void,
  ) {
    this.#events = events;
    this.#batch = batch;
    this.timeoutMs = timeoutMs;
    this.#done = done;
    this.#results = events.map(() => undefined);
    this.#open = events.map((_, index) => index);
  }

  body(session: Session, now: number): Record<string, unknown> {
    this.#firstSentAt ??= now;
    const ageMs = Math.round(now - this.#firstSentAt);
    if (ageMs >= session.info.limits.publishHorizonMs) {
      throw new MeridianError('horizon_passed', 'stop', 'the retry comes too late to be told from a new event', {
        limit: session.info.limits.publishHorizonMs,
      });
    }
    const events = this.#open.map((index) => onWire(this.#events[index] as Prepared, session.codec, ageMs));
    return this.#batch ? { publish_batch: { events } } : { publish: events[0] };
  }

  answered(message: ServerMessage): number | 'done' {
    if (!this.#batch && message.type === 'published') {
      this.#results[0] = { cursor: message.cursor };
      return this.#finish();
    }
    if (message.type !== 'published_batch' || message.results.length !== this.#open.length) {
      throw new MeridianError('bad_frame', 'stop', 'the answer does not fit the publish');
    }
    let wait = 0;
    const open = this.#open;
    this.#open = [];
    message.results.forEach((result, at) => {
      const index = open[at] as number;
      if ('error' in result && result.error.action !== 'stop') {
        this.#open.push(index);
        wait = Math.max(wait, result.error.retryAfterMs ?? 0);
      } else this.#results[index] = result;
    });
    return this.#open.length > 0 ? wait : this.#finish();
  }

  failed(error: MeridianError): void {
    for (const index of this.#open) this.#results[index] = { error };
    this.#finish();
  }

  #finish(): 'done' {
    this.#done(this.#results as PublishResult[]);
    return 'done';
  }
}

function prepare(event: BatchEvent): Prepared {
  const id = event.id ?? globalThis.crypto.randomUUID();
  const idBytes = encoder.encode(id).length;
  if (idBytes < 1 || idBytes > 64) throw new MeridianError('bad_argument', 'stop', 'a publish id has 1 to 64 bytes');
  const { channel, kind, key, headers, trace } = event;
  const payload = payloadOf(event.data, event.contentType);
  return {
    members: defined({ channel, id, kind, key, headers, trace }),
    payload,
    contentType: event.contentType,
    bytes: payload.type === 'none' ? 0 : payload.type === 'bin' ? payload.bytes.length : encoder.encode(payload.text).length,
  };
}

function payloadOf(data: unknown, contentType: string | undefined): Payload {
  if (data === undefined) return { type: 'none' };
  if (data instanceof Uint8Array) return { type: 'bin', bytes: data.slice() };
  if (data instanceof ArrayBuffer) return { type: 'bin', bytes: new Uint8Array(data.slice(0)) };
  if (contentType !== undefined && contentType !== 'application/json') {
    if (typeof data === 'string') return { type: 'text', text: data };
    throw new MeridianError('bad_argument', 'stop', `data for ${contentType} must be a string or bytes`);
  }
  const text = JSON.stringify(data) as string | undefined;
  if (text === undefined) throw new MeridianError('bad_argument', 'stop', 'data has no JSON form');
  return { type: 'json', text };
}

function onWire(event: Prepared, codec: Codec, ageMs: number): Record<string, unknown> {
  return { ...event.members, ...codec.payload(event.payload, event.contentType), age_ms: ageMs };
}

function defined(members: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined));
}
