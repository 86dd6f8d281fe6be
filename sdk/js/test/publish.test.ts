// Publishing, batches, acks and history over the whole client: retries are the same event.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { MeridianError } from '../src/errors.js';
import { connected, newWorld } from './support/world.js';

const error = (code: string, action: string, more: object = {}) => ({ error: { code, message: code, action, ...more } });

for (const codec of ['json', 'msgpack'] as const) {
  test(`publish resolves with a cursor and sends payloads by their kind, ${codec}`, async () => {
    const world = await connected({ codec });
    const { client, clock, server } = world;
    const [first] = await Promise.all([client.publish('a:b', { x: 1 }, { key: 'k', headers: { h: 'v' } }), clock.advance(100)]);
    assert.equal(first.cursor, '1.global.1.3.100');
    const sent = server.named('publish')[0] as Record<string, unknown>;
    assert.match(sent['id'] as string, /^[0-9a-f-]{36}$/);
    assert.equal(sent['age_ms'], 0);
    assert.equal(sent['key'], 'k');
    assert.deepEqual(server.stored[0]?.data, { x: 1 });
    server.intercept = (body) => (body['publish'] ? { published: {} } : null);
    void client.publish('a:b', 'text', { contentType: 'text/plain' });
    void client.publish('a:b', new Uint8Array([1, 2]));
    void client.publish('a:b');
    await clock.advance(100);
    const [text, bin, none] = server.named('publish').slice(1) as Record<string, unknown>[];
    const utf8 = new TextEncoder();
    assert.deepEqual(text?.[codec === 'json' ? 'text' : 'data'], codec === 'json' ? 'text' : utf8.encode('text'));
    assert.equal(text?.['content_type'], 'text/plain');
    assert.deepEqual(bin?.[codec === 'json' ? 'bin' : 'data'], codec === 'json' ? 'AQI=' : new Uint8Array([1, 2]));
    assert.ok(!('data' in (none ?? {})));
  });
}

test('a lost reply: sent again after the reconnect, same id, growing age, stored once', async () => {
  const { client, clock, server } = await connected();
  server.intercept = (body, session) => {
    if (!body['publish']) return null;
    server.append('a:b', 1, body['publish'].id as string);
    session.end(undefined);
    server.intercept = () => null;
    return 'swallow';
  };
  let result: unknown;
  void client.publish('a:b', 1).then((published) => (result = published));
  await clock.until(() => result !== undefined);
  const [first, second] = server.named('publish');
  assert.equal(first?.['id'], second?.['id']);
  assert.equal(first?.['age_ms'], 0);
  assert.ok((second?.['age_ms'] as number) > 0);
  assert.equal(server.stored.length, 1);
});

test('what is changed after publish does not change the event', async () => {
  const { client, clock, server } = newWorld();
  const data = { n: 1 };
  void client.publish('a:b', data).catch(() => {});
  data.n = 2;
  client.connect();
  await clock.advance(1_000);
  assert.deepEqual(server.stored[0]?.data, { n: 1 });
});

test('retry waits as told, stop rejects, the horizon ends it', async () => {
  const { client, clock, server } = await connected();
  let times = 0;
  server.intercept = (body) => (body['publish'] && times++ < 2 ? error('overloaded', 'retry', { retry_after_ms: 4_000 }) : null);
  const start = clock.now();
  let done = 0;
  void client.publish('a:b', 1).then(() => (done = clock.now()));
  await clock.until(() => done > 0);
  assert.ok(done - start >= 8_000);
  assert.equal(new Set(server.named('publish').map((p) => p['id'])).size, 1);
  server.intercept = (body) => (body['publish'] ? error('forbidden', 'stop') : null);
  await Promise.all([assert.rejects(client.publish('a:b', 1), { code: 'forbidden', action: 'stop' }), clock.advance(100)]);
  server.intercept = (body) => (body['publish'] ? error('log_unavailable', 'retry') : null);
  const late = assert.rejects(client.publish('a:b', 1), { code: 'horizon_passed' });
  await clock.advance(10_000);
  clock.freeze(86_400_000);
  await clock.advance(60_000);
  await late;
});

test('a token that expired is renewed and the publish goes on', async () => {
  let count = 0;
  const { client, clock, server } = await connected({ token: () => `t${++count}` });
  let refused = false;
  server.intercept = (body) => {
    if (!body['publish'] || refused) return null;
    refused = true;
    return error('token_expired', 'refresh');
  };
  await Promise.all([client.publish('a:b', 1), clock.advance(5_000)]);
  assert.deepEqual(server.named('refresh'), [{ token: 't2' }]);
});

