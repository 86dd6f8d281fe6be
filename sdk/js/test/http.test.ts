// Connections made of plain requests: event streams and long polls, and how the client falls back to them.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ClientOptions } from '../src/options.js';
import { BlockReader } from '../src/transport/http/event-stream.js';
import type { TransportName } from '../src/types.js';
import { randomFrom } from './support/clock.js';
import { FakeHttp } from './support/http.js';
import { collect, newWorld, type World } from './support/world.js';

type HttpWorld = World & { http: FakeHttp };

function world(options: Partial<ClientOptions> = {}, seed = 1): HttpWorld {
  let http: FakeHttp | undefined;
  const made = newWorld(options, seed, (server) => (http = new FakeHttp(server)).dials);
  return Object.assign(made, { http: http as unknown as FakeHttp });
}

async function up(w: HttpWorld): Promise<void> {
  w.client.connect();
  await w.clock.until(() => w.client.state === 'connected');
}

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, index) => from + index);

for (const transport of ['sse', 'longpoll'] as const) {
  test(`${transport}: follows, publishes, reads the past, and goes on from its cursors`, async () => {
    const w = world({ transport, codec: 'msgpack' });
    const a = collect(w, 'a:1');
    const b = collect(w, 'a:2', { from: { last: 1 } });
    w.server.append('a:2', 'older');
    w.server.append('a:2', 'newest');
    await up(w);
    await w.clock.until(() => a.sub.state === 'subscribed' && b.got.length === 1);
    assert.equal(w.client.transport, transport);
    const { cursor } = await drive(w, w.client.publish('a:1', { n: 1 }));
    assert.ok(cursor);
    const results = await drive(w, w.client.publishBatch([{ channel: 'a:1', data: 2 }, { channel: 'a:2', data: 3 }]));
    assert.equal(results.length, 2);
    await w.clock.until(() => a.got.length === 2 && b.got.length === 2);
    w.http.cut();
    w.server.append('a:1', 'while away');
    await w.clock.until(() => a.got.length === 3);
    assert.deepEqual([a.got, b.got], [[{ n: 1 }, 2, 'while away'], ['newest', 3]]);
    const past = await drive(w, w.client.history('a:1', { last: 2 }));
    assert.deepEqual([past.events.map((event) => event.data), past.more], [[2, 'while away'], false]);
    const rest = await drive(w, w.client.history('a:1', { after: cursor, limit: 1 }));
    assert.deepEqual([rest.events.map((event) => event.data), rest.more], [[2], true]);
    assert.equal(w.client.stats.gaps + w.client.stats.chainBreaks, 0);
    // The token is nowhere in an address.
    assert.ok(w.http.asked.every(({ token }) => token === 'Bearer token'));
    w.client.close();
    await w.clock.advance(100);
    assert.equal(w.http.open.size, 0);
  });

  test(`${transport}: a channel that is refused costs that channel only`, async () => {
    const w = world({ transport });
    w.http.refuse = ({ body }) =>
      (body['channels'] as { channel: string }[] | undefined)?.some(({ channel }) => channel === 'no:1')
        ? { code: 'forbidden', message: 'not allowed on this channel', action: 'stop', channel: 'no:1' } : null;
    const good = collect(w, 'a:1');
    const bad = collect(w, 'no:1');
    await up(w);
    await w.clock.until(() => bad.sub.state === 'ended' && good.sub.state === 'subscribed');
    assert.deepEqual([bad.sub.error?.code, bad.sub.error?.action], ['forbidden', 'stop']);
    w.server.append('a:1', 1);
    await w.clock.until(() => good.got.length === 1);
    // One that was followed until now ends as the server says.
    w.http.refuse = ({ body }) =>
      body['channels']?.[0]?.channel === 'a:1' ? { code: 'forbidden', message: 'no more', action: 'stop', channel: 'a:1' } : null;
    collect(w, 'a:3');
    await w.clock.until(() => good.sub.state === 'ended');
    assert.equal(good.sub.error?.code, 'forbidden');
    await w.clock.until(() => w.client.subscription('a:3')?.state === 'subscribed');
  });

  test(`${transport}: drain, redirect, a token that ends, and stop`, async () => {
    let tokens = 0;
    const w = world({ transport, token: async () => `t${++tokens}` });
    const { got } = collect(w, 'a:1');
    await up(w);
    await w.clock.until(() => w.client.subscription('a:1')?.state === 'subscribed');
    const notices: unknown[] = [];
    w.client.on('redirect', ({ reason, followed }) => notices.push([reason, followed]));
    await w.clock.until(() => w.http.open.size === 1);
    w.http.push({ redirect: { url: 'https://stranger.test', reason: 'overload', after_ms: 100 } });
    await w.clock.until(() => notices.length === 1);
    assert.deepEqual(notices, [['overload', false]]);
    await w.clock.until(() => w.http.open.size === 1);
    w.http.push({ drain: { after_ms: 200, deadline_ms: 20_000 } });
    w.server.append('a:1', 1);
    await w.clock.until(() => w.client.stats.connects === 2 && got.length === 1);
    // The node says that the token has ended: a new one is fetched, nothing is lost.
    w.http.refuse = ({ token }) => (token === 'Bearer t1' ? { code: 'token_expired', message: 'the token has expired', action: 'refresh' } : null);
    w.http.cut(transport === 'sse' ? { error: { code: 'token_expired', message: 'the token has expired', action: 'refresh' } } : undefined);
    w.server.append('a:1', 2);
    await w.clock.until(() => got.length === 2);
    assert.ok(tokens >= 2);
    w.http.refuse = () => ({ code: 'origin_forbidden', message: 'requests from this origin are not allowed', action: 'stop' });
    w.http.cut();
    await w.clock.until(() => w.client.state === 'stopped');
    assert.deepEqual(got, [1, 2]);
  });

  test(`${transport}: a publish is one event, however often its way breaks`, async () => {
    const w = world({ transport });
    const { got } = collect(w, 'a:1');
    await up(w);
    let broken = 0;
    const store = w.server.append;
    w.server.append = (...args) => {
      const cursor = store(...args);
      if (broken++ < 3) throw new TypeError('the answer is lost');
      return cursor;
    };
    await drive(w, w.client.publish('a:1', 'once'));
    await w.clock.until(() => got.length === 1);
    await w.clock.advance(5_000);
    assert.deepEqual([got, broken], [['once'], 4]);
  });

  test(`${transport}: silence is asked about, and only an unanswered question ends it`, async () => {
    const w = world({ transport });
    await up(w);
    await w.clock.advance(300_000);
    assert.equal(w.client.stats.connects, 1);
    w.http.heartbeatMs = 1e9;
    await w.clock.advance(120_000);
    assert.equal(w.client.stats.connects, 1, 'a stream without heartbeats is opened anew');
    w.clock.freeze(600_000);
    await w.clock.advance(20_000);
    assert.equal(w.client.state, 'connected');
    w.http.network = 'refused';
    await w.clock.until(() => w.client.state !== 'connected');
    w.http.network = 'works';
    await w.clock.until(() => w.client.state === 'connected');
  });

  test(`${transport}: acknowledged positions need a session`, async () => {
    const w = world({ transport, subscriber: 'kiosk' });
    const { sub } = collect(w, 'a:1', { from: { acked: true } });
    await up(w);
    await w.clock.until(() => sub.state === 'ended');
    assert.equal(sub.error?.code, 'unsupported');
    await assert.rejects(drive(w, w.client.ack('a:1', '1.global.1.3.1')), { code: 'unsupported' });
  });
}

