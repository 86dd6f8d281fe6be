// What `connect` tells the operators: why the last connection ended, and why WebTransport is not used.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { memoryStorage } from '../src/transport/memory.js';
import { connected, newWorld, type World } from './support/world.js';

const causes = (world: World) => world.server.named('connect').map((body) => body['reconnect'] as unknown);
const fallbacks = (world: World) => world.server.named('connect').map((body) => body['fallback'] as unknown);
const over = (reason: string) => ({ from: 'webtransport', reason });

async function again(world: World): Promise<void> {
  const { connects } = world.client.stats;
  await world.clock.until(() => world.client.stats.connects > connects);
}

test('nothing is told on the first connect over the first choice', async () => {
  const [connect] = (await connected()).server.named('connect');
  assert.ok(connect && !('reconnect' in connect) && !('fallback' in connect));
});

test('network: lost without a word, also through refused attempts, and each end by itself', async () => {
  const world = await connected();
  world.server.network.webtransport = 'refused';
  world.server.network.websocket = 'refused';
  world.server.latest.end(undefined);
  await world.clock.advance(20_000);
  world.server.network.webtransport = 'works';
  await again(world);
  world.server.latest.end(4060, 'internal');
  await again(world);
  world.client.interrupt(500);
  await again(world);
  assert.deepEqual(causes(world), [undefined, 'network', 'server', 'network']);
});

test('heartbeat: the peer fell silent, or heard nothing from us', async () => {
  const world = await connected();
  world.server.latest.mute = true;
  await again(world);
  world.server.latest.end(4008, 'heartbeat_timeout');
  await again(world);
  assert.deepEqual(causes(world), [undefined, 'heartbeat', 'heartbeat']);
});

test('wake: the connection did not outlive sleep, whichever way that shows', async () => {
  const world = await connected();
  const sleep = async (during: () => void) => {
    await world.clock.advance(5_000);
    during();
    world.clock.freeze(600_000);
    await again(world);
    await world.clock.advance(60_000);
  };
  await sleep(() => (world.server.latest.mute = true));
  await sleep(() => world.server.latest.end(4008, 'heartbeat_timeout'));
  await sleep(() => world.server.latest.end(undefined));
  await sleep(() => world.server.latest.end(4060, 'internal'));
  world.clock.freeze(600_000);
  await world.clock.advance(60_000);
  world.server.latest.end(undefined);
  await again(world);
  assert.deepEqual(causes(world), [undefined, 'wake', 'wake', 'wake', 'server', 'network']);
});

test('drain: moved before the node stops, or not in time', async () => {
  const world = await connected();
  world.server.latest.push({ drain: { after_ms: 500, deadline_ms: 20_000 } });
  await again(world);
  world.server.latest.push({ drain: { after_ms: 5_000, deadline_ms: 6_000 } });
  await world.clock.advance(100);
  world.server.latest.end(undefined);
  await again(world);
  world.server.latest.end(4050, 'draining');
  await again(world);
  world.server.latest.end(undefined);
  await again(world);
  assert.deepEqual(causes(world), [undefined, 'drain', 'drain', 'drain', 'network']);
});

test('refresh: the token ran out; what the application closed has no cause', async () => {
  const world = await connected({ token: () => 'token' });
  world.server.latest.end(4011, 'token_expired');
  await again(world);
  world.client.close();
  world.client.connect();
  await again(world);
  assert.deepEqual(causes(world), [undefined, 'refresh', undefined]);
});

test('timeout, then remembered: WebTransport does not open', async () => {
  const world = newWorld({ storage: memoryStorage() });
  world.server.network.webtransport = 'silent';
  world.client.connect();
  await world.clock.advance(15_000);
  world.server.latest.end(undefined);
  await again(world);
  assert.deepEqual(fallbacks(world), [over('timeout'), over('remembered')]);
});

test('timeout: WebTransport opens and does not answer; the first choice itself tells nothing', async () => {
  const world = newWorld();
  world.server.intercept = (body, session) => (body['connect'] && session.transport === 'webtransport' ? 'swallow' : null);
  world.client.connect();
  await world.clock.until(() => world.client.state === 'connected');
  assert.deepEqual(fallbacks(world), [undefined, over('timeout')]);
});

test('failed, forced; nothing where WebTransport itself is forced', async () => {
  const failed = newWorld();
  failed.server.network.webtransport = 'refused';
  failed.client.connect();
  const forced = newWorld({ transport: 'websocket' });
  forced.client.connect();
  const chosen = newWorld({ transport: 'webtransport' });
  chosen.client.connect();
  for (const { clock } of [failed, forced, chosen]) await clock.advance(200);
  assert.deepEqual([failed, forced, chosen].flatMap(fallbacks), [over('failed'), over('forced'), undefined]);
});
