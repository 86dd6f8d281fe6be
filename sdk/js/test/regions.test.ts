// Several regions over the whole client: the nearest, failure, the way back, offline and frozen pages.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { systemClock } from '../src/clock.js';
import { Homing } from '../src/regions/homing.js';
import { baseUrl, readHealth } from '../src/regions/health.js';
import { probe } from '../src/regions/probe.js';
import { Round } from '../src/regions/round.js';
import { RegionWorld, urlOf } from './support/regions.js';
import { collect } from './support/world.js';

test('one region: no probe, no delay, nothing told', async () => {
  const world = await new RegionWorld(['eu']).connected();
  world.drop('eu');
  await world.clock.advance(300_000);
  assert.deepEqual(world.asked(), []);
  assert.equal(world.client.region, 'eu');
  assert.deepEqual(world.client.stats.moves, { failure: 0, home: 0, redirect: 0 });
});

test('the nearest that is well is dialed, and stays home', async () => {
  const world = new RegionWorld(['eu', 'us', 'ap']);
  world.at('eu').rttMs = 180;
  world.at('us').rttMs = 110;
  world.at('ap').rttMs = 20;
  world.at('ap').state = 'draining';
  await world.connected();
  assert.deepEqual(world.asked(), ['eu', 'us', 'ap'], 'all at once');
  assert.deepEqual(world.dialed, ['us']);
  assert.deepEqual(world.changes, [{ region: 'us', url: urlOf('us'), reason: 'start' }]);
  await world.clock.advance(600_000);
  assert.deepEqual(world.asked(), [], 'a further region is not what it goes back to');
  assert.equal(world.client.region, 'us');
});

test('home wins ties, a full or degraded region is the second choice, and probes do not hold up a dial', async () => {
  const tie = new RegionWorld(['eu', 'us']);
  tie.at('eu').rttMs = 65;
  await tie.connected();
  assert.equal(tie.client.region, 'eu');
  const full = new RegionWorld(['eu', 'us']);
  full.at('eu').load = 0.99;
  full.at('us').rttMs = 300;
  await full.connected();
  assert.equal(full.client.region, 'us');
  const degraded = new RegionWorld(['eu', 'us']);
  degraded.at('eu').state = 'degraded';
  degraded.at('us').up = false;
  await degraded.connected();
  assert.equal(degraded.client.region, 'eu');
  const slow = new RegionWorld(['eu', 'us']);
  slow.at('us').mute = true;
  slow.client.connect();
  await slow.clock.advance(400);
  assert.equal(slow.client.state, 'connected');
});

test('no probe gets through: home is dialed, and another region after it fails', async () => {
  const world = new RegionWorld(['eu', 'us']);
  for (const name of ['eu', 'us']) world.at(name).mute = true;
  await world.connected();
  assert.equal(world.client.region, 'eu');
  world.fail('eu');
  await world.arrives('us');
  world.at('eu').up = true;
  world.fail('us');
  await world.arrives('eu');
});

test('a lost connection: the same region first, without a probe', async () => {
  const world = await new RegionWorld(['eu', 'us']).connected();
  world.asked();
  for (let times = 0; times < 3; times++) {
    await world.clock.advance(15_000);
    world.drop('eu');
    await world.clock.until(() => world.client.stats.connects === 2 + times);
  }
  assert.deepEqual(new Set(world.dialed), new Set(['eu']));
  assert.deepEqual(world.asked(), []);
});

test('a region that fails is left for the nearest other, and returned to without a gap or a break', async () => {
  const world = await new RegionWorld(['eu', 'us', 'ap']).connected();
  world.at('ap').rttMs = 300;
  const { got, sub } = collect(world as never, 'a:b');
  await world.clock.until(() => sub.state === 'subscribed');
  await world.clock.advance(20_000);
  world.asked();
  world.fail('eu');
  await world.arrives('us', 10_000);
  assert.deepEqual(world.dialed, ['eu', 'eu', 'us']);
  assert.deepEqual(world.asked(), ['us', 'ap'], 'the region that failed is not asked');
  assert.equal(world.server.named('connect').at(-1)?.['reconnect'], 'network');
  world.at('eu').up = true;
  const states = world.states.length;
  for (let i = 0; world.client.region !== 'eu' && i < 4_000; i++) {
    world.server.append('a:b', i);
    await world.clock.advance(50);
  }
  await world.clock.advance(2_000);
  assert.equal(world.client.region, 'eu');
  assert.deepEqual(world.states.slice(states), [], 'no interruption shows');
  assert.deepEqual(got, Array.from({ length: got.length }, (_, i) => i));
  assert.equal(got.length, world.server.stored.length);
  assert.equal(world.server.live.length, 1, 'the old session is closed');
  assert.equal(world.server.named('connect').at(-1)?.['reconnect'], undefined, 'nothing ended');
  assert.deepEqual(world.changes.map((change) => change.reason), ['start', 'failure', 'home']);
  assert.deepEqual(world.client.stats.moves, { failure: 1, home: 1, redirect: 0 });
  assert.deepEqual(new Set(world.asked()), new Set(['eu']));
});

