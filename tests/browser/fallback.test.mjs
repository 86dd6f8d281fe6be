// What the SDK does in networks that let little through: a proxy between page and node takes no upgrade,
// then keeps streams to itself; UDP is closed there.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { launch, Node, open, until } from './support.mjs';
import { startProxy } from './proxy.mjs';

test('the page falls back to an event stream, then to long polls, remembers, and loses nothing', async (t) => {
  const node = await Node.start();
  t.after(() => node.stop());
  const sdk = await (await fetch(`${node.admin}/meridian.js`)).text();
  const proxy = await startProxy(node, sdk);
  t.after(() => proxy.stop());
  const browser = await launch();
  t.after(() => browser.close());
  const { page } = await open(browser, proxy.url);
  const channel = 'demo:fallback';
  let published = 0;
  const publish = async (count) => {
    for (let n = 0; n < count; n += 1) {
      published += 1;
      await until(() => node.publish(channel, `n-${published}`, { n: published }), `publish ${published}`);
    }
  };
  const taken = () => page.waitForFunction((n) => window.probe.taken.length >= n, published);
  const transport = () => page.evaluate(() => window.probe.client.transport);

  await start(page, { url: proxy.url, token: node.token, channel });
  assert.equal(await transport(), 'sse');
  assert.ok(proxy.network.seen.includes('upgrade'), 'a WebSocket was tried');
  await publish(10);
  const own = await page.evaluate(async (channel) => {
    const { cursor } = await window.probe.client.publish(channel, { n: 11 });
    return { cursor, past: (await window.probe.client.history(channel, { last: 3 })).events.map((event) => event.data.n) };
  }, channel);
  published += 1;
  assert.match(own.cursor, /^1\.global\./);
  assert.deepEqual(own.past, [9, 10, 11]);
  await taken();

  // The next connection goes by what worked.
  proxy.network.seen.length = 0;
  await page.evaluate(() => window.probe.client.interrupt(200));
  await publish(5);
  await taken();
  assert.deepEqual([await transport(), proxy.network.seen.includes('upgrade')], ['sse', false]);

  proxy.network.streams = false;
  await page.evaluate(() => window.probe.client.interrupt(200));
  await publish(5);
  await taken();
  assert.equal(await transport(), 'longpoll');
  await publish(5);
  await taken();

  const { values, stats } = await page.evaluate(() => ({ values: window.probe.taken, stats: { ...window.probe.client.stats } }));
  assert.deepEqual(values, Array.from({ length: published }, (_, index) => index + 1));
  assert.deepEqual([stats.gaps, stats.chainBreaks], [0, 0]);
  // After a reload the page begins with what worked last.
  proxy.network.seen.length = 0;
  await page.reload();
  await start(page, { url: proxy.url, token: node.token, channel });
  assert.deepEqual([await transport(), proxy.network.seen.includes('/v1/sse')], ['longpoll', false]);
});

async function start(page, options) {
  await page.evaluate(async ({ url, token, channel }) => {
    const { MeridianClient } = await import('/meridian.js');
    const client = new MeridianClient({ url, token, reconnect: { baseMs: 100, capMs: 500 } });
    const probe = { client, taken: [] };
    probe.subscription = client.subscribe(channel, { onEvent: (event) => probe.taken.push(event.data.n) });
    window.probe = probe;
    client.connect();
  }, options);
  await page.waitForFunction(() => window.probe.subscription.state === 'subscribed');
}
