// What the page and the SDK in it do when the server dies and comes back, and the page without a demo.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch, Node, open, until } from './support.mjs';

let browser;

before(async () => {
  browser = await launch();
});

after(() => browser?.close());

async function started(t, options) {
  const held = { node: await Node.start(options) };
  t.after(() => held.node.stop());
  return held;
}

test('the page survives a crash of its server', async (t) => {
  const held = await started(t, { demo: 'flights' });
  const { page, close } = await open(browser, `${held.node.admin}/`);
  await page.waitForSelector('#transport[data-transport=webtransport]');
  await page.waitForSelector('tr[data-flight]');
  await held.node.kill();
  await page.waitForFunction(() => document.getElementById('state-detail').textContent.includes('The server is gone.'));
  held.node = await held.node.again();
  await page.waitForSelector('#transport[data-transport=webtransport]');
  const before = await page.evaluate(() => window.__meridian.stats.events);
  await page.waitForFunction((before) => window.__meridian.stats.events > before + 5, before);
  assert.equal(await page.textContent('#gaps'), '0');
  await close();
});

test('a page without a demo follows, publishes and explains', async (t) => {
  const held = await started(t);
  const { page, problems, close } = await open(browser, `${held.node.admin}/`, { viewport: { width: 390, height: 844 } });
  await page.waitForSelector('#transport[data-transport=webtransport]');
  assert.ok((await page.textContent('#curl')).includes(`curl ${held.node.client}/v1/publish`));
  assert.ok((await page.textContent('#curl')).includes(held.node.token));
  await page.fill('#channel-name', 'demo:browser');
  await page.click('#follow button');
  await page.fill('#publish-data', '{"from":"the page"}');
  await page.click('#publish button');
  await page.getByRole('cell', { name: '{"from":"the page"}' }).waitFor();
  await until(() => held.node.publish('demo:browser', 'one', { from: 'a service' }), 'a publish over HTTP');
  await page.getByRole('cell', { name: '{"from":"a service"}' }).waitFor();
  await page.fill('#channel-name', 'nobody:knows');
  await page.click('#follow button');
  await page.getByRole('alert').filter({ hasText: 'The token does not allow this channel.' }).waitFor();
  assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= 390);
  assert.deepEqual(problems, []);
  await close();
});

for (const transport of ['webtransport', 'websocket', 'sse', 'longpoll']) {
  test(`the SDK over ${transport}: publish, history, and a crash without a loss`, async (t) => {
    const held = await started(t);
    const { page, close } = await open(browser, `${held.node.admin}/`);
    const channel = `demo:sdk-${transport}`;
    await follow(page, held.node, { transport, channel });
    await page.waitForFunction(() => window.probe.client.transport !== null);
    assert.equal(await page.evaluate(() => window.probe.client.transport), transport);

    const own = await page.evaluate(async (channel) => {
      const { client } = window.probe;
      for (let n = 1; n <= 20; n += 1) await client.publish(channel, { n });
      return (await client.history(channel, { last: 20 })).events.map((event) => event.data.n);
    }, channel);
    const first = Array.from({ length: 20 }, (_, index) => index + 1);
    assert.deepEqual(own, first);
    await page.waitForFunction(() => window.probe.taken.length === 20);

    // A service publishes on through the crash, each until it is acknowledged.
    const publishing = (async () => {
      for (let n = 21; n <= 60; n += 1) await until(() => held.node.publish(channel, `n-${n}`, { n }), `publish ${n}`);
    })();
    await page.waitForFunction(() => window.probe.taken.length >= 30);
    await held.node.kill();
    held.node = await held.node.again();
    // The new process has a certificate of its own: a page that pins it goes on with another client.
    await follow(page, held.node, { transport, channel });
    await publishing;
    await page.waitForFunction(() => window.probe.taken.at(-1) === 60);
    assert.deepEqual(await page.evaluate(() => window.probe.taken), [...first, ...Array.from({ length: 40 }, (_, index) => index + 21)]);
    const { gaps, chainBreaks, transport: used } = await page.evaluate(() => ({ ...window.probe.client.stats }));
    assert.deepEqual({ gaps, chainBreaks, used }, { gaps: 0, chainBreaks: 0, used: transport });
    await close();
  });
}

/** Follows `channel` in the page from the cursor that an earlier client left. */
async function follow(page, node, { transport, channel }) {
  await page.evaluate(
    async ({ url, token, hash, transport, channel }) => {
      const { MeridianClient } = await import('/meridian.js');
      const past = window.probe ?? { taken: [] };
      const cursor = past.subscription?.cursor;
      past.client?.close();
      const client = new MeridianClient({ url, token, transport, serverCertificateHashes: [hash], reconnect: { baseMs: 100, capMs: 500 } });
      const subscription = client.subscribe(channel, {
        from: cursor === undefined ? 'now' : { cursor },
        onEvent: (event) => past.taken.push(event.data.n),
      });
      window.probe = Object.assign(past, { client, subscription });
      client.connect();
    },
    { url: node.client, token: node.token, hash: node.certificateHash, transport, channel },
  );
  await page.waitForFunction(() => window.probe.subscription.state === 'subscribed');
}