test('a subscriber that goes back home is not stopped by its own takeover', async () => {
  const world = await new RegionWorld(['eu', 'us'], { subscriber: 'kiosk' }).connected();
  await world.clock.advance(15_000);
  world.fail('eu');
  await world.arrives('us');
  world.at('eu').up = true;
  await world.arrives('eu', 200_000);
  await world.clock.advance(60_000);
  assert.equal(world.client.state, 'connected');
  assert.ok(!world.states.includes('stopped'));
});

test('the connection elsewhere is lost while the way home is dialed: the dial decides', async () => {
  const world = await new RegionWorld(['eu', 'us']).connected();
  await world.clock.advance(15_000);
  world.fail('eu');
  await world.arrives('us');
  world.at('eu').up = true;
  world.server.latencyMs.websocket = 1_000;
  const dials = world.dialed.length;
  await world.clock.until(() => world.dialed.length > dials, 200_000);
  world.server.latencyMs.websocket = 10;
  world.drop('us');
  await world.arrives('eu', 10_000);
  assert.equal(world.dialed.length, dials + 1);
});

test('home is not gone back to before it is well twice, nor when it fails before the move', async () => {
  const world = new RegionWorld(['eu', 'us'], { homeSpreadMs: 1_000 });
  world.at('us').rttMs = 60;
  await world.connected();
  await world.clock.advance(15_000);
  world.fail('eu');
  await world.arrives('us');
  world.at('eu').up = true;
  world.at('eu').state = 'degraded';
  await world.clock.advance(300_000);
  assert.equal(world.client.region, 'us');
  world.at('eu').state = 'serving';
  world.asked();
  await world.arrives('eu', 120_000);
  assert.ok(world.asked().length >= 2);
});

test('a home that answers probes but no dials is tried less and less often, the connection elsewhere stays', async () => {
  const world = await new RegionWorld(['eu', 'us']).connected();
  await world.clock.advance(15_000);
  world.fail('eu');
  await world.arrives('us');
  const connects = world.client.stats.connects;
  const { server } = world;
  world.at('eu').up = true;
  server.intercept = (body, session) => {
    if (body['connect'] && session.url.includes('eu')) session.end(undefined);
    return body['connect'] && session.url.includes('eu') ? 'swallow' : null;
  };
  const before = world.dialed.length;
  await world.clock.advance(3_600_000);
  const tries = world.dialed.length - before;
  assert.ok(tries >= 3 && tries <= 12, `${tries} tries in an hour`);
  assert.equal(world.client.stats.connects, connects);
  assert.equal(world.client.state, 'connected');
});

test('drain alone changes no region, also away from home', async () => {
  const world = await new RegionWorld(['eu', 'us']).connected();
  world.asked();
  world.server.latest.push({ drain: { after_ms: 100, deadline_ms: 5_000 } });
  await world.clock.until(() => world.client.stats.connects === 2);
  world.server.latest.end(4050, 'draining');
  await world.clock.until(() => world.client.stats.connects === 3);
  world.server.latest.end(4050, 'draining');
  await world.clock.until(() => world.client.stats.connects === 4);
  assert.deepEqual(new Set(world.dialed), new Set(['eu']));
  assert.deepEqual(world.asked(), []);
});

test('both regions gone, then one is there: the client finds it, slowly and without a storm', async () => {
  const world = await new RegionWorld(['eu', 'us']).connected();
  await world.clock.advance(15_000);
  world.fail('eu');
  world.fail('us');
  world.asked();
  world.dialed.length = 0;
  await world.clock.advance(600_000);
  assert.ok(world.dialed.length <= 40, `${world.dialed.length} dials in ten minutes`);
  assert.ok(world.asked().length <= 60);
  assert.ok(world.dialed.includes('us') && world.dialed.includes('eu'));
  world.at('us').up = true;
  await world.arrives('us', 90_000);
});

test('offline: no probe; frozen for an hour: one probe after waking', async () => {
  const world = await new RegionWorld(['eu', 'us']).connected();
  await world.clock.advance(15_000);
  world.fail('eu');
  await world.arrives('us');
  await world.clock.advance(60_000);
  world.page.fire('offline');
  world.asked();
  await world.clock.advance(600_000);
  assert.deepEqual(world.asked(), [], 'offline');
  world.page.fire('online');
  await world.clock.advance(6_000);
  assert.deepEqual(world.asked(), ['eu'], 'once, soon');
  world.page.fire('freeze');
  await world.clock.advance(600_000);
  assert.deepEqual(world.asked(), [], 'frozen');
  world.page.fire('resume');
  world.page.fire('resume');
  await world.clock.advance(6_000);
  assert.deepEqual(world.asked(), ['eu']);
  world.clock.freeze(3_600_000);
  await world.clock.advance(10_000);
  assert.deepEqual(world.asked(), ['eu'], 'a sleep that nobody announced');
});

