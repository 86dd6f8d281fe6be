// Owns a gateway in memory that speaks docs/protocol.md over fake links: a log of one partition,
// subscriptions with lanes, and faults that tests switch on.

import { jsonCodec } from '../../src/codec/json.js';
import { msgpackCodec } from '../../src/codec/msgpack.js';
import type { Codec, Frame } from '../../src/codec/codec.js';
import { closeError, MeridianError } from '../../src/errors.js';
import type { Dial, Dials, Link, LinkEvents } from '../../src/transport/link.js';
import type { TransportName } from '../../src/types.js';
import type { FakeClock } from './clock.js';

export type Body = Record<string, any>;
type Stored = { channel: string; offset: number; prev: number | null; id: string; data: unknown };

export interface ServerSubscription {
  channel: string;
  position: number;
  lane: number;
}

const STREAM = '1.global.1.3';
const LANES = 3;

export class FakeServer {
  readonly clock: FakeClock;
  readonly sessions: ServerSession[] = [];
  readonly commands: { session: ServerSession; body: Body }[] = [];
  readonly stored: Stored[] = [];
  readonly heads = new Map<string, number>();
  readonly latencyMs: Record<TransportName, number> = { webtransport: 10, websocket: 10, sse: 10, longpoll: 10 };
  /** A transport that never opens, refuses, or works. */
  readonly network: Record<TransportName, 'works' | 'silent' | 'refused'> = { webtransport: 'works', websocket: 'works', sse: 'works', longpoll: 'works' };
  limits: Body = { heartbeat_ms: 25_000, commands_per_s: 200, batch_events: 128 };
  expiresInMs: number | undefined;
  serverChannels: string[] = [];
  regionOf: (session: ServerSession) => string = () => 'local';
  ephemeral = (channel: string) => channel.startsWith('typing:');
  /** Extra delay of a message on a lane. */
  laneDelay: (lane: number) => number = () => 0;
  /** Answers a command in place of the server: an error code, or 'swallow'. */
  intercept: (body: Body, session: ServerSession) => Body | 'swallow' | null = () => null;
  /** Changes pushed batches of events, as a server that misbehaves would. */
  mangle: (events: Body[]) => Body[] = (events) => events;
  opened = 0;
  #offset = 99;
  #readable = 0;

  constructor(clock: FakeClock) {
    this.clock = clock;
  }

  get dials(): Dials {
    const dial = (transport: TransportName): Dial => (address, events) =>
      new ServerSession(this, transport, address.codec === 'msgpack' ? msgpackCodec : jsonCodec, events, address.url);
    return { webtransport: dial('webtransport'), websocket: dial('websocket') };
  }

  get live(): ServerSession[] {
    return this.sessions.filter((session) => session.connected && !session.ended);
  }

  get latest(): ServerSession {
    return this.live.at(-1) as ServerSession;
  }

  named(name: string): Body[] {
    return this.commands.filter(({ body }) => body[name] !== undefined).map(({ body }) => body[name] as Body);
  }

  append(channel: string, data: unknown, id = `id-${this.#offset + 1}`): string {
    const known = this.stored.find((event) => event.channel === channel && event.id === id);
    this.#offset += 1;
    if (known) return `${STREAM}.${this.#offset}`;
    const event = { channel, offset: this.#offset, prev: this.heads.get(channel) ?? null, id, data };
    this.stored.push(event);
    this.heads.set(channel, event.offset);
    for (const session of this.live) session.pump(channel);
    return `${STREAM}.${event.offset}`;
  }

  /** Retention removes everything so far. */
  forgetAll(): void {
    this.#readable = this.#offset + 1;
  }

  after(channel: string, position: number): Stored[] {
    return this.stored.filter((e) => e.channel === channel && e.offset > position && e.offset >= this.#readable);
  }

  end(): number {
    return this.#offset;
  }
}

export class ServerSession implements Link {
  readonly server: FakeServer;
  readonly transport: TransportName;
  readonly codec: Codec;
  readonly url: string;
  readonly subscriptions = new Map<string, ServerSubscription>();
  connect: Body | null = null;
  connected = false;
  ended = false;
  closedByClient = false;
  /** The network takes everything and gives nothing. */
  mute = false;
  heard = 0;
  readonly #events: LinkEvents;
  readonly #laneFree = new Map<number, number>();

  constructor(server: FakeServer, transport: TransportName, codec: Codec, events: LinkEvents, url: string) {
    this.server = server;
    this.transport = transport;
    this.codec = codec;
    this.url = url;
    this.#events = events;
    server.sessions.push(this);
    const network = server.network[transport];
    if (network === 'silent') return;
    this.#later(() => {
      if (network === 'refused') {
        this.ended = true;
        return events.closed(new MeridianError('connect_failed', 'reconnect', 'refused'));
      }
      server.opened += 1;
      events.opened();
    });
  }

