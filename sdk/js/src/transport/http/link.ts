// Owns a link made of requests, over an event stream or long polls: reads by requests that carry the
// channels and cursors, and carries the session's commands out by others. Unlike the other links it
// knows what commands mean, for nobody else does on the way. Never reconnects.

import type { Clock } from '../../clock.js';
import type { Frame } from '../../codec/codec.js';
import { MeridianError } from '../../errors.js';
import { readError } from '../../wire.js';
import type { Members } from '../../wire-read.js';
import { FIRST_STREAM, type Dial, type Link, type LinkAddress, type LinkEvents } from '../link.js';
import { Api, type HttpFetch, type Problem } from './api.js';
import { Channels } from './channels.js';
import { askPast, readPast } from './past.js';
import { poll, type Reading, type ReadingOf } from './reading.js';

/** How long a read of the past may wait for the store. */
const PAST_MS = 5_000;

export interface HttpDialSetup {
  readonly fetch: HttpFetch;
  readonly clock: Clock;
  readonly reading: ReadingOf;
}

export function dialHttp(setup: HttpDialSetup): Dial {
  return (address, events) => new HttpLink(setup, address, events);
}

type Reply = (message: Members) => void;

class HttpLink implements Link {
  readonly sendsNothing = true;
  readonly #clock: Clock;
  readonly #events: LinkEvents;
  readonly #api: Api;
  readonly #reading: Reading;
  readonly #channels = new Channels();
  readonly #requests = new Set<AbortController>();
  /** What the first request says beyond its channels. */
  #hello: Members = {};
  /** Answered by the next `connected`. */
  #waiting: Reply[] = [];
  #connected = false;
  #asking = false;
  #again = false;
  #over = false;