test('closed while it looks for a region, or away from home: no probe and no dial follows', async () => {
  const world = new RegionWorld(['eu', 'us']);
  world.client.connect();
  await world.clock.advance(10);
  world.client.close();
  await world.clock.advance(60_000);
  assert.deepEqual(world.dialed, []);
  await world.connected();
  world.fail('eu');
  await world.arrives('us');
  world.client.close();
  world.asked();
  await world.clock.advance(600_000);
  assert.deepEqual(world.asked(), []);
});

test('regions that an answer names are used only where asked for, and never in the clear', async () => {
  for (const discoverRegions of [true, false]) {
    const world = new RegionWorld(['eu'], { discoverRegions });
    world.open('us');
    await world.connected();
    await world.clock.advance(40_000);
    assert.deepEqual(world.asked(), discoverRegions ? ['eu'] : []);
    world.fail('eu');
    await world.clock.advance(30_000);
    assert.equal(world.client.region, discoverRegions ? 'us' : 'eu');
  }
});

test('a probe over HTTP: an answer, a refusal, nobody', async () => {
  let status = 200;
  const server = createServer((request, response) => {
    response.writeHead(request.url === '/eu/v1/regions' ? status : 404).end('{"region":"eu","state":"serving","load":0.5}');
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}/eu`;
  const health = await probe(fetch, systemClock(), base);
  assert.equal(health?.name, 'eu');
  assert.ok(health.rttMs >= 0 && health.load === 0.5);
  status = 503;
  assert.equal(await probe(fetch, systemClock(), base), null);
  await new Promise((done) => server.close(done));
  assert.equal(await probe(fetch, systemClock(), base), null);
});

test('an address has one form, whatever its scheme and port', () => {
  assert.equal(baseUrl('wss://EU.example:443/base/?x=1'), 'https://eu.example/base');
  assert.equal(baseUrl('http://eu.example:8080'), 'http://eu.example:8080');
  for (const none of ['eu.example', 'ftp://eu', 'https://']) assert.equal(baseUrl(none), null);
});

test('an address that is none is refused', () => {
  assert.throws(() => new RegionWorld(['eu'], { regions: ['us.example'] }), { code: 'bad_argument' });
});

test('a round: over when all have answered, soon after one is well, at last when time is up', () => {
  const health = (rttMs: number, state = 'serving') => readHealth({ region: 'x', state, load: 0 }, rttMs);
  const round = new Round(['a', 'b', 'c'], 0);
  assert.ok(!round.over(1_499) && round.over(1_500));
  round.heard('a', health(200, 'degraded'), 200);
  assert.equal(round.until, 1_500, 'whether another is well is worth the time');
  round.heard('b', health(300), 300);
  assert.equal(round.until, 400);
  assert.equal(round.best('a'), 'b');
  round.heard('c', null, 310);
  assert.ok(round.over(310));
  const nobody = new Round(['a'], 0);
  nobody.heard('a', health(10, 'starting'), 10);
  assert.equal(nobody.best('a'), null);
  const late = new Round(['a', 'b'], 0);
  late.heard('a', health(10, 'rebuilding'), 10);
  assert.equal(late.until, 1_500, 'another may have the newest');
  assert.equal(late.best('a'), 'a', 'the last resort');
  late.heard('b', health(900, 'degraded'), 900);
  assert.equal(late.best('a'), 'b');
});

test('answers that are none are no health', () => {
  for (const value of [null, 'ok', {}, { state: 1 }, []]) assert.equal(readHealth(value, 1), null);
  const odd = readHealth({ state: 'serving', regions: [1, null, { name: 'us', url: 'https://us' }, { name: 2 }] }, 1);
  assert.deepEqual(odd?.regions, [{ name: 'us', url: 'https://us' }]);
});

test('homing: what was planned before a sleep is not done after it', () => {
  const homing = new Homing({ probeMs: 30_000, spreadMs: 30_000 }, () => 0.5);
  homing.start(0, 0);
  for (const now of [30_000, 60_000]) {
    assert.equal(homing.due(now), 'probe');
    homing.heard(40);
  }
  assert.ok(homing.ready);
  homing.planMove(60_000);
  assert.equal(homing.nextAt(), 75_000);
  assert.equal(homing.due(4_000_000), null);
  assert.ok(homing.nextAt() > 4_000_000 && !homing.ready);
});