test('publishes under way are bounded, with a typed error', async () => {
  const { client } = newWorld({ maxPublishes: 3 });
  for (let i = 0; i < 3; i++) void client.publish('a:b', i).catch(() => {});
  await assert.rejects(client.publish('a:b', 3), { code: 'publish_queue_full', action: 'retry' });
});

test('timeoutMs gives up', async () => {
  const { client, clock } = newWorld();
  client.connect();
  client.interrupt(600_000);
  await Promise.all([assert.rejects(client.publish('a:b', 1, { timeoutMs: 5_000 }), { code: 'timeout' }), clock.advance(7_000)]);
});

test('bad arguments are told at once', async () => {
  const { client } = newWorld();
  const cyclic: { self?: unknown } = {};
  cyclic.self = cyclic;
  await assert.rejects(client.publish('a:b', cyclic), TypeError);
  await assert.rejects(client.publish('a:b', () => 1), { code: 'bad_argument' });
  await assert.rejects(client.publish('a:b', 1, { id: 'x'.repeat(65) }), { code: 'bad_argument' });
  assert.throws(() => client.subscribe(''), { code: 'bad_channel' });
});

test('an event that no frame can hold is refused here, and the connection lives', async () => {
  const world = await connected();
  await assert.rejects(world.client.publish('a:b', 'x'.repeat(1_100_000)), { code: 'frame_too_large', action: 'stop' });
  assert.equal(world.client.stats.connects, 1);
});

test('a batch keeps its order, is split by the limits, and retries only what failed', async () => {
  const { client, clock, server } = await connected();
  let once = true;
  server.intercept = (body) => {
    const events = body['publish_batch']?.events as { id: string; data: unknown; channel: string }[] | undefined;
    if (!events || !once) return null;
    once = false;
    const results = events.map((event, i) => {
      if (i === 1) return error('forbidden', 'stop');
      if (i === 5) return error('not_stored', 'retry');
      return { cursor: server.append(event.channel, event.data, event.id) };
    });
    return { published_batch: { results } };
  };
  const events = Array.from({ length: 300 }, (_, i) => ({ channel: 'a:b', data: i, id: `e${i}` }));
  let results: Awaited<ReturnType<typeof client.publishBatch>> = [];
  void client.publishBatch(events).then((r) => (results = r));
  await clock.until(() => results.length > 0);
  assert.equal(results.length, 300);
  assert.equal((results[1] as { error: MeridianError }).error.code, 'forbidden');
  assert.ok(results.every((result, i) => i === 1 || ('cursor' in result && result.cursor)));
  assert.deepEqual(server.named('publish_batch').map((b) => (b['events'] as unknown[]).length), [128, 1, 128, 44]);
  assert.equal(server.stored.length, 299);
});

test('ack and history: answers, retries, errors', async () => {
  const { client, clock, server } = await connected({ subscriber: 'kiosk' });
  for (let i = 0; i < 5; i++) server.append('a:b', i);
  await Promise.all([client.ack('a:b', '1.global.1.3.102'), clock.advance(100)]);
  assert.deepEqual(server.named('ack'), [{ channel: 'a:b', cursor: '1.global.1.3.102' }]);
  let times = 0;
  server.intercept = (body) => (body['history'] && times++ === 0 ? error('not_yet', 'retry', { applied: '1.global.1.3.1' }) : null);
  const [page] = await Promise.all([client.history('a:b', { after: '1.global.1.3.101', limit: 2 }), clock.advance(5_000)]);
  assert.deepEqual(page.events.map((e) => e.data), [2, 3]);
  assert.equal(page.events[0]?.cursor, '1.global.1.3.102');
  assert.equal(page.cursor, '1.global.1.3.103');
  assert.equal(page.more, true);
  server.intercept = (body) => (body['ack'] ? error('ack_ahead', 'stop') : null);
  await Promise.all([assert.rejects(client.ack('a:b', '1.global.1.3.900'), { code: 'ack_ahead' }), clock.advance(100)]);
  server.intercept = (body) => (body['history'] ? 'swallow' : null);
  await Promise.all([assert.rejects(client.history('a:b', { last: 3 }), { code: 'timeout' }), clock.advance(40_000)]);
});
