// Cursors over reloads: saved after the application took the event, throttled, flushed on leaving.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { localStorageCursors, memoryCursors, type CursorStore } from '../src/cursors.js';
import { memoryStorage } from '../src/transport/memory.js';
import { connected } from './support/world.js';

function recording() {
  const saves: string[] = [];
  const inner = memoryCursors();
  const store: CursorStore = {
    load: (channel) => inner.load(channel),
    save: (channel, cursor) => {
      saves.push(cursor);
      return inner.save(channel, cursor);
    },
  };
  return { store, saves };
}

test('a reload goes on where the application was', async () => {
  const store = localStorageCursors('test:', memoryStorage());
  const world = await connected({ store });
  const first: unknown[] = [];
  world.client.subscribe('a:b', { onEvent: (e) => void first.push(e.data) });
  await world.clock.advance(100);
  world.server.append('a:b', 1);
  await world.clock.advance(2_000);
  world.client.close();
  world.server.append('a:b', 2);
  const { MeridianClient } = await import('../src/client.js');
  const again = new MeridianClient({ url: 'http://gateway.test', clock: world.clock, dials: world.server.dials, storage: memoryStorage(), store });
  const second: unknown[] = [];
  again.subscribe('a:b', { onEvent: (e) => void second.push(e.data) });
  again.connect();
  await world.clock.until(() => second.length > 0);
  assert.deepEqual([first, second], [[1], [2]]);
  again.close();
});

test('saves are throttled, and flushed when the page is left', async () => {
  const { store, saves } = recording();
  const world = await connected({ saveIntervalMs: 1_000 });
  world.client.subscribe('a:b', { onEvent: () => {}, store });
  await world.clock.advance(100);
  for (let i = 0; i < 50; i++) {
    world.server.append('a:b', i);
    await world.clock.advance(100);
  }
  assert.ok(saves.length <= 8, `${saves.length} saves in five seconds`);
  world.server.append('a:b', 'last');
  await world.clock.advance(50);
  world.page.visibilityState = 'hidden';
  world.page.fire('visibilitychange');
  assert.equal(saves.at(-1), `1.global.1.3.${world.server.end()}`);
});

test('what the application has not taken is not saved', async () => {
  const { store, saves } = recording();
  const world = await connected();
  const sub = world.client.subscribe<number>('a:b', { store });
  await world.clock.advance(2_000);
  for (let i = 0; i < 3; i++) world.server.append('a:b', i);
  await world.clock.advance(2_000);
  assert.equal(saves.at(-1), '1.global.1.3.99');
  const events = sub[Symbol.asyncIterator]();
  assert.equal((await events.next()).value?.data, 0);
  await world.clock.advance(2_000);
  assert.equal(saves.at(-1), '1.global.1.3.99', 'in hand is not taken');
  await events.next();
  await world.clock.advance(2_000);
  assert.equal(saves.at(-1), '1.global.1.3.100');
  await events.return();
  assert.equal(sub.cursor, '1.global.1.3.100');
});

test('a store that loads later delays the subscribe; one that fails is reported', async () => {
  const world = await connected();
  let give: (cursor: string) => void = () => {};
  const store: CursorStore = { load: () => new Promise((resolve) => (give = resolve)), save: () => Promise.reject(new Error('full')) };
  const sub = world.client.subscribe('a:b', { store, onEvent: () => {} });
  await world.clock.advance(1_000);
  assert.equal(sub.state, 'loading');
  give('1.global.1.3.42');
  await world.clock.advance(100);
  assert.equal(world.server.named('subscribe')[0]?.['cursor'], '1.global.1.3.42');
  world.server.append('a:b', 1);
  await world.clock.advance(100);
  assert.equal(world.errors[0]?.code, 'cursor_not_saved');
});

test('a handler that throws is reported and the next event still comes', async () => {
  const world = await connected();
  const got: unknown[] = [];
  world.client.subscribe('a:b', {
    onEvent: (e) => {
      got.push(e.data);
      if (e.data === 1) throw new Error('bug');
    },
  });
  await world.clock.advance(100);
  world.server.append('a:b', 1);
  world.server.append('a:b', 2);
  await world.clock.advance(100);
  assert.deepEqual(got, [1, 2]);
  assert.equal(world.errors[0]?.code, 'handler_failed');
});
