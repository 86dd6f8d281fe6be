// Owns a gateway in memory that answers requests as docs/http-api.md says, on the log of a `FakeServer`:
// event streams, long polls and publishes, and the faults that tests switch on.

import type { HttpFetch } from '../../src/transport/http/api.js';
import { dialHttp } from '../../src/transport/http/link.js';
import { eventStream, longPoll } from '../../src/transport/http/reading.js';
import type { Dials } from '../../src/transport/link.js';
import type { FakeClock } from './clock.js';
import type { Body, FakeServer } from './server.js';

const STREAM = '1.global.1.3';
const LATENCY_MS = 10;
const TITLES: Record<string, number> = { forbidden: 403, token_expired: 401, draining: 503, too_many_sessions: 503, wrong_region: 421 };

export interface Asked {
  readonly path: string;
  readonly body: Body;
  readonly token: string | null;
}

class Waiting {
  readonly positions = new Map<string, number>();
  readonly write: (messages: Body[]) => void;
  readonly end: (broken: boolean) => void;

  constructor(write: (messages: Body[]) => void, end: (broken: boolean) => void) {
    this.write = write;
    this.end = end;
  }
}

export class FakeHttp {
  readonly server: FakeServer;
  readonly clock: FakeClock;
  readonly asked: Asked[] = [];
  /** Streams and polls that are open. */
  readonly open = new Set<Waiting>();
  /** `buffers`: a proxy that keeps a stream's bytes to itself. */
  network: 'works' | 'refused' | 'buffers' | 'proxy' = 'works';
  /** The refusal of a request, if it is refused. */
  refuse: (asked: Asked) => Body | null = () => null;
  heartbeatMs = 25_000;

  constructor(server: FakeServer) {
    this.server = server;
    this.clock = server.clock;
    const append = server.append.bind(server);
    server.append = (channel, data, id) => {
      const cursor = append(channel, data, id);
      for (const waiting of [...this.open]) this.#deliver(waiting);
      return cursor;
    };
    this.#beat();
  }

  /** With those of the server that speak frames. */
  get dials(): Dials {
    const { fetch, clock } = this;
    return { ...this.server.dials, sse: dialHttp({ fetch, clock, reading: eventStream }), longpoll: dialHttp({ fetch, clock, reading: longPoll }) };
  }

  readonly fetch: HttpFetch = async (url, init) => {
    const path = new URL(url).pathname;
    const token = new Headers(init.headers).get('authorization');
    const asked = { path, body: JSON.parse(String(init.body)) as Body, token };
    this.asked.push(asked);
    await this.#pause(init.signal);
    if (this.network === 'refused') throw new TypeError('Failed to fetch');
    if (this.network === 'proxy') return new Response('<html>Forbidden</html>', { status: 403 });
    const refusal = this.refuse(asked);
    if (refusal) return problem(refusal);
    if (path === '/v1/publish') return this.#publish(asked.body);
    return path === '/v1/sse' ? this.#stream(asked.body, init.signal) : await this.#poll(asked.body, init.signal);
  };

  /** Ends all that is open, as a broken network does, or by the server's word. */
  cut(last?: Body): void {
    for (const waiting of [...this.open]) {
      if (last) waiting.write([last]);
      waiting.end(last === undefined);
    }
  }

  push(message: Body): void {
    for (const waiting of [...this.open]) waiting.write([message]);
  }

  #publish(body: Body): Response {
    const store = (event: Body) => ({ cursor: this.server.append(event['channel'], event['data'], event['id']) });
    const events = body['events'] as Body[] | undefined;
    return Response.json(events ? { results: events.map(store) } : store(body));
  }

  #stream(body: Body, signal: AbortSignal | null | undefined): Response {
    const encoder = new TextEncoder();
    let waiting: Waiting | null = null;
    const buffers = this.network === 'buffers';
    const stream = new ReadableStream<Uint8Array>({
      start: (controller) => {
        const over = (end: () => void) => {
          if (waiting && this.open.delete(waiting)) end();
        };
        const write = (messages: Body[]) => {
          if (buffers) return;
          const text = messages.map((message) => `${name(message)}data: ${JSON.stringify(message)}\nid: x\n\n`).join('');
          controller.enqueue(encoder.encode(text === '' ? ':\n' : text));
        };
        waiting = new Waiting(write, (broken) => over(() => (broken ? controller.error(new TypeError('network error')) : controller.close())));
        signal?.addEventListener('abort', () => over(() => controller.error(new DOMException('aborted', 'AbortError'))));
        this.open.add(waiting);
        write([this.#connected(), ...this.#begin(waiting, body)]);
        this.#deliver(waiting);
      },
    });
    return new Response(stream, { headers: { 'content-type': 'text/event-stream' } });
  }

  async #poll(body: Body, signal: AbortSignal | null | undefined): Promise<Response> {
    const messages: Body[] = [];
    let answer = (_broken: boolean) => {};
    const answered = new Promise<boolean>((resolve) => (answer = resolve));
    const waiting = new Waiting(
      (more) => {
        messages.push(...more);
        if (more.length > 0) answer(false);
      },
      answer,
    );
    const begins = this.#begin(waiting, body);
    this.open.add(waiting);
    signal?.addEventListener('abort', () => answer(true));
    if (body['greet'] === true) waiting.write([this.#connected(), ...begins]);
    this.#deliver(waiting);
    const timer = this.clock.setTimeout(() => answer(false), body['wait_ms'] ?? 25_000);
    const broken = await answered;
    this.clock.clearTimeout(timer);
    this.open.delete(waiting);
    if (broken) throw new TypeError('network error');
    return Response.json({ messages, cursors: {} });
  }

  #connected(): Body {
    const { limits, expiresInMs } = this.server;
    return { connected: { protocol: 1, session: 'h', node: 'n1', region: 'local', tenant: 'demo', user: 'ann', capabilities: [], expires_in_ms: expiresInMs, limits } };
  }

  #begin(waiting: Waiting, body: Body): Body[] {
    return (body['channels'] as Body[]).map(({ channel, cursor, last }) => {
      const all = this.server.after(channel, -1);
      let offset = this.server.end();
      if (cursor) offset = Number(String(cursor).slice(STREAM.length + 1));
      else if (last) offset = all.at(-last)?.prev ?? (all.length > last ? offset : -1);
      waiting.positions.set(channel, offset);
      return { subscribed: { channel, class: 'strict', stream: STREAM, epoch: 1, offset } };
    });
  }

  #deliver(waiting: Waiting): void {
    for (const [channel, position] of waiting.positions) {
      const events = this.server.after(channel, position);
      if (events.length === 0) continue;
      waiting.positions.set(channel, events.at(-1)?.offset ?? position);
      const wire = events.map(({ offset, prev, id, data }) => ({ offset, prev, time: 1, id, data }));
      waiting.write([{ events: { channel, stream: STREAM, epoch: 1, events: wire } }]);
    }
  }

  #beat(): void {
    this.clock.setTimeout(() => {
      for (const waiting of this.open) waiting.write([]);
      this.#beat();
    }, this.heartbeatMs);
  }

  #pause(signal: AbortSignal | null | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      signal?.addEventListener('abort', () => reject(new DOMException('aborted', 'AbortError')));
      this.clock.setTimeout(resolve, LATENCY_MS);
    });
  }
}

function name(message: Body): string {
  const [name] = Object.keys(message);
  return name === 'events' ? '' : `event: ${name === 'error' ? 'close' : name}\n`;
}

function problem(error: Body): Response {
  const status = TITLES[error['code'] as string] ?? 503;
  return Response.json(error, { status, headers: { 'content-type': 'application/problem+json' } });
}
