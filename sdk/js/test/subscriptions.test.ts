// Subscriptions over the whole client against a gateway in memory: where they start, what ends and
// restores them, many at once.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { collect, connected, newWorld } from './support/world.js';

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

test('a cursor given is the position held before the server has answered', async () => {
  const world = await connected();
  for (let i = 0; i < 5; i++) world.server.append('flights:SFO', i);
  const { sub } = collect(world, 'flights:SFO', { from: { last: 2 } });
  await world.clock.advance(100);
  const held = sub.cursor as string;
  sub.unsubscribe();
  world.server.append('flights:SFO', 5);
  const hasty = world.client.subscribe('flights:SFO', { from: { cursor: held } });
  assert.equal(hasty.cursor, held);
  hasty.unsubscribe();
  const { got } = collect(world, 'flights:SFO', { from: { cursor: hasty.cursor as string } });
  await world.clock.advance(100);
  assert.deepEqual(got, [5]);
});

test('a cursor that is not there is no silent now', async () => {
  const world = await connected();
  for (const cursor of [undefined, null, '', 7]) {
    const from = { cursor: cursor as unknown as string };
    assert.throws(() => world.client.subscribe('flights:SFO', { from }), { code: 'bad_cursor' });
  }
  assert.equal(world.client.subscription('flights:SFO'), undefined);
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
  session.push({ unsubscribed: { channel: 'a:x', code: 'forbidden', action: 'stop' } }, session.subscriptions.get('a:x')?.lane);
  session.subscriptions.delete('b:x');
  session.push({ unsubscribed: { channel: 'b:x', code: 'lane_stopped' } }, 1);
  await world.clock.until(() => sub.state === 'ended' && other.sub.state === 'subscribed' && session.subscriptions.has('b:x'));
  assert.equal((ended as { code: string }).code, 'forbidden');
  await assert.rejects(async () => {
    for await (const event of sub) void event;
  }, { name: 'TypeError' });
});

test('an unknown code of unsubscribed does what its action says, without one it resumes', async () => {
  const world = await connected();
  const follows = ['a:stop', 'b:resume', 'c:none'].map((channel) => collect(world, channel).sub);
  await world.clock.until(() => follows.every((sub) => sub.state === 'subscribed'));
  const session = world.server.latest;
  const drop = (channel: string, more: object) => {
    const lane = session.subscriptions.get(channel)?.lane;
    session.subscriptions.delete(channel);
    session.push({ unsubscribed: { channel, code: 'of_tomorrow', ...more } }, lane);
  };
  drop('a:stop', { action: 'stop' });
  drop('b:resume', { action: 'resume' });
  drop('c:none', {});
  await world.clock.advance(5_000);
  assert.deepEqual(follows.map((sub) => sub.state), ['ended', 'subscribed', 'subscribed']);
  assert.deepEqual([...session.subscriptions.keys()].sort(), ['b:resume', 'c:none']);
  assert.equal(world.client.stats.connects, 1);
  session.push({ unsubscribed: { channel: 'b:resume', code: 'of_tomorrow', action: 'reconnect' } }, session.subscriptions.get('b:resume')?.lane);
  await world.clock.until(() => world.client.stats.connects === 2 && world.server.latest.subscriptions.size === 2);
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

test('leaving before the answer waits for it no longer: some servers give none', async () => {
  const world = await connected();
  const old = world.server.latest;
  world.server.intercept = (body) => (body['subscribe'] ? 'swallow' : null);
  for (let i = 0; i < 3; i++) world.client.subscribe(`a:${i}`).unsubscribe();
  await world.clock.advance(100);
  old.push({ drain: { after_ms: 0, deadline_ms: 20_000 } });
  await world.clock.advance(2_000);
  assert.equal(world.client.stats.connects, 2);
  assert.ok(old.ended, 'nothing under way holds the old connection');
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

test('a thousand channels are subscribed at once where the stated burst has room', async () => {
  const world = newWorld();
  world.server.limits = { ...world.server.limits, commands_burst: 2_048 };
  world.client.connect();
  for (let i = 0; i < 1_000; i++) world.client.subscribe(`c:${i}`, { onEvent: () => {} });
  await world.clock.advance(200);
  assert.equal(world.server.latest.subscriptions.size, 1_000);
});
