// Channels over the whole client against a gateway in memory: order, completeness, healing.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connected, newWorld, type World } from './support/world.js';
import { randomFrom, seedOf, settle } from './support/clock.js';

function collect(world: World, channel: string, options: object = {}) {
  const got: unknown[] = [];
  const sub = world.client.subscribe(channel, { onEvent: (e) => void got.push(e.data), ...options });
  return { got, sub };
}

for (const codec of ['json', 'msgpack'] as const) {
  test(`events arrive in order and once, ${codec}`, async () => {
    const world = await connected({ codec });
    const { got, sub } = collect(world, 'flights:SFO');
    await world.clock.until(() => sub.state === 'subscribed');
    for (let i = 0; i < 50; i++) world.server.append('flights:SFO', i);
    await world.clock.advance(100);
    assert.deepEqual(got, Array.from({ length: 50 }, (_, i) => i));
    assert.equal(sub.cursor, `1.global.1.3.${world.server.end()}`);
  });
}

test('a dropped connection is resumed from the cursor with nothing missing', async () => {
  const world = await connected();
  const { got, sub } = collect(world, 'flights:SFO');
  await world.clock.until(() => sub.state === 'subscribed');
  world.server.append('flights:SFO', 1);
  await world.clock.advance(100);
  world.server.latest.end(undefined);
  await world.clock.advance(20);
  world.server.append('flights:SFO', 2);
  world.server.append('flights:SFO', 3);
  await world.clock.until(() => got.length === 3);
  assert.deepEqual(got, [1, 2, 3]);
  assert.equal(world.client.stats.reconnects, 1);
  assert.equal(world.client.stats.gaps, 0);
});

test('interrupt stays away for as long as asked and then catches up', async () => {
  const world = await connected();
  const { got, sub } = collect(world, 'flights:SFO');
  await world.clock.until(() => sub.state === 'subscribed');
  world.client.interrupt(10_000);
  assert.equal(world.client.state, 'waiting');
  world.page.fire('online');
  await world.clock.advance(9_900);
  assert.equal(world.server.sessions.length, 1);
  world.server.append('flights:SFO', 'missed');
  await world.clock.advance(1_000);
  assert.deepEqual(got, ['missed']);
});

test('an event that is missing on the way is asked for again, without end of the others', async () => {
  const world = await connected();
  const { got, sub } = collect(world, 'flights:SFO');
  await world.clock.until(() => sub.state === 'subscribed');
  let drop = true;
  world.server.mangle = (events) => {
    const out = drop ? events.slice(1) : events;
    drop = false;
    return out;
  };
  world.server.append('flights:SFO', 1);
  await world.clock.advance(50);
  world.server.append('flights:SFO', 2);
  await world.clock.until(() => got.length === 2);
  assert.deepEqual(got, [1, 2]);
  assert.equal(world.client.stats.chainBreaks, 1);
});

test('a server whose chain stays broken is asked less and less often', async () => {
  const world = await connected();
  const { sub } = collect(world, 'flights:SFO');
  await world.clock.until(() => sub.state === 'subscribed');
  world.server.mangle = (events) => events.map((e) => ({ ...e, prev: 'unknown' }));
  world.server.append('flights:SFO', 1);
  await world.clock.advance(60_000);
  const asked = world.server.named('subscribe').length;
  assert.ok(asked > 3 && asked < 14, `${asked} subscribes in a minute`);
});

test('duplicates are dropped and counted', async () => {
  const world = await connected();
  const { got, sub } = collect(world, 'flights:SFO');
  await world.clock.until(() => sub.state === 'subscribed');
  world.server.mangle = (events) => [...events, ...events];
  world.server.append('flights:SFO', 1);
  world.server.append('flights:SFO', 2);
  await world.clock.advance(100);
  assert.deepEqual(got, [1, 2]);
  assert.equal(world.client.stats.duplicates, 2);
});

test('retention becomes a gap: told in order, then one refresh after a while', async () => {
  const world = await connected();
  const told: unknown[] = [];
  const sub = world.client.subscribe('flights:SFO', {
    onEvent: (e) => void told.push(e.data),
    onGap: (gap) => told.push(gap.reason),
    onRefresh: () => void told.push('refresh'),
    refreshSpreadMs: 3_000,
  });
  await world.clock.until(() => sub.state === 'subscribed');
  world.server.append('flights:SFO', 1);
  await world.clock.advance(50);
  world.client.interrupt(1_000);
  world.server.append('flights:SFO', 2);
  world.server.forgetAll();
  world.server.append('flights:SFO', 3);
  await world.clock.until(() => told.length >= 3);
  assert.deepEqual(told, [1, 'retention', 3]);
  await world.clock.advance(3_000);
  assert.deepEqual(told, [1, 'retention', 3, 'refresh']);
  assert.equal(world.client.stats.gaps, 1);
});

