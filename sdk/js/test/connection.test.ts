// The connection over the whole client: races, freeze, silence, drain, takeover, tokens, page signals.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { MeridianError } from '../src/errors.js';
import { memoryStorage } from '../src/transport/memory.js';
import { connected, newWorld } from './support/world.js';

const tokens = () => {
  let count = 0;
  return () => `token-${++count}`;
};

test('WebTransport wins, and no WebSocket is dialed', async () => {
  const world = await connected();
  await world.clock.advance(2_000);
  assert.equal(world.client.transport, 'webtransport');
  assert.equal(world.server.sessions.length, 1);
  assert.ok(!world.server.sessions[0]?.url.includes('token'), 'the token is not in the address');
  assert.equal(world.server.named('connect')[0]?.['token'], 'token');
});

test('blocked UDP: WebSocket wins after the head start, is remembered for a day, then raced again', async () => {
  const storage = memoryStorage();
  const world = newWorld({ storage });
  world.server.network.webtransport = 'silent';
  world.client.connect();
  await world.clock.until(() => world.client.state === 'connected');
  assert.equal(world.client.transport, 'websocket');
  assert.equal(world.server.named('connect').length, 1);
  await world.clock.advance(11_000);
  world.server.latest.end(undefined);
  await world.clock.until(() => world.client.stats.connects === 2);
  assert.equal(world.server.sessions.filter((s) => s.transport === 'webtransport').length, 1);
  await world.clock.advance(86_400_000 / 100);
  world.clock.freeze(86_400_000);
  world.server.network.webtransport = 'works';
  world.server.latest.end(undefined);
  await world.clock.until(() => world.client.stats.connects === 3);
  assert.equal(world.client.transport, 'webtransport');
});

test('a slow WebTransport loses once and is not held against it', async () => {
  const storage = memoryStorage();
  const world = newWorld({ storage });
  world.server.latencyMs.webtransport = 900;
  world.client.connect();
  await world.clock.until(() => world.client.state === 'connected');
  assert.equal(world.client.transport, 'websocket');
  await world.clock.advance(2_000);
  assert.deepEqual(world.server.sessions.map((s) => s.ended), [true, false]);
  world.server.latencyMs.webtransport = 10;
  world.server.latest.end(undefined);
  await world.clock.until(() => world.client.stats.connects === 2);
  assert.equal(world.client.transport, 'webtransport');
});

test('refused WebTransport: WebSocket at once; forced transports stay alone', async () => {
  const world = newWorld();
  world.server.network.webtransport = 'refused';
  world.client.connect();
  await world.clock.advance(200);
  assert.equal(world.client.transport, 'websocket');
  const forced = newWorld({ transport: 'websocket' });
  forced.client.connect();
  await forced.clock.advance(200);
  assert.deepEqual(forced.server.sessions.map((s) => s.transport), ['websocket']);
});

test('a server that does not answer connect: the other transport, and no takeover of ourselves', async () => {
  const world = newWorld({ subscriber: 'kiosk' });
  let late: (() => void) | null = null;
  world.server.intercept = (body, session) => {
    if (!body['connect'] || session.transport !== 'webtransport') return null;
    late = () => void session;
    return 'swallow';
  };
  world.client.connect();
  await world.clock.until(() => world.client.state === 'connected');
  assert.ok(late);
  assert.equal(world.client.transport, 'websocket');
  world.server.latest.end(4046, 'taken_over');
  await world.clock.until(() => world.client.stats.connects === 2);
});

test('frozen for ten minutes, the server still there: no reconnect, no false timeout', async () => {
  const world = await connected();
  const got: unknown[] = [];
  world.client.subscribe('a:b', { onEvent: (e) => void got.push(e.data) });
  await world.clock.advance(5_000);
  world.clock.freeze(600_000);
  await world.clock.advance(30_000);
  assert.equal(world.client.stats.connects, 1);
  assert.ok(world.server.named('ping').length >= 1, 'it asked');
  world.server.append('a:b', 1);
  await world.clock.advance(100);
  assert.deepEqual(got, [1]);
});