test('falls back step by step, says why, and remembers what worked', async () => {
  const w = world();
  const steps: (TransportName | null)[] = [];
  w.client.on('transport', (transport) => transport && steps.push(transport));
  w.server.network.webtransport = 'refused';
  w.server.network.websocket = 'refused';
  await up(w);
  assert.equal(w.client.transport, 'sse');
  const hello = w.http.asked[0]?.body;
  assert.deepEqual(hello?.['fallback'], { from: 'webtransport', reason: 'failed' });
  const dialed = w.server.opened;
  w.client.interrupt(100);
  await w.clock.until(() => w.client.stats.connects === 2);
  assert.deepEqual([w.client.transport, w.server.sessions.length, dialed], ['sse', 2, 0], 'what failed is not tried again');
  // A proxy that keeps a stream to itself: long polls.
  w.http.network = 'buffers';
  w.client.interrupt(100);
  await w.clock.until(() => w.client.transport === 'longpoll');
  // An hour later everything is tried again.
  w.http.network = 'works';
  w.server.network.webtransport = 'works';
  await w.clock.advance(3_700_000);
  w.client.interrupt(100);
  await w.clock.until(() => w.client.transport === 'webtransport');
  assert.deepEqual(steps, ['sse', 'sse', 'longpoll', 'webtransport']);
});

