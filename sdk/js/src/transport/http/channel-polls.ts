// Owns reading channels by operators' polls, one loop a channel, at the interval that the server states. Used
// only while the gateway is in `polling-only`. Never decides when that is over: it tells what the answers say.

import { asMeridianError } from '../../errors.js';
import type { Clock } from '../../clock.js';
import type { Members } from '../../wire-read.js';
import type { Api, Problem } from './api.js';
import { poll, type Reading, type ReadingEvents, type ReadingOf } from './reading.js';

/** Polls spread over this share of the interval, so that those who began together part. */
const JITTER = 0.25;
/** Without an interval in the answer. */
const INTERVAL_MS = 10_000;
/** How often the gateway is asked for its mode where no channel's answer tells it. */
const WATCH_MS = 30_000;
/** Clients come back over so long, and over an interval where that is longer. */
const RETURN_MS = 10_000;
/** A channel that may not be polled is live again later; its subscription asks again after this. */
const NOT_POLLED_MS = 30_000;
const ANSWER_MS = 15_000;

export const channelPolls: ReadingOf = (api, clock, events) => new ChannelPolls(api, clock, events);

interface Loop {
  readonly channel: string;
  readonly abort: AbortController;
  timer: unknown;
  /** Behind what was told last. */
  cursor: string | null;
  /** To begin with the newest event, not behind it. */
  withNewest: boolean;
  tag: string | null;
}

class ChannelPolls implements Reading {
  readonly polls = false;
  readonly #api: Api;
  readonly #clock: Clock;
  readonly #events: ReadingEvents;
  readonly #loops = new Map<string, Loop>();
  readonly #greetings = new Set<AbortController>();
  #watch: unknown = null;
  #over = false;

  constructor(api: Api, clock: Clock, events: ReadingEvents) {
    this.#api = api;
    this.#clock = clock;
    this.#events = events;
  }