test('frozen for ten minutes, the server closed meanwhile: one reconnect, nothing missing', async () => {
  const world = await connected();
  const got: unknown[] = [];
  world.client.subscribe('a:b', { onEvent: (e) => void got.push(e.data) });
  await world.clock.advance(5_000);
  world.page.fire('freeze');
  world.server.latest.end(4008, 'heartbeat_timeout');
  world.server.append('a:b', 1);
  world.clock.freeze(600_000);
  world.page.fire('resume');
  await world.clock.advance(120_000);
  assert.equal(world.client.stats.reconnects, 1);
  assert.equal(world.server.opened, 2);
  assert.deepEqual(got, [1]);
});

test('frozen for ten minutes, the peer gone without a word: one reconnect after the question', async () => {
  const world = await connected();
  await world.clock.advance(5_000);
  world.server.latest.mute = true;
  world.clock.freeze(600_000);
  await world.clock.advance(60_000);
  assert.equal(world.client.stats.reconnects, 1);
  assert.equal(world.server.opened, 2);
  assert.equal(world.errors.filter((e) => e.code === 'unresponsive').length, 1);
});

test('frozen while connecting: the answer that waits in the queue still counts', async () => {
  const world = newWorld();
  world.server.latencyMs.webtransport = 200;
  world.client.connect();
  await world.clock.advance(300);
  world.clock.freeze(600_000);
  await world.clock.advance(5_000);
  assert.equal(world.client.stats.connects, 1);
  assert.equal(world.server.named('connect').length, 1);
});

test('timers throttled to one a minute: a connection that answers is kept', async () => {
  const world = await connected();
  for (let minute = 0; minute < 10; minute++) {
    world.clock.freeze(59_000);
    await world.clock.advance(1_000);
  }
  assert.equal(world.client.stats.connects, 1);
});

test('heartbeats: pings are answered, and a busy channel does not silence the client', async () => {
  const world = await connected();
  world.server.latest.push({ ping: {} });
  await world.clock.advance(100);
  assert.equal(world.server.named('pong').length, 1);
  world.client.subscribe('a:b', { onEvent: () => {} });
  for (let i = 0; i < 120; i++) {
    world.server.append('a:b', i);
    await world.clock.advance(1_000);
    assert.ok(world.clock.now() - world.server.latest.heard < 50_000);
  }
  assert.equal(world.client.stats.connects, 1);
});

for (const subscriber of [undefined, 'kiosk'])
test(`drain, subscriber ${subscriber}: moves after the time given, loses nothing, closes the old one`, async () => {
  const world = await connected(subscriber === undefined ? {} : { subscriber });
  const got: unknown[] = [];
  const drains: number[] = [];
  world.client.on('drain', (ms) => drains.push(ms));
  const sub = world.client.subscribe('a:b', { onEvent: (e) => void got.push(e.data) });
  await world.clock.until(() => sub.state === 'subscribed');
  const old = world.server.latest;
  old.push({ drain: { after_ms: 2_300, deadline_ms: 20_000 } });
  for (let i = 0; i < 100; i++) {
    world.server.append('a:b', i);
    await world.clock.advance(50);
  }
  await world.clock.advance(3_000);
  assert.deepEqual(drains, [2_300]);
  assert.deepEqual(got, Array.from({ length: 100 }, (_, i) => i));
  assert.ok(old.ended);
  assert.equal(world.client.state, 'connected');
  assert.ok(!world.states.includes('stopped'), 'the takeover by our own second connection is no reason to stop');
  if (subscriber === undefined) assert.deepEqual(world.states.slice(1), ['connected'], 'no interruption shows');
  assert.equal(world.server.live.length, 1);
});