test('a slow WebSocket is waited for; what a proxy answers is no word of the gateway', async () => {
  const slow = world();
  slow.server.network.webtransport = 'refused';
  slow.server.latencyMs.websocket = 1_500;
  await up(slow);
  assert.deepEqual([slow.client.transport, slow.http.asked.length], ['websocket', 0]);
  const proxied = world();
  for (const name of ['webtransport', 'websocket'] as const) proxied.server.network[name] = 'refused';
  proxied.http.network = 'proxy';
  proxied.client.connect();
  await proxied.clock.advance(10_000);
  assert.notEqual(proxied.client.state, 'stopped');
  assert.ok(proxied.errors.every(({ code }) => code === 'connect_failed'), proxied.errors.join());
});

test('only the transports that are allowed are tried', async () => {
  const w = world({ transports: ['websocket', 'longpoll'] });
  w.server.network.websocket = 'refused';
  await up(w);
  assert.equal(w.client.transport, 'longpoll');
  assert.ok(w.http.asked.every(({ path }) => path === '/v1/poll') && w.server.sessions.every(({ transport }) => transport === 'websocket'));
});

test('another transport at each reconnect, under load: nothing is lost and nothing comes twice', async () => {
  const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 1e6));
  console.log(`SEED=${seed}`);
  const random = randomFrom(seed);
  const w = world({}, seed);
  const names = ['webtransport', 'websocket', 'sse', 'longpoll'] as const;
  const used = new Set<string>();
  w.client.on('transport', (transport) => transport && used.add(transport));
  const channels = ['a:1', 'a:2', 'a:3'].map((channel) => ({ channel, ...collect(w, channel) }));
  await up(w);
  await w.clock.until(() => channels.every(({ sub }) => sub.state === 'subscribed'));
  let n = 0;
  for (let round = 0; round < 24; round++) {
    const allowed = names[Math.floor(random() * 4)] as TransportName;
    for (const name of ['webtransport', 'websocket'] as const) w.server.network[name] = allowed === name ? 'works' : 'refused';
    w.http.network = allowed === 'sse' ? 'works' : allowed === 'longpoll' ? 'buffers' : 'refused';
    const { connects } = w.client.stats;
    // Between two polls there is nothing to cut.
    const open = w.http.open.size + w.server.live.length > 0;
    if (random() < 0.5 || !open) w.client.interrupt(50);
    else {
      w.http.cut();
      for (const session of w.server.live) session.end(undefined);
    }
    for (let i = 0; i < 10; i++) {
      w.server.append(`a:${1 + (n % 3)}`, n++);
      await w.clock.advance(Math.floor(random() * 400));
    }
    await w.clock.until(() => w.client.stats.connects > connects && w.client.state === 'connected', 300_000);
  }
  await w.clock.until(() => channels.every(({ got }) => got.length === n / 3), 300_000);
  for (const [at, { got }] of channels.entries()) assert.deepEqual(got, range(0, n - 1).filter((value) => value % 3 === at));
  assert.deepEqual([w.client.stats.gaps, used.size], [0, 4]);
});

test('event streams are cut anywhere', () => {
  const text = ': hello\nretry: 1\n\nevent: gap\ndata: {"a":\r\ndata: 1}\r\nid: x\r\n\r\n:\ndata:{"b":"ü"}\n\nid: y\n\ndata: cut';
  const bytes = new TextEncoder().encode(text);
  for (let size = 1; size <= bytes.length; size++) {
    const reader = new BlockReader();
    const blocks: string[] = [];
    for (let at = 0; at < bytes.length; at += size) blocks.push(...reader.push(bytes.slice(at, at + size)));
    assert.deepEqual(blocks, ['{"a":\n1}', '{"b":"ü"}'], `pieces of ${size}`);
  }
});

async function drive<T>(w: HttpWorld, promise: Promise<T>): Promise<T> {
  let done = false;
  promise.then(() => (done = true), () => (done = true));
  await w.clock.until(() => done);
  return await promise;
}
