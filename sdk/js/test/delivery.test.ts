// Events over the whole client against a gateway in memory: order, completeness, healing, slow readers.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { collect, connected } from './support/world.js';
import { randomFrom, seedOf, settle } from './support/clock.js';

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

test('unknown pushes and members are ignored, malformed ones reconnect', async () => {
  const world = await connected();
  world.server.latest.push({ weather: { sky: 'blue' } });
  world.server.latest.push({ pong: {}, extra: [1, 2] });
  await world.clock.advance(100);
  assert.equal(world.client.stats.connects, 1);
  world.server.latest.push({ events: { channel: 5 } });
  await world.clock.until(() => world.client.stats.connects === 2);
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