  ask(request: Members): void {
    const channels = request['channels'] as readonly Members[];
    void this.#greet(() => {
      this.#keep(channels);
      this.#events.answered();
    });
  }

  close(): void {
    this.#over = true;
    this.#clock.clearTimeout(this.#watch);
    for (const greeting of this.#greetings) greeting.abort();
    for (const loop of [...this.#loops.values()]) this.#stop(loop);
  }

  /** Who this client is, and how much of its service the gateway gives. */
  async #greet(then: () => void): Promise<void> {
    const abort = new AbortController();
    this.#greetings.add(abort);
    try {
      const problem = await poll(this.#api, this.#clock, { channels: [], greet: true, wait_ms: 0 }, abort, (messages) => {
        if (this.#over) return;
        this.#watchMode();
        this.#events.alive();
        this.#events.messages(messages);
        if (!messages.some((message) => message['mode'] !== undefined)) this.#mode('normal', 0);
        then();
      });
      if (problem && !this.#over) this.#events.refused(problem);
    } catch (error) {
      if (!this.#over) this.#fail(error);
    } finally {
      this.#greetings.delete(abort);
    }
  }

  /** Follows these channels and no others. */
  #keep(channels: readonly Members[]): void {
    const named = new Set(channels.map((entry) => entry['channel']));
    for (const loop of [...this.#loops.values()]) if (!named.has(loop.channel)) this.#stop(loop);
    for (const { channel, cursor, last } of channels as readonly { channel: string; cursor?: string; last?: number }[]) {
      const held = this.#loops.get(channel);
      if (held && held.cursor !== null && held.cursor === cursor) this.#begun(held);
      else this.#start(channel, cursor ?? null, last !== undefined, held);
    }
  }

  #start(channel: string, cursor: string | null, withNewest: boolean, held: Loop | undefined): void {
    if (held) this.#stop(held);
    const loop: Loop = { channel, abort: new AbortController(), timer: null, cursor, withNewest, tag: null };
    this.#loops.set(channel, loop);
    void this.#turn(loop, true);
  }

  #stop(loop: Loop): void {
    loop.abort.abort();
    this.#clock.clearTimeout(loop.timer);
    if (this.#loops.get(loop.channel) === loop) this.#loops.delete(loop.channel);
  }

  async #turn(loop: Loop, first: boolean): Promise<void> {
    const counts = () => !this.#over && this.#loops.get(loop.channel) === loop;
    const timer = this.#clock.setTimeout(() => loop.abort.abort(), ANSWER_MS);
    try {
      const what = loop.cursor === null ? 'latest' : `events?after=${encodeURIComponent(loop.cursor)}`;
      const path = `/v1/channels/${encodeURIComponent(loop.channel)}/${what}`;
      const { response, problem, headers } = await this.#api.get(path, loop.tag, loop.abort.signal);
      const page = response ? ((await response.json()) as { history: Members }).history : null;
      if (!counts()) return;
      const intervalMs = Number(headers.get('poll-interval-ms') ?? INTERVAL_MS);
      if (problem) {
        if (problem['code'] !== 'rate_limited') return this.#refused(loop, problem);
        return this.#again(loop, first, Math.max(intervalMs, Number(problem['retry_after_ms'] ?? 0)));
      }
      loop.tag = headers.get('etag');
      this.#events.alive();
      if (page) this.#tell(loop, page, first);
      if (counts()) this.#mode(headers.get('meridian-mode') ?? 'normal', intervalMs);
      if (counts()) this.#again(loop, false, intervalMs);
    } catch (error) {
      if (counts()) this.#fail(error);
    } finally {
      this.#clock.clearTimeout(timer);
    }
  }

  #again(loop: Loop, first: boolean, ms: number): void {
    const wait = ms * (1 + JITTER * this.#clock.random());
    loop.timer = this.#clock.setTimeout(() => void this.#turn(loop, first), wait);
  }

  #tell(loop: Loop, page: Members, first: boolean): void {
    const { channel } = loop;
    const { stream, epoch, offset, gone } = page as { stream: string; epoch: number; offset: number; gone?: Members };
    let events = page['events'] as readonly Members[];
    if (loop.cursor === null) {
      // The newest is where a subscription begins: behind it, or before it.
      const newest = events.at(-1)?.['offset'] as number | undefined;
      const before = loop.withNewest && newest !== undefined;
      loop.cursor = `${stream}.${before ? newest - 1 : offset}`;
      if (!before) events = [];
    }
    if (first) this.#begun(loop);
    const from = loop.cursor;
    const messages: Members[] = [];
    if (gone) messages.push({ gap: { channel, reason: gone['reason'], from, stream, epoch: gone['epoch'], offset: gone['offset'] } });
    if (events.length > 0) messages.push({ events: { channel, stream, epoch, events } });
    loop.cursor = `${stream}.${events.at(-1)?.['offset'] ?? offset}`;
    // Another question has another answer.
    if (loop.cursor !== from) loop.tag = null;
    if (messages.length > 0) this.#events.messages(messages);
  }

  #begun({ channel, cursor }: Loop): void {
    const parts = (cursor ?? '').split('.');
    const offset = Number(parts.pop());
    const place = { stream: parts.join('.'), epoch: Number(parts.at(-2)), offset };
    this.#events.messages([{ subscribed: { channel, class: 'strict', ...place } }]);
  }

  #refused(loop: Loop, problem: Problem): void {
    this.#stop(loop);
    const { channel } = loop;
    if (problem['action'] === 'refresh') return this.#events.refused(problem);
    const unsupported = problem['code'] === 'unsupported';
    this.#events.refused({ ...problem, channel, ...(unsupported ? { action: 'retry', retry_after_ms: NOT_POLLED_MS } : {}) });
  }

  #mode(name: string, intervalMs: number): void {
    this.#watchMode();
    if (name === 'polling-only') return;
    const afterMs = Math.floor(this.#clock.random() * Math.max(RETURN_MS, intervalMs));
    this.#events.messages([{ mode: { mode: name, after_ms: afterMs } }]);
  }

  #watchMode(): void {
    this.#clock.clearTimeout(this.#watch);
    const wait = WATCH_MS * (1 + JITTER * this.#clock.random());
    this.#watch = this.#clock.setTimeout(() => void this.#greet(() => undefined), wait);
  }

  #fail(error: unknown): void {
    this.#events.ended(asMeridianError(error, 'connection_lost', 'reconnect', 'the request failed'));
  }
}
