// A gateway that gives less than its whole service: what the client makes of each mode.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ClientOptions } from '../src/options.js';
import { leavesConnection, modeNamed, modeOf, sameModes, type Modes } from '../src/modes.js';
import { FakeHttp } from './support/http.js';
import { collect, newWorld, type World } from './support/world.js';

type HttpWorld = World & { http: FakeHttp; modes: Modes[] };

async function up(options: Partial<ClientOptions> = {}, seed = 1): Promise<HttpWorld> {
  let http: FakeHttp | undefined;
  const made = newWorld(options, seed, (server) => (http = new FakeHttp(server)).dials);
  const w = Object.assign(made, { http: http as unknown as FakeHttp, modes: [] as Modes[] });
  w.client.on('mode', (modes) => w.modes.push(modes));
  w.client.connect();
  await w.clock.until(() => w.client.state === 'connected');
  return w;
}

/** The operator's order, as the node's sessions and pollers are told it. */
function order(w: HttpWorld, mode: string, afterMs: number): void {
  w.http.mode = mode === 'normal' ? null : { mode, after_ms: afterMs };
  for (const session of w.server.live) session.push({ mode: { mode, after_ms: afterMs } });
}

test('which mode counts, and when a connection is of no use', () => {
  const modes: Modes = { mode: 'polling-only', namespaces: { board: 'normal', typing: 'read-only' } };
  assert.deepEqual([modeOf(modes, 'board:a'), modeOf(modes, 'room:board'), modeNamed('siesta')], ['normal', 'polling-only', 'degraded']);
  assert.deepEqual([leavesConnection(modes, []), leavesConnection(modes, ['room:a'])], [true, true]);
  assert.ok(!leavesConnection(modes, ['room:a', 'board:a']));
  assert.ok(leavesConnection({ mode: 'normal', namespaces: { board: 'polling-only' } }, ['board:a']));
  assert.ok(sameModes(modes, { ...modes }) && !sameModes(modes, { ...modes, namespaces: {} }));
});

test('polling-only: leaves after its moment, polls at the interval, and comes back; nothing is lost', async () => {
  const w = await up();
  const a = collect(w, 'a:1');
  const b = collect(w, 'a:2', { from: { last: 1 } });
  w.server.append('a:2', 'first');
  await w.clock.until(() => a.sub.state === 'subscribed' && b.got.length === 1);
  order(w, 'polling-only', 3_000);
  await w.clock.advance(2_900);
  assert.equal(w.client.transport, 'webtransport', 'not before its moment');
  w.server.append('a:1', 0);
  await w.clock.until(() => w.client.transport === 'polling');
  await w.clock.until(() => w.server.live.length === 0);
  for (let n = 1; n <= 20; n++) {
    w.server.append('a:1', n);
    await w.clock.advance(700);
  }
  await w.clock.until(() => a.got.length === 21);
  const published = await drive(w, w.client.publish('a:2', 'published'));
  assert.ok(published.cursor);
  await w.clock.until(() => b.got.length === 2);
  await w.clock.advance(60_000);
  const polls = w.http.polls.filter(({ channel }) => channel === 'a:1');
  const waits = polls.slice(1).map(({ at }, index) => at - (polls[index]?.at ?? 0));
  assert.ok(waits.every((ms) => ms >= 2_000 && ms <= 2_600), waits.join());
  assert.ok(new Set(waits).size > 5, 'with jitter');
  assert.ok(polls.slice(-5).every(({ status }) => status === 304), 'what has not changed is not sent');
  assert.ok(polls.every(({ status }) => status !== 429));
  // The order is over: the polls say so, and the client comes back at a moment of its own.
  w.http.mode = null;
  w.server.append('a:1', 21);
  await w.clock.until(() => w.client.transport === 'webtransport', 30_000);
  w.server.append('a:1', 22);
  await w.clock.until(() => a.got.length === 23);
  assert.deepEqual(a.got, Array.from({ length: 23 }, (_, index) => index));
  assert.deepEqual(b.got, ['first', 'published']);
  const { gaps, chainBreaks } = w.client.stats;
  assert.deepEqual([gaps, chainBreaks, w.modes.map(({ mode }) => mode)], [0, 0, ['polling-only', 'normal']]);
  const before = w.http.polls.length;
  await w.clock.advance(60_000);
  assert.equal(w.http.polls.length, before, 'no poll is left');
});

