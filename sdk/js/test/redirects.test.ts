// Being sent elsewhere over the whole client: by a drain, a full node, a zone; what is not followed.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Places } from '../src/regions/places.js';
import { Redirects } from '../src/regions/redirects.js';
import { RegionWorld, urlOf } from './support/regions.js';
import type { Body } from './support/server.js';
import { collect } from './support/world.js';

const at = (region: string, url = urlOf(region)) => ({ region, url });

function send(world: RegionWorld, region: string, more: Body = {}): void {
  world.server.latest.push({ redirect: { ...at(region), reason: 'drain', after_ms: 0, ...more } });
}

test('a client that is sent moves at its moment, beside the running connection, without a gap or a repeat', async () => {
  const world = await new RegionWorld(['eu', 'us']).connected();
  const { got, sub } = collect(world as never, 'a:b');
  await world.clock.until(() => sub.state === 'subscribed');
  await world.clock.advance(1_000);
  world.at('eu').state = 'draining';
  const states = world.states.length;
  send(world, 'us', { after_ms: 5_000, deadline_ms: 20_000 });
  const publish = async (times: number) => {
    for (let i = 0; i < times; i++) {
      world.server.append('a:b', world.server.stored.length);
      await world.clock.advance(50);
    }
  };
  await publish(90);
  assert.deepEqual(new Set(world.dialed), new Set(['eu']), 'not before its moment');
  await publish(60);
  assert.equal(world.client.region, 'us');
  await world.clock.advance(2_000);
  assert.deepEqual(world.states.slice(states), [], 'no interruption shows');
  assert.deepEqual(got, Array.from({ length: 150 }, (_, i) => i));
  assert.equal(world.server.live.length, 1, 'the old session is closed');
  const connect = world.server.named('connect').at(-1);
  assert.equal(connect?.['redirected'], 'drain');
  assert.equal(connect?.['reconnect'], undefined, 'nothing ended');
  assert.deepEqual(world.client.stats.moves, { failure: 0, home: 0, redirect: 1 });
  assert.equal(world.changes.at(-1)?.reason, 'redirect');
  await world.clock.advance(600_000);
  assert.equal(world.client.region, 'us', 'home drains still');
  world.at('eu').state = 'serving';
  await world.arrives('eu', 300_000);
  assert.equal(world.server.named('connect').at(-1)?.['redirected'], undefined, 'home by itself');
});

test('two a minute are followed, the third is ignored and counted, later ones are followed again', async () => {
  const world = await new RegionWorld(['eu', 'us', 'ap']).connected();
  const told: boolean[] = [];
  world.client.on('redirect', ({ followed }) => told.push(followed));
  send(world, 'us');
  send(world, 'us');
  await world.arrives('us');
  send(world, 'us');
  send(world, 'ap');
  await world.arrives('ap');
  send(world, 'eu');
  await world.clock.advance(5_000);
  assert.equal(world.client.region, 'ap');
  assert.deepEqual(told, [true, true, false], 'the same one again is none');
  assert.equal(world.client.stats.redirectsIgnored, 1);
  await world.clock.advance(60_000);
  send(world, 'us');
  await world.arrives('us', 5_000);
  assert.equal(world.client.stats.moves.redirect, 3);
});

test('an address that is no known region is never dialed', async () => {
  const world = await new RegionWorld(['eu', 'us']).connected();
  world.open('evil');
  for (const url of [urlOf('evil'), 'https://us.evil', 'http://us', 'nowhere', 'javascript:1']) {
    send(world, 'evil', { url });
    await world.clock.advance(5_000);
  }
  assert.deepEqual(new Set(world.dialed), new Set(['eu']));
  assert.ok(!world.asked().includes('evil'));
  assert.equal(world.client.stats.redirectsIgnored, 5);
  send(world, 'us', { url: urlOf('evil') });
  await world.arrives('us', 5_000);
  assert.ok(!world.dialed.includes('evil'), 'the name leads to the address that is known');
});

test('a client that may use the regions that are told asks for one that it does not know yet', async () => {
  const world = new RegionWorld(['eu'], { discoverRegions: true });
  world.open('us');
  await world.connected();
  send(world, 'us');
  await world.arrives('us', 5_000);
  assert.deepEqual(world.asked(), ['eu']);
  send(world, 'elsewhere');
  await world.clock.advance(5_000);
  assert.deepEqual(world.asked(), ['us'], 'once');
  assert.equal(world.client.stats.redirectsIgnored, 1);
});

test('a full node sends a client on before it has served it', async () => {
  const world = new RegionWorld(['eu', 'us']);
  world.at('us').rttMs = 200;
  const elsewhere = [at('us')];
  world.server.intercept = (body, session) =>
    body['connect'] && session.url.includes('eu') ? { error: { code: 'too_many_sessions', action: 'reconnect', elsewhere } } : null;
  await world.connected();
  assert.deepEqual(world.dialed, ['eu', 'us']);
  assert.equal(world.server.named('connect').at(-1)?.['redirected'], 'overload');
  assert.equal(world.changes.at(-1)?.reason, 'redirect');
  world.at('eu').load = 0.96;
  await world.clock.advance(600_000);
  assert.equal(world.client.region, 'us', 'home is full still');
});