  constructor({ fetch, clock, reading }: HttpDialSetup, address: LinkAddress, events: LinkEvents) {
    this.#clock = clock;
    this.#events = events;
    this.#api = new Api(fetch, address.url);
    this.#reading = reading(this.#api, clock, {
      answered: () => this.#answered(),
      messages: (messages) => this.#messages(messages),
      alive: () => this.#events.frame('[]', FIRST_STREAM),
      refused: (problem) => this.#refused(problem),
      ended: (error) => this.#end(error),
    });
    // Whether there is a way shows with the first request, which `connect` makes.
    queueMicrotask(() => {
      if (!this.#over) events.opened();
    });
  }

  send(frame: Frame): void {
    if (this.#over) return;
    const commands = [JSON.parse(frame as string) as Members | Members[]].flat();
    let asks = false;
    for (const command of commands) asks = this.#command(command) || asks;
    if (asks) this.#ask();
  }

  close(): void {
    this.#over = true;
    this.#reading.close();
    for (const request of this.#requests) request.abort();
    this.#requests.clear();
  }

  /** Carries a command out; answers whether there is to be asked anew. */
  #command(command: Members): boolean {
    const id = command['id'] as number;
    const name = Object.keys(command).find((key) => key !== 'id') as string;
    const body = command[name] as Members;
    switch (name) {
      case 'connect': return this.#connect(id, body);
      case 'subscribe': return this.#subscribe(id, body);
      case 'unsubscribe': return this.#unsubscribe(id, body['channel'] as string);
      case 'refresh': return this.#refresh(id, body['token'] as string);
      case 'ping':
        this.#waiting.push(() => this.#tell({ id, pong: {} }));
        return true;
      case 'pong': return false;
      case 'publish': return this.#publish(id, body, (answer) => ({ published: answer }));
      case 'publish_batch': return this.#publish(id, body, (answer) => ({ published_batch: answer }));
      case 'history': return this.#history(id, body);
      default: return this.#unsupported(id);
    }
  }

  #connect(id: number, { token, redirected, reconnect, fallback }: Members): boolean {
    this.#api.token = token as string | undefined;
    this.#hello = { redirected, reconnect, fallback };
    this.#waiting.push((connected) => {
      this.#hello = {};
      this.#connected = true;
      this.#tell({ id, connected });
    });
    return true;
  }

  #subscribe(id: number, body: Members): boolean {
    // Acknowledged positions belong to a session with a subscriber's name; requests have none.
    if (body['acked'] === true) return this.#unsupported(id);
    this.#channels.subscribe(id, body);
    return true;
  }

  #unsubscribe(id: number, channel: string): boolean {
    const left = this.#channels.unsubscribe(channel);
    if (left) this.#tell({ id, unsubscribed: { channel, code: 'requested', action: 'stop' } });
    else this.#tell({ id, error: { code: 'not_subscribed', message: 'the session is not subscribed to this channel', action: 'stop' } });
    return left;
  }

  #refresh(id: number, token: string): boolean {
    this.#api.token = token;
    this.#waiting.push((connected) => this.#tell({ id, refreshed: { expires_in_ms: connected['expires_in_ms'] } }));
    return true;
  }

  #unsupported(id: number): boolean {
    const message = 'this server does not know that command or option over plain requests';
    this.#tell({ id, error: { code: 'unsupported', message, action: 'stop' } });
    return false;
  }

  #publish(id: number, body: Members, reply: (answer: unknown) => Members): boolean {
    const request = this.#request();
    this.#api.post('/v1/publish', body, request.signal)
      .then(async ({ response, problem }) => (problem ? { error: problem } : reply(await response.json())))
      .catch(() => ({ error: { code: 'outcome_unknown', message: 'the request failed on its way', action: 'retry' } }))
      .then((answer) => this.#settle(request, { id, ...answer }));
    return false;
  }

  #history(id: number, body: Members): boolean {
    const request = this.#request();
    let past: Members | null = null;
    const take = (messages: readonly Members[]) => void (past = readPast(body, messages));
    poll(this.#api, this.#clock, { ...askPast(body), greet: true, wait_ms: PAST_MS }, request, take)
      .then((problem) => ({ error: problem ?? { code: 'unsupported', message: 'this channel keeps no events', action: 'stop' } }))
      .catch(() => ({ error: { code: 'unavailable', message: 'the request failed on its way', action: 'retry' } }))
      .then((error) => this.#settle(request, past ? { id, history: past } : { id, ...error }));
    return false;
  }

  #request(): AbortController {
    const request = new AbortController();
    this.#requests.add(request);
    return request;
  }

  #settle(request: AbortController, message: Members): void {
    if (this.#requests.delete(request)) this.#tell(message);
  }

  /** Asks for what is wanted now; one at a time, for each is the whole. */
  #ask(): void {
    if (this.#over) return;
    this.#again = this.#asking;
    if (this.#asking) return;
    this.#asking = true;
    this.#reading.ask({ ...this.#hello, ...this.#channels.ask() }, true);
  }

  #answered(): void {
    this.#asking = false;
    if (this.#again) this.#ask();
    else if (this.#reading.polls && !this.#over) this.#reading.ask(this.#channels.ask(), false);
  }

  #messages(messages: readonly Members[]): void {
    for (const message of messages) {
      if (this.#over) return;
      if (message['connected'] !== undefined) this.#greeted(message['connected'] as Members);
      else if (message['error'] !== undefined) this.#end(readError(message['error'] as Members));
      else {
        const told = this.#channels.take(message);
        if (told) this.#tell(told);
      }
    }
  }

  #greeted(connected: Members): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const reply of waiting) reply(connected);
  }

  /** A refusal of one channel costs that one; any other is about the whole connection. */
  #refused(problem: Problem): void {
    const channel = problem['channel'];
    const told = typeof channel === 'string' ? this.#channels.refused(channel, problem) : null;
    if (!told) return this.#end(readError(problem));
    this.#asking = false;
    this.#tell(told);
    this.#ask();
  }

  #tell(message: Members): void {
    // As the other links do: never within the call that caused it.
    queueMicrotask(() => {
      if (!this.#over) this.#events.frame(JSON.stringify(message), FIRST_STREAM);
    });
  }

  #end(error: MeridianError): void {
    if (this.#over) return;
    // What cannot be read before a gateway has said anything is not of a gateway.
    const never = !this.#connected && (error.code === 'connection_lost' || error.code === 'bad_frame');
    // After what was told before.
    queueMicrotask(() => {
      if (this.#over) return;
      this.close();
      this.#events.closed(never ? new MeridianError('connect_failed', 'reconnect', 'the requests do not get through') : error);
    });
  }
}