test('a position that is no event is no gap: prev below it is accepted', async () => {
  const world = await connected();
  world.server.append('flights:SFO', 0);
  for (let i = 0; i < 5; i++) world.server.append('other:x', i);
  const { got, sub } = collect(world, 'flights:SFO');
  await world.clock.until(() => sub.state === 'subscribed');
  world.server.append('flights:SFO', 1);
  await world.clock.advance(50);
  assert.deepEqual(got, [1]);
  assert.equal(world.client.stats.chainBreaks, 0);
});

test('last, stored cursor and acked start where they say', async () => {
  const world = await connected({ subscriber: 'kiosk' });
  for (let i = 0; i < 5; i++) world.server.append('flights:SFO', i);
  const { got } = collect(world, 'flights:SFO', { from: { last: 2 } });
  await world.clock.advance(100);
  assert.deepEqual(got, [3, 4]);
  collect(world, 'flights:LAX', { from: { acked: true, last: 3 } });
  await world.clock.advance(100);
  assert.deepEqual(world.server.named('subscribe').at(-1), { channel: 'flights:LAX', acked: true, last: 3 });
});

test('an ephemeral channel has no cursor, tells skips, and survives a reconnect', async () => {
  const world = await connected();
  let skipped = 0;
  const { got, sub } = collect(world, 'typing:doc', { onSkipped: (n: number) => (skipped += n) });
  await world.clock.until(() => sub.state === 'subscribed');
  await Promise.all([world.client.publish('typing:doc', 'a'), world.clock.advance(100)]);
  world.server.latest.push({ skipped: { channel: 'typing:doc', count: 17 } });
  await world.clock.advance(50);
  assert.equal(sub.cursor, undefined);
  assert.equal(skipped, 17);
  world.server.latest.end(undefined);
  await world.clock.until(() => world.client.stats.connects === 2 && sub.state === 'subscribed');
  await Promise.all([world.client.publish('typing:doc', 'b'), world.clock.advance(100)]);
  assert.deepEqual(got, ['a', 'b']);
});

test('what an iterator does not take is bounded, dropped, and read again', async () => {
  const world = await connected({ maxQueued: 8 });
  const sub = world.client.subscribe<number>('flights:SFO');
  await world.clock.until(() => sub.state === 'subscribed');
  for (let i = 0; i < 40; i++) world.server.append('flights:SFO', i);
  await world.clock.advance(100);
  assert.equal(sub.state, 'overflowed');
  const got: number[] = [];
  const reading = (async () => {
    for await (const event of sub) {
      got.push(event.data);
      if (got.length === 40) break;
    }
  })();
  await world.clock.until(() => got.length === 40);
  await reading;
  assert.deepEqual(got, Array.from({ length: 40 }, (_, i) => i));
  assert.ok(world.client.stats.overflows >= 1);
});

test('a slow callback holds its channel back and no other', async () => {
  const world = await connected({ maxQueued: 4 });
  let release = () => {};
  const slow: unknown[] = [];
  const sub = world.client.subscribe('a:slow', {
    onEvent: (e) => {
      slow.push(e.data);
      return new Promise<void>((resolve) => (release = resolve));
    },
  });
  const { got } = collect(world, 'b:fast');
  await world.clock.advance(100);
  for (let i = 0; i < 20; i++) {
    world.server.append('a:slow', i);
    world.server.append('b:fast', i);
  }
  await world.clock.advance(100);
  assert.equal(slow.length, 1);
  assert.equal(got.length, 20);
  while (slow.length < 20) {
    release();
    await world.clock.advance(100);
  }
  assert.deepEqual(slow, Array.from({ length: 20 }, (_, i) => i));
  release();
  await world.clock.advance(50);
  assert.equal(sub.cursor, `1.global.1.3.${world.server.heads.get('a:slow')}`);
});

test('a lane that ends is resumed; the session goes on', async () => {
  const world = await connected();
  const { got, sub } = collect(world, 'flights:SFO');
  await world.clock.until(() => sub.state === 'subscribed');
  const server = world.server.latest;
  const held = server.subscriptions.get('flights:SFO');
  assert.ok(held);
  server.subscriptions.delete('flights:SFO');
  server.stopLane(held.lane);
  world.server.append('flights:SFO', 'while away');
  await world.clock.until(() => got.length === 1);
  assert.equal(world.client.stats.connects, 1);
});

test('unsubscribed by the server: stop ends with a typed error, anything else resumes', async () => {
  const world = await connected();
  let ended: unknown;
  const { sub } = collect(world, 'a:x', { onError: (error: unknown) => (ended = error) });
  const other = collect(world, 'b:x');
  await world.clock.until(() => sub.state === 'subscribed' && other.sub.state === 'subscribed');
  const session = world.server.latest;
  session.push({ unsubscribed: { channel: 'a:x', code: 'forbidden' } }, session.subscriptions.get('a:x')?.lane);
  session.subscriptions.delete('b:x');
  session.push({ unsubscribed: { channel: 'b:x', code: 'lane_stopped' } }, 1);
  await world.clock.until(() => sub.state === 'ended' && other.sub.state === 'subscribed' && session.subscriptions.has('b:x'));
  assert.equal((ended as { code: string }).code, 'forbidden');
  await assert.rejects(async () => {
    for await (const event of sub) void event;
  }, { name: 'TypeError' });
});