test('a home that is full sends nobody further who is served elsewhere', async () => {
  const world = await new RegionWorld(['eu', 'us', 'ap']).connected();
  send(world, 'ap');
  await world.arrives('ap');
  const elsewhere = [at('us')];
  world.server.intercept = (body, session) =>
    body['connect'] && session.url.includes('eu') ? { error: { code: 'too_many_sessions', action: 'reconnect', elsewhere } } : null;
  const dials = world.dialed.length;
  await world.clock.until(() => world.dialed.length > dials, 300_000);
  await world.clock.advance(10_000);
  assert.deepEqual(world.dialed.slice(dials), ['eu']);
  assert.equal(world.client.region, 'ap');
});

test('a drain after a redirect leads there at once; a connection lost before the moment as well', async () => {
  for (const how of ['drain', 'lost']) {
    const world = await new RegionWorld(['eu', 'us']).connected();
    send(world, 'us', { after_ms: 50_000 });
    await world.clock.advance(100);
    if (how === 'drain') world.server.latest.push({ drain: { after_ms: 500, deadline_ms: 5_000 } });
    else world.drop('eu');
    await world.arrives('us', 5_000);
    assert.deepEqual(world.dialed, ['eu', 'us'], how);
    assert.equal(world.server.named('connect').at(-1)?.['redirected'], 'drain');
  }
});

test('a redirect to a region that is down leaves the connection as it is', async () => {
  const world = await new RegionWorld(['eu', 'us']).connected();
  world.at('us').up = false;
  send(world, 'us');
  await world.clock.advance(10_000);
  assert.deepEqual(world.dialed, ['eu', 'us']);
  assert.equal(world.client.state, 'connected');
  assert.equal(world.client.stats.connects, 1);
});

/** Channels of a zone are refused outside of its regions. */
function zone(world: RegionWorld, region: string, prefix: string, elsewhere = [at(region)]): void {
  const before = world.server.intercept;
  world.server.intercept = (body, session) => {
    const channel = String(body['subscribe']?.channel ?? '');
    const here = session.url.includes(region);
    return channel.startsWith(prefix) && !here ? { error: { code: 'wrong_region', action: 'stop', elsewhere } } : before(body, session);
  };
}

test('a zone that is elsewhere: the client goes there with all it has, and is at home there', async () => {
  const world = await new RegionWorld(['eu', 'us']).connected();
  zone(world, 'us', 'zone:');
  const { got, sub } = collect(world as never, 'a:b');
  await world.clock.until(() => sub.state === 'subscribed');
  const many = Array.from({ length: 20 }, (_, i) => world.client.subscribe(`zone:${i}`));
  await world.arrives('us', 5_000);
  await world.clock.until(() => many.every(({ state }) => state === 'subscribed'));
  world.server.append('a:b', 0);
  await world.clock.advance(1_200_000);
  assert.deepEqual(got, [0]);
  assert.equal(world.client.region, 'us');
  assert.equal(world.server.named('connect').at(-1)?.['redirected'], 'zone');
  assert.deepEqual(world.client.stats.moves, { failure: 0, home: 0, redirect: 1 });
});

test('zones that no region has together end one subscription, and the client rests', async () => {
  const world = await new RegionWorld(['eu', 'us']).connected();
  zone(world, 'us', 'west:');
  zone(world, 'eu', 'east:');
  const [west, east] = ['west:x', 'east:x'].map((channel) => world.client.subscribe(channel));
  await world.clock.advance(60_000);
  const states = [west?.state, east?.state].sort();
  assert.deepEqual(states, ['ended', 'subscribed']);
  assert.equal([west, east].find((sub) => sub?.state === 'ended')?.error?.code, 'wrong_region');
  assert.ok(world.client.stats.moves.redirect <= 2);
});

test('a zone of regions that this client does not know ends the subscription and names them', async () => {
  const world = await new RegionWorld(['eu', 'us']).connected();
  zone(world, 'mars', 'zone:');
  const sub = world.client.subscribe('zone:x');
  await world.clock.advance(5_000);
  assert.equal(sub.state, 'ended');
  assert.deepEqual(sub.error?.elsewhere, [at('mars')]);
  assert.deepEqual(new Set(world.dialed), new Set(['eu']));
});

test('of several places the nearest that is known is taken', () => {
  const places = new Places([urlOf('eu'), urlOf('us'), urlOf('ap')], false, () => 0.5);
  for (const [i, place] of places.all.entries()) place.rttMs = 100 - 10 * i;
  const redirects = new Redirects(places);
  const nowhere = { here: null, underWay: null, mayAsk: false };
  const redirect = { places: [at('x'), at('us'), at('ap')], reason: 'zone', afterMs: 0 };
  assert.equal(redirects.hear(redirect, nowhere, 0), 'follow');
  assert.equal(redirects.take(0, false)?.place.url, urlOf('ap'));
});
