// Owns the connection: one client at a time, the channels it follows, and their cursors, which outlive
// it. Brings a client back that gave up. Shows nothing and never looks into an event.

import { MeridianClient, memoryStorage } from './meridian.js';
import { fetchInfo, sameServer } from './info.js';

const WATCH_MS = 2_000;
const RESTART_AFTER_MS = 6_000;
/** With these a stored cursor will never do; the channel starts afresh. */
const CURSOR_FAULTS = ['bad_cursor', 'foreign_cursor', 'cursor_beyond_end'];
const COUNTERS = ['connects', 'events', 'duplicates', 'gaps', 'chainBreaks', 'overflows'];

export class Link {
  #info;
  #on;
  #mode = 'auto';
  #channels = new Map();
  #cursors = new Map();
  #past = Object.fromEntries(COUNTERS.map((name) => [name, 0]));
  // What worked is remembered for this page's life only: a reload shows the race again.
  #storage = memoryStorage();
  /** Where the client went last. */
  #place = null;
  #heldUntil = 0;
  #stoppedAt = 0;
  #checking = false;

  /** `on`: `event`, `gap`, `fault`, `state`, `subscribed`, `ended`, `renewed`, `region`. */
  constructor(info, on) {
    this.#info = info;
    this.#on = on;
    this.client = null;
    this.serverAnswers = true;
  }

  get info() {
    return this.#info;
  }

  /** Where the client is, or wants to be. */
  get url() {
    return this.#place ?? this.#info.url;
  }

  get mode() {
    return this.#mode;
  }

  get channels() {
    return [...this.#channels.keys()];
  }

  /** Counters over all clients of this page. */
  get counters() {
    const now = this.client?.stats ?? {};
    return Object.fromEntries(COUNTERS.map((name) => [name, this.#past[name] + (now[name] ?? 0)]));
  }

  start() {
    this.#open();
    setInterval(() => this.#watch(), WATCH_MS);
  }

  follow(channel, last) {
    this.#channels.set(channel, last);
    if (this.client) this.#subscribe(channel);
  }

  unfollow(channel) {
    this.#channels.delete(channel);
    this.client?.subscription(channel)?.unsubscribe();
    this.#cursors.delete(channel);
  }

  cursor(channel) {
    return this.client?.subscription(channel)?.cursor ?? this.#cursors.get(channel);
  }

  /** Whether every channel is subscribed on the running connection. */
  get settled() {
    const { client } = this;
    return client?.state === 'connected' && this.channels.every((name) => client.subscription(name)?.state === 'subscribed');
  }

  /** Forces a transport by a new client that goes on from the cursors. */
  setTransport(mode) {
    if (mode === this.#mode) return;
    this.#mode = mode;
    this.#heldUntil = 0;
    this.#reopen();
  }

  interrupt(ms) {
    this.#heldUntil = Date.now() + ms;
    this.client?.interrupt(ms);
  }

  #open() {
    const client = new MeridianClient({
      url: this.#info.url,
      token: () => this.#token(),
      regions: this.#info.regions.map(({ url }) => url),
      // A region that fails for seconds only: nobody wants to watch for a minute.
      homeProbeMs: 4_000,
      homeSpreadMs: 4_000,
      serverCertificateHashes: [this.#info, ...this.#info.regions].map(({ certificateHash }) => certificateHash).filter(Boolean),
      transport: this.#mode,
      store: { load: (channel) => this.#cursors.get(channel), save: (channel, cursor) => void this.#cursors.set(channel, cursor) },
      storage: this.#storage,
      saveIntervalMs: 250,
      reconnect: { baseMs: 500, capMs: 4_000 },
      requestTimeoutMs: 15_000,
      clientName: 'meridian-console',
    });
    this.client = client;
    this.#place = null;
    this.#stoppedAt = 0;
    const current = (run) => (payload) => {
      if (client === this.client) run(payload);
    };
    client.on('state', current((state) => this.#state(state)));
    client.on('transport', current(() => this.#on.state()));
    client.on('error', current((error) => this.#on.fault(error)));
    client.on('stopped', current((error) => this.#stopped(error)));
    client.on('gap', current((gap) => this.#on.gap(gap)));
    client.on('region', current((moved) => {
      this.#place = moved.url;
      this.#on.region(moved);
    }));
    for (const channel of this.#channels.keys()) this.#subscribe(channel);
    client.connect();
  }

  #reopen() {
    const { client } = this;
    this.client = null;
    client.close();
    for (const name of COUNTERS) this.#past[name] += client.stats[name];
    this.#open();
    this.#on.state();
  }

  #subscribe(channel) {
    const { client } = this;
    client.subscribe(channel, {
      from: { last: this.#channels.get(channel) },
      onEvent: (event) => this.#on.event(event),
      onState: (state) => {
        if (state === 'subscribed') this.#on.subscribed(channel);
      },
      onError: (error) => this.#ended(client, channel, error),
    });
  }

  #ended(client, channel, error) {
    if (client !== this.client || !this.#channels.has(channel)) return;
    const afresh = CURSOR_FAULTS.includes(error.code);
    this.#on.ended(channel, error, afresh);
    if (!afresh) return;
    this.#cursors.delete(channel);
    queueMicrotask(() => {
      if (client === this.client && this.#channels.has(channel)) this.#subscribe(channel);
    });
  }

  #state(state) {
    this.#on.state();
    if (state === 'connected') void this.#check();
  }

  #stopped(error) {
    this.#stoppedAt = Date.now();
    this.#on.fault(error);
  }

  async #token() {
    const { token } = await fetchInfo().catch(() => this.#info);
    return token;
  }

  #watch() {
    if (this.client.state === 'connected' || Date.now() < this.#heldUntil) return;
    void this.#check();
  }

  /** A server that came back has another certificate, and may have another address. */
  async #check() {
    if (this.#checking) return;
    this.#checking = true;
    const fresh = await fetchInfo().catch(() => null);
    this.#checking = false;
    const answered = this.serverAnswers;
    this.serverAnswers = fresh !== null;
    if (answered !== this.serverAnswers) this.#on.state();
    if (!fresh || Date.now() < this.#heldUntil) return;
    const changed = !sameServer(fresh, this.#info);
    const restart = this.#stoppedAt > 0 && Date.now() - this.#stoppedAt > RESTART_AFTER_MS;
    this.#info = fresh;
    if (!changed && !restart) return;
    if (changed) this.#on.renewed();
    this.#reopen();
  }
}
