// Owns the two ways in which a connection made of requests reads: an event stream, and long polls.
// Never repeats a request by itself: who holds the channels says what is asked for.

import { asMeridianError, badFrame, MeridianError } from '../../errors.js';
import type { Clock } from '../../clock.js';
import type { Members } from '../../wire-read.js';
import type { Api, Problem } from './api.js';
import { BlockReader } from './event-stream.js';

/** What a reading tells its owner. */
export interface ReadingEvents {
  /** What was asked for is being read; its messages follow, or came already. */
  answered(): void;
  messages(messages: readonly Members[]): void;
  alive(): void;
  refused(problem: Problem): void;
  ended(error: MeridianError): void;
}

export interface Reading {
  /** Asks anew; `greet` answers at once. What was asked before goes on until this is answered. */
  ask(request: Members, greet: boolean): void;
  close(): void;
  /** Each answer is the last of its request. */
  readonly polls: boolean;
}

export type ReadingOf = (api: Api, clock: Clock, events: ReadingEvents) => Reading;

/** For what holds back the first bytes of an answer on the way. */
const PADDING_BYTES = 2_048;
/** How long a request may take until its answer begins, beyond what the server was asked to wait. */
const ANSWER_MS = 15_000;
/** Within the server's heartbeat, so that each answer is a sign of life in time. */
const WAIT_MS = 20_000;

export const eventStream: ReadingOf = (api, clock, events) => new EventStream(api, clock, events);
export const longPoll: ReadingOf = (api, clock, events) => new LongPoll(api, clock, events);

class EventStream implements Reading {
  readonly polls = false;
  readonly #api: Api;
  readonly #clock: Clock;
  readonly #events: ReadingEvents;
  #live: AbortController | null = null;
  #opening: AbortController | null = null;

  constructor(api: Api, clock: Clock, events: ReadingEvents) {
    this.#api = api;
    this.#clock = clock;
    this.#events = events;
  }

  ask(request: Members): void {
    this.#opening?.abort();
    const abort = new AbortController();
    this.#opening = abort;
    void this.#run(request, abort);
  }

  close(): void {
    this.#opening?.abort();
    this.#live?.abort();
    this.#opening = null;
    this.#live = null;
  }

  async #run(request: Members, abort: AbortController): Promise<void> {
    const counts = () => this.#opening === abort || this.#live === abort;
    try {
      const timer = this.#clock.setTimeout(() => abort.abort(), ANSWER_MS);
      const answer = await this.#api.post('/v1/sse', { ...request, padding: PADDING_BYTES }, abort.signal)
        .finally(() => this.#clock.clearTimeout(timer));
      if (!counts()) return;
      this.#opening = null;
      if (answer.problem) return this.#events.refused(answer.problem);
      // From here on the new stream carries all; the old one's last words come again.
      this.#live?.abort();
      this.#live = abort;
      this.#events.answered();
      await this.#read(answer.response, counts);
      if (counts()) this.#events.ended(new MeridianError('connection_lost', 'reconnect', 'the event stream ended'));
    } catch (error) {
      if (counts()) this.#events.ended(failure(error));
    }
  }

  async #read(response: Response, counts: () => boolean): Promise<void> {
    if (!response.body) throw new MeridianError('connect_failed', 'reconnect', 'this platform streams no answers');
    const reader = response.body.getReader();
    const blocks = new BlockReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done || !counts()) return;
      this.#events.alive();
      for (const block of blocks.push(value)) {
        this.#events.messages([parse(block)]);
        if (!counts()) return;
      }
    }
  }
}

class LongPoll implements Reading {
  readonly polls = true;
  readonly #api: Api;
  readonly #clock: Clock;
  readonly #events: ReadingEvents;
  #under: AbortController | null = null;

  constructor(api: Api, clock: Clock, events: ReadingEvents) {
    this.#api = api;
    this.#clock = clock;
    this.#events = events;
  }

  ask(request: Members, greet: boolean): void {
    // What the aborted poll would have brought comes with this one.
    this.#under?.abort();
    const abort = new AbortController();
    this.#under = abort;
    void this.#run({ ...request, ...(greet ? { greet } : {}), wait_ms: WAIT_MS }, abort);
  }

  close(): void {
    this.#under?.abort();
    this.#under = null;
  }

  async #run(request: Members, abort: AbortController): Promise<void> {
    const counts = () => this.#under === abort;
    try {
      const problem = await poll(this.#api, this.#clock, request, abort, (messages) => {
        if (!counts()) return;
        this.#events.alive();
        this.#events.messages(messages);
        if (counts()) this.#events.answered();
      });
      if (problem && counts()) this.#events.refused(problem);
    } catch (error) {
      if (counts()) this.#events.ended(failure(error));
    }
  }
}

/** One poll: `take` gets its messages, unless the answer is a refusal. */
export async function poll(
  api: Api,
  clock: Clock,
  request: Members,
  abort: AbortController,
  take: (messages: readonly Members[]) => void,
): Promise<Problem | null> {
  const timer = clock.setTimeout(() => abort.abort(), ANSWER_MS + Number(request['wait_ms'] ?? 0));
  try {
    const answer = await api.post('/v1/poll', request, abort.signal);
    if (answer.problem) return answer.problem;
    const { messages } = (await answer.response.json()) as { messages?: unknown };
    if (!Array.isArray(messages)) throw badFrame('an answer without messages');
    take(messages as Members[]);
    return null;
  } finally {
    clock.clearTimeout(timer);
  }
}

function parse(block: string): Members {
  try {
    return JSON.parse(block) as Members;
  } catch {
    throw badFrame('a block that is no JSON');
  }
}

function failure(error: unknown): MeridianError {
  return asMeridianError(error, 'connection_lost', 'reconnect', 'the request failed');
}