test('taken over by another: stop, tell, do not come back', async () => {
  const world = await connected({ subscriber: 'kiosk' });
  let stopped: unknown;
  world.client.on('stopped', (error) => (stopped = error));
  const sub = world.client.subscribe('a:b');
  const reading = (async () => {
    for await (const event of sub) void event;
  })();
  const failed = assert.rejects(reading, { code: 'taken_over', action: 'stop' });
  await world.clock.advance(20_000);
  world.server.latest.end(4046, 'taken_over');
  await world.clock.advance(300_000);
  await failed;
  assert.equal((stopped as { code: string }).code, 'taken_over');
  assert.equal(world.client.state, 'stopped');
  assert.equal(world.server.opened, 1);
  await assert.rejects(world.client.publish('a:b', 1), { code: 'taken_over' });
  world.client.connect();
  await world.clock.until(() => world.client.state === 'connected');
});

test('the token is renewed before it expires, and again when the server says so', async () => {
  const world = newWorld({ token: tokens() });
  world.server.expiresInMs = 60_000;
  world.client.connect();
  await world.clock.advance(58_000);
  assert.ok(world.server.named('refresh').length >= 1);
  assert.equal(world.client.stats.connects, 1);
  world.server.latest.end(4011, 'token_expired');
  await world.clock.until(() => world.client.stats.connects === 2);
  assert.notEqual(world.server.named('connect').at(-1)?.['token'], 'token-1');
});

test('a short token is renewed while there is time for a slow callback', async () => {
  const world = newWorld({ token: tokens() });
  world.server.expiresInMs = 6_000;
  world.client.connect();
  await world.clock.advance(4_200);
  assert.equal(world.server.named('refresh').length, 1);
});

test('a token given as text that is refused stops with a typed error', async () => {
  const world = newWorld();
  world.server.intercept = (body) => (body['connect'] ? { error: { code: 'token_expired', message: 'old', action: 'refresh' } } : null);
  const stops: MeridianError[] = [];
  world.client.on('stopped', (error) => stops.push(error));
  world.client.connect();
  await world.clock.advance(5_000);
  assert.equal(world.client.state, 'stopped');
  assert.equal(world.errors[0]?.code, 'token_expired');
  assert.deepEqual(stops.map(({ code, action }) => [code, action]), [['token_expired', 'stop']]);
  await assert.rejects(world.client.publish('a:b', 1), { code: 'token_expired', action: 'stop' });
});

test('a token callback that fails is tried again later', async () => {
  let fail = true;
  const world = newWorld({ token: () => (fail ? Promise.reject(new Error('offline')) : Promise.resolve('t')) });
  world.client.connect();
  await world.clock.advance(3_000);
  assert.equal(world.errors[0]?.code, 'token_callback_failed');
  fail = false;
  await world.clock.until(() => world.client.state === 'connected');
});

test('offline: no attempts; online: soon', async () => {
  const world = await connected();
  world.page.fire('offline');
  world.server.latest.end(undefined);
  await world.clock.advance(300_000);
  assert.equal(world.client.state, 'offline');
  assert.equal(world.server.sessions.length, 1);
  world.page.fire('online');
  await world.clock.advance(1_100);
  assert.equal(world.client.state, 'connected');
});

test('a node that accepts and closes at once is not hammered', async () => {
  const world = await connected();
  world.server.intercept = (body, session) => {
    if (body['subscribe']) session.end(4060, 'internal');
    return null;
  };
  world.client.subscribe('a:b');
  await world.clock.advance(120_000);
  assert.ok(world.server.opened <= 12, `${world.server.opened} connections in two minutes`);
});

test('close ends everything, and connect starts anew with the same subscriptions', async () => {
  const world = await connected();
  const got: unknown[] = [];
  world.client.subscribe('a:b', { onEvent: (e) => void got.push(e.data) });
  await world.clock.advance(100);
  const pending = assert.rejects(world.client.publish('x:y', 1), { code: 'closed' });
  world.client.close();
  await pending;
  assert.equal(world.client.state, 'closed');
  await world.clock.advance(60_000);
  assert.equal(world.server.live.length, 0);
  world.server.append('a:b', 1);
  world.client.connect();
  await world.clock.until(() => got.length === 1);
});