test('a subscription that the server makes is offered, adopted, and resumed from its position', async () => {
  const world = newWorld();
  world.server.serverChannels = ['$user:ann'];
  const offered: string[] = [];
  world.client.on('subscription', (sub) => offered.push(sub.channel));
  world.client.connect();
  await world.clock.until(() => offered.length === 1);
  world.server.append('$user:ann', 1);
  await world.clock.advance(50);
  const { got, sub } = collect(world, '$user:ann');
  assert.throws(() => world.client.subscribe('$user:ann'), { code: 'already_subscribed' });
  assert.deepEqual(got, [1]);
  world.client.interrupt(500);
  world.server.append('$user:ann', 2);
  await world.clock.until(() => got.length === 2);
  assert.deepEqual(got, [1, 2]);
  assert.equal(sub.state, 'subscribed');
});

test('leaving while a subscribe is under way does not end the next subscription', async () => {
  const world = await connected();
  world.server.laneDelay = (lane) => (lane > 0 ? 200 : 0);
  const first = world.client.subscribe('a:b', { onEvent: () => {} });
  await world.clock.advance(5);
  first.unsubscribe();
  const { got, sub } = collect(world, 'a:b');
  await world.clock.advance(2_000);
  assert.equal(sub.state, 'subscribed');
  world.server.append('a:b', 1);
  await world.clock.advance(500);
  assert.deepEqual(got, [1]);
});

test('a subscribe that is never answered is asked again', async () => {
  const world = await connected();
  let swallow = true;
  world.server.intercept = (body) => (body['subscribe'] && swallow ? 'swallow' : null);
  const { sub } = collect(world, 'a:b');
  await world.clock.advance(5_000);
  swallow = false;
  await world.clock.until(() => sub.state === 'subscribed');
  assert.equal(world.client.stats.connects, 1);
});

test('unknown pushes and members are ignored, malformed ones reconnect', async () => {
  const world = await connected();
  world.server.latest.push({ weather: { sky: 'blue' } });
  world.server.latest.push({ pong: {}, extra: [1, 2] });
  await world.clock.advance(100);
  assert.equal(world.client.stats.connects, 1);
  world.server.latest.push({ events: { channel: 5 } });
  await world.clock.until(() => world.client.stats.connects === 2);
});

test('a thousand channels are resumed in few frames and below the stated rate', async () => {
  const world = await connected();
  for (let i = 0; i < 1_000; i++) world.client.subscribe(`c:${i}`, { onEvent: () => {} });
  await world.clock.until(() => world.server.latest.subscriptions.size === 1_000);
  const before = world.server.commands.length;
  world.server.latest.end(undefined);
  await world.clock.until(() => world.server.live.length === 1);
  const start = world.clock.now();
  let most = 0;
  for (let s = 0; s < 8; s++) {
    const from = world.server.commands.length;
    await world.clock.advance(1_000);
    if (s > 0) most = Math.max(most, world.server.commands.length - from);
  }
  assert.equal(world.server.latest.subscriptions.size, 1_000);
  assert.ok(most <= 200, `${most} commands in a second`);
  assert.ok(world.server.commands.length - before < 1_020);
  assert.ok(world.clock.now() - start < 10_000);
});

test('random faults: what the application gets is the log, once and in order', async () => {
  const seed = seedOf('random faults');
  const random = randomFrom(seed);
  const world = await connected({ maxQueued: 16 }, seed);
  const { clock, server, client } = world;
  const channels = ['a:1', 'a:2', 'a:3', 'a:4'];
  const subs = new Map(channels.map((channel) => [channel, collect(world, channel)]));
  await clock.until(() => [...subs.values()].every(({ sub }) => sub.state === 'subscribed'));
  server.laneDelay = (lane) => Math.floor(lane * 70 * random());
  server.mangle = (events) => {
    const roll = random();
    if (roll < 0.05) return events.slice(1);
    if (roll < 0.1) return [...events, ...events];
    return events;
  };
  const sent = new Map<string, number[]>(channels.map((channel) => [channel, []]));
  for (let i = 0; i < 400; i++) {
    const channel = channels[Math.floor(random() * channels.length)] as string;
    server.append(channel, i);
    sent.get(channel)?.push(i);
    const roll = random();
    if (roll < 0.02) server.live.at(-1)?.end(undefined);
    else if (roll < 0.03) server.live.at(-1)?.push({ drain: { after_ms: 200, deadline_ms: 20_000 } });
    else if (roll < 0.04) client.interrupt(300);
    if (roll > 0.5) await clock.advance(Math.floor(random() * 200));
  }
  server.mangle = (events) => events;
  for (const channel of channels) {
    server.append(channel, 'end');
    sent.get(channel)?.push('end' as unknown as number);
  }
  await clock.until(() => [...subs.values()].every(({ got }) => got.at(-1) === 'end'), 300_000);
  await settle();
  for (const channel of channels) assert.deepEqual(subs.get(channel)?.got, sent.get(channel), channel);
  assert.equal(client.stats.gaps, 0);
});