  send(frame: Frame): void {
    if (this.ended || this.mute) return;
    this.#later(() => {
      for (const message of this.codec.decode(frame)) this.#command(message as Body);
    });
  }

  close(): void {
    this.ended = true;
    this.closedByClient = true;
  }

  /** The server closes, with one of its codes or as a broken network. */
  end(code: number | undefined, name = ''): void {
    if (this.ended) return;
    this.#later(() => {
      if (this.closedByClient) return;
      this.ended = true;
      this.#events.closed(closeError(code, name));
    });
  }

  push(message: Body, lane = 0): void {
    const { clock } = this.server;
    const wanted = clock.now() + this.server.latencyMs[this.transport] + this.server.laneDelay(lane);
    const at = Math.max(wanted, this.#laneFree.get(lane) ?? 0);
    this.#laneFree.set(lane, at);
    const { data } = this.codec.encode(message);
    clock.setTimeout(() => {
      if (!this.ended && !this.mute) this.#events.frame(data, this.transport === 'websocket' ? 0 : lane);
    }, at - clock.now());
  }

  stopLane(lane: number): void {
    this.#later(() => this.#events.laneEnded(lane));
  }

  pump(channel: string): void {
    const subscription = this.subscriptions.get(channel);
    if (!subscription) return;
    const { server } = this;
    const events = server.after(channel, subscription.position);
    const first = events[0];
    const head = server.heads.get(channel) ?? -1;
    const lost = first ? (first.prev ?? -1) : head;
    if (lost > subscription.position) {
      const from = `${STREAM}.${subscription.position}`;
      this.push({ gap: { channel, reason: 'retention', from, stream: STREAM, epoch: 1, offset: lost } }, subscription.lane);
      subscription.position = lost;
    }
    if (!first) return;
    subscription.position = (events.at(-1) as Stored).offset;
    const sent = server.mangle(events.map((event) => this.wire(event)));
    if (sent.length > 0) this.push({ events: { channel, stream: STREAM, epoch: 1, events: sent } }, subscription.lane);
  }

  wire(event: Stored): Body {
    const data = this.codec.name === 'json' ? event.data : new TextEncoder().encode(JSON.stringify(event.data));
    return { offset: event.offset, prev: event.prev, time: this.server.clock.now(), id: event.id, data };
  }

  subscribe(id: number | undefined, body: Body): void {
    const { channel } = body;
    const { server } = this;
    if (server.ephemeral(channel)) {
      this.subscriptions.set(channel, { channel, position: Infinity, lane: 0 });
      return this.push({ id, subscribed: { channel, class: 'ephemeral' } });
    }
    const all = server.after(channel, -1);
    let position = server.end();
    if (body['cursor']) position = Number(String(body['cursor']).slice(STREAM.length + 1));
    else if (body['last']) position = all.at(-body['last'])?.prev ?? (all.length > body['last'] ? position : -1);
    const lane = 1 + ((this.subscriptions.size + 1) % LANES);
    this.subscriptions.set(channel, { channel, position, lane });
    this.push({ id, subscribed: { channel, class: 'strict', stream: STREAM, epoch: 1, offset: position } }, lane);
    this.pump(channel);
  }

  #command(body: Body): void {
    if (this.ended) return;
    this.heard = this.server.clock.now();
    this.server.commands.push({ session: this, body });
    const answer = this.server.intercept(body, this);
    if (answer === 'swallow') return;
    if (answer) return this.push({ id: body['id'], ...answer });
    const id = body['id'] as number | undefined;
    if (body['connect']) this.#connect(id, body['connect'] as Body);
    else if (body['subscribe']) this.#subscribe(id, body['subscribe'] as Body);
    else if (body['unsubscribe']) this.#unsubscribe(id, body['unsubscribe'].channel as string);
    else if (body['publish']) this.push({ id, published: { cursor: this.#publish(body['publish'] as Body) } });
    else if (body['publish_batch']) {
      const results = (body['publish_batch'].events as Body[]).map((event) => ({ cursor: this.#publish(event) }));
      this.push({ id, published_batch: { results } });
    } else if (body['ack']) this.push({ id, acked: { channel: body['ack'].channel } });
    else if (body['refresh']) this.push({ id, refreshed: { expires_in_ms: this.server.expiresInMs } });
    else if (body['ping']) this.push({ id, pong: {} });
    else if (body['history']) this.#history(id, body['history'] as Body);
  }

  #connect(id: number | undefined, body: Body): void {
    const { server } = this;
    this.connect = body;
    if (body['subscriber']) {
      for (const other of server.live) if (other.connect?.['subscriber'] === body['subscriber']) other.end(4046, 'taken_over');
    }
    this.connected = true;
    const limits = server.limits;
    this.push({ id, connected: { protocol: 1, session: `s${server.sessions.length}`, node: 'n1', region: server.regionOf(this), tenant: 'demo', user: 'ann', capabilities: [], expires_in_ms: server.expiresInMs, limits } });
    for (const channel of server.serverChannels) this.subscribe(undefined, { channel });
  }

  #subscribe(id: number | undefined, body: Body): void {
    if (!this.subscriptions.has(body['channel'])) return this.subscribe(id, body);
    this.push({ id, error: { code: 'already_subscribed', message: 'twice', action: 'stop' } });
  }

  #unsubscribe(id: number | undefined, channel: string): void {
    const held = this.subscriptions.get(channel);
    this.subscriptions.delete(channel);
    if (held) this.push({ id, unsubscribed: { channel, code: 'requested', action: 'stop' } }, held.lane);
    else this.push({ id, error: { code: 'not_subscribed', message: 'not', action: 'stop' } });
  }

  #publish(event: Body): string | undefined {
    const raw: unknown = event['data'];
    const data = raw instanceof Uint8Array ? JSON.parse(new TextDecoder().decode(raw)) : raw;
    if (!this.server.ephemeral(event['channel'])) return this.server.append(event['channel'], data, event['id']);
    for (const session of this.server.live) {
      if (!session.subscriptions.has(event['channel'])) continue;
      const wire = session.wire({ channel: '', offset: 0, prev: null, id: event['id'], data });
      delete wire['offset'];
      delete wire['prev'];
      session.push({ events: { channel: event['channel'], events: [wire] } });
    }
    return undefined;
  }

  #history(id: number | undefined, body: Body): void {
    const position = body['after'] ? Number(String(body['after']).slice(STREAM.length + 1)) : -1;
    const found = this.server.after(body['channel'], position);
    const events = body['last'] ? found.slice(-body['last']) : found.slice(0, body['limit'] ?? 100);
    const offset = events.at(-1)?.offset ?? position;
    this.push({ id, history: { channel: body['channel'], stream: STREAM, epoch: 1, offset, events: events.map((e) => this.wire(e)), more: events.length < found.length } });
  }

  #later(run: () => void): void {
    this.server.clock.setTimeout(run, this.server.latencyMs[this.transport]);
  }
}