test('who comes back comes at a moment of its own', async () => {
  const seeds = Array.from({ length: 30 }, (_, index) => index + 1);
  const moments = await Promise.all(seeds.map(async (seed) => {
    const w = await up({}, seed);
    collect(w, 'a:1');
    order(w, 'polling-only', 0);
    await w.clock.until(() => w.client.transport === 'polling');
    await w.clock.advance(10_000);
    const ended = w.clock.now();
    w.http.mode = null;
    await w.clock.until(() => w.client.transport === 'webtransport');
    return w.clock.now() - ended;
  }));
  for (const [from, to] of [[0, 5_000], [5_000, 13_000]] as const) {
    const share = moments.filter((ms) => ms >= from && ms < to).length;
    assert.ok(share >= 6, `${share} of 30 between ${from} and ${to}: ${moments.join()}`);
  }
});

test('a channel that may not be polled waits, and is live again afterwards', async () => {
  const w = await up();
  const { got, sub } = collect(w, 'a:1');
  await w.clock.until(() => sub.state === 'subscribed');
  w.http.intervalOf = () => 0;
  order(w, 'polling-only', 0);
  await w.clock.until(() => w.client.transport === 'polling');
  await w.clock.until(() => sub.state === 'waiting');
  w.server.append('a:1', 1);
  await w.clock.advance(120_000);
  assert.deepEqual([got.length, sub.state], [0, 'waiting']);
  assert.ok(w.http.polls.length <= 6, `${w.http.polls.length} polls in vain`);
  w.http.mode = null;
  await w.clock.until(() => got.length === 1);
  assert.equal(w.client.transport, 'webtransport');
});

test('too soon: waits as long as the server says', async () => {
  const w = await up();
  const { got, sub } = collect(w, 'a:1');
  await w.clock.until(() => sub.state === 'subscribed');
  // Another client of the same user polls as well.
  w.http.polls.push({ channel: 'a:1', at: w.clock.now() + 1_500, status: 200 });
  order(w, 'polling-only', 0);
  await w.clock.until(() => w.client.transport === 'polling');
  w.server.append('a:1', 1);
  await w.clock.until(() => got.length === 1 && w.http.polls.length >= 3);
  const statuses = w.http.polls.map(({ status }) => status);
  assert.deepEqual(statuses.slice(0, 3), [200, 429, 200]);
  assert.equal(w.client.stats.connects, 2);
});

test('a forced transport stays, other modes change nothing, and each is told', async () => {
  const w = await up({ transport: 'websocket' });
  for (const mode of ['degraded', 'read-only', 'polling-only', 'normal']) {
    order(w, mode, 0);
    await w.clock.until(() => w.client.modes.mode === mode);
  }
  await w.clock.advance(30_000);
  assert.deepEqual([w.client.transport, w.client.stats.connects], ['websocket', 1]);
  // A new session on a node where all is normal is told nothing.
  order(w, 'degraded', 0);
  await w.clock.until(() => w.client.modes.mode === 'degraded');
  w.client.interrupt(100);
  await w.clock.until(() => w.client.modes.mode === 'normal');
  assert.equal(w.client.stats.connects, 2);
});

async function drive<T>(w: HttpWorld, promise: Promise<T>): Promise<T> {
  let done = false;
  promise.then(() => (done = true), () => (done = true));
  await w.clock.until(() => done);
  return await promise;
}
