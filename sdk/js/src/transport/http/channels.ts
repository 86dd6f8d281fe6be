// Owns which channels a connection made of requests reads, and each one's cursor. Pure: says what the next
// request asks for and what becomes of each message. Never judges a chain: that is the channel's own part.

import type { Members } from '../../wire-read.js';

interface Held {
  /** Where the next request starts it. */
  start: Members;
  /** The subscribe that waits for its answer. */
  asked: number | null;
  /** A request has asked for it: what an earlier one says of the channel is no answer. */
  sent: boolean;
}

export class Channels {
  readonly #held = new Map<string, Held>();

  /** What the request that goes out now asks for. */
  ask(): Members {
    for (const held of this.#held.values()) held.sent = true;
    return { channels: [...this.#held].map(([channel, { start }]) => ({ channel, ...start })) };
  }

  subscribe(id: number, body: Members): void {
    const { channel, cursor, last } = body as { channel: string; cursor?: string; last?: number };
    const start = cursor !== undefined ? { cursor } : last !== undefined ? { last } : {};
    this.#held.set(channel, { start, asked: id, sent: false });
  }

  /** Whether there was something to leave. */
  unsubscribe(channel: string): boolean {
    return this.#held.delete(channel);
  }

  /** The gateway refuses a channel: what to tell for it, `null` if it is none of ours. */
  refused(channel: string, problem: Members): Members | null {
    const held = this.#held.get(channel);
    if (!held) return null;
    this.#held.delete(channel);
    if (held.asked !== null) return { id: held.asked, error: problem };
    return { unsubscribed: { channel, code: problem['code'], action: problem['action'] } };
  }

  /** The message as the session gets it; `null` for one that is no news. */
  take(message: Members): Members | null {
    const [name, body] = Object.entries(message)[0] ?? [];
    if (name === undefined || typeof body !== 'object' || body === null) return null;
    const about = body as Members;
    const channel = about['channel'] as string;
    const held = this.#held.get(channel);
    switch (name) {
      case 'subscribed': return this.#subscribed(channel, held, about);
      case 'events': return held && this.#moved(held, about, lastOffset(about)) ? message : null;
      case 'gap': return held && this.#moved(held, about, about['offset']) ? message : null;
      case 'skipped': return held && held.asked === null ? message : null;
      case 'unsubscribed': return this.#held.delete(channel) ? message : null;
      default: return message;
    }
  }

  /** A request that goes on repeats `subscribed` for what is followed already. */
  #subscribed(channel: string, held: Held | undefined, body: Members): Members | null {
    const id = held?.asked ?? null;
    if (held && (id === null || !held.sent)) return null;
    const entry: Held = held ?? { start: {}, asked: null, sent: true };
    entry.asked = null;
    entry.start = {};
    this.#held.set(channel, entry);
    this.#moved(entry, body, body['offset']);
    return id === null ? { subscribed: body } : { id, subscribed: body };
  }

  /** Whether the message counts: what came before the answer to a subscribe belongs to an earlier one. */
  #moved(held: Held, body: Members, offset: unknown): boolean {
    if (held.asked !== null) return false;
    if (typeof body['stream'] === 'string' && typeof offset === 'number') held.start = { cursor: `${body['stream']}.${offset}` };
    return true;
  }
}

function lastOffset(body: Members): unknown {
  const events = body['events'];
  return Array.isArray(events) ? (events.at(-1) as Members | undefined)?.['offset'] : undefined;
}
