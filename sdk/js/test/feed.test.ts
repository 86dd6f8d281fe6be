// The live map of a feed: for each key the highest offset counts, evictions and gaps included.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Feed } from '../src/feed.js';
import type { MeridianEvent } from '../src/types.js';
import { connected } from './support/world.js';

function event(offset: number, key: string, data: unknown, more: Partial<MeridianEvent> = {}): MeridianEvent {
  return {
    channel: 'airports:all', data, cursor: `1.global.1.3.${offset}`, offset, epoch: 1, time: 0, id: undefined, key,
    kind: 'publish', headers: {}, contentType: 'application/json', publisher: undefined, evicts: [], ...more,
  };
}

test('values change, leave and are evicted; callbacks tell of each', () => {
  const told: string[] = [];
  const feed = new Feed((key, value) => told.push(`${key}=${JSON.stringify(value?.data)}`));
  feed.take(event(1, 'a', 1));
  feed.take(event(2, 'b', 2));
  feed.take(event(3, 'a', 3));
  feed.take(event(4, 'c', 4, { evicts: ['b'] }));
  feed.take(event(5, 'a', undefined, { kind: 'remove' }));
  assert.deepEqual([...feed.values.keys()], ['c']);
  assert.deepEqual(told, ['a=1', 'b=2', 'a=3', 'c=4', 'b=undefined', 'a=undefined']);
});

test('an older offset says nothing about a key, a newer epoch does', () => {
  const feed = new Feed();
  feed.take(event(9, 'a', 'new'));
  feed.take(event(4, 'a', 'old'));
  feed.take(event(5, 'b', 1, { evicts: ['a'] }));
  feed.take(event(6, 'a', undefined, { kind: 'remove' }));
  assert.equal(feed.values.get('a')?.data, 'new');
  feed.take(event(0, 'a', 'newest', { epoch: 2 }));
  assert.equal(feed.values.get('a')?.data, 'newest');
});

test('a gap empties it: all values follow', () => {
  const feed = new Feed();
  feed.take(event(1, 'a', 1));
  feed.lost();
  assert.equal(feed.values.size, 0);
});

test('a snapshot, then what changes; the chain goes on from where it was conflated to', async () => {
  const world = await connected();
  const feed = world.client.feed('airports:all');
  await world.clock.until(() => feed.subscription?.state === 'subscribed');
  const { latest } = world.server;
  const place = { channel: 'airports:all', stream: '1.global.1.3', epoch: 1 };
  latest.push({ values: { ...place, events: [{ offset: 50, time: 0, key: 'SFO', data: 1 }, { offset: 60, time: 0, key: 'OAK', data: 2 }] } }, 0);
  latest.push({ conflated: { ...place, offset: 120 } }, 0);
  latest.push({ events: { ...place, events: [{ offset: 121, prev: 110, time: 0, id: 'a', key: 'LAX', data: 3, evicts: ['SFO'] }] } }, 0);
  await world.clock.advance(100);
  assert.deepEqual([...feed.values].map(([key, { data }]) => [key, data]), [['OAK', 2], ['LAX', 3]]);
  assert.equal(world.client.stats.chainBreaks, 0);
  // Below its own position: a snapshot follows.
  latest.push({ gap: { channel: 'airports:all', reason: 'retention', from: '1.global.1.3.121', stream: '1.global.1.3', epoch: 1, offset: -1 } }, 0);
  latest.push({ values: { ...place, events: [{ offset: 130, time: 0, key: 'SJC', data: 4 }] } }, 0);
  latest.push({ conflated: { ...place, offset: 131 } }, 0);
  await world.clock.advance(100);
  assert.deepEqual([...feed.values.keys()], ['SJC']);
  // A lost connection resumes from there.
  latest.end(undefined);
  await world.clock.advance(2_000);
  const asked = world.server.commands.filter(({ body }) => body['subscribe']);
  assert.equal(asked.at(-1)?.body['subscribe'].cursor, '1.global.1.3.131');
});
