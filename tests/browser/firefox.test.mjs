// The SDK in Debian's stock Firefox, by WebDriver BiDi: WebSocket has to work, and so have event streams and long
// polls; of WebTransport the test reports how far it goes.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import puppeteer from 'puppeteer-core';
import { Node, PATIENCE_MS, until } from './support.mjs';

const FIREFOX = process.env.FIREFOX ?? '/usr/bin/firefox-esr';

let browser;
let node;

before(async () => {
  node = await Node.start();
  browser = await puppeteer.launch({ browser: 'firefox', executablePath: FIREFOX, headless: true, timeout: PATIENCE_MS });
});

after(async () => {
  await browser?.close();
  await node?.stop();
});

async function openPage(t) {
  const page = await browser.newPage();
  t.after(() => page.close());
  page.setDefaultTimeout(PATIENCE_MS);
  await page.goto(`${node.admin}/meridian.js`);
  return page;
}

for (const transport of ['websocket', 'sse', 'longpoll']) {
  test(`Firefox over ${transport}: follows, publishes, and goes on after a cut`, async (t) => {
    const page = await openPage(t);
    const channel = `demo:firefox-${transport}`;
    await follow(page, { transport, channel });
    await page.waitForFunction(() => window.probe.subscription.state === 'subscribed');
    const cursor = await page.evaluate(async (channel) => (await window.probe.client.publish(channel, { n: 1 })).cursor, channel);
    assert.match(cursor, /^1\.global\./);
    await page.evaluate(() => window.probe.client.interrupt(200));
    for (let n = 2; n <= 10; n += 1) await until(() => node.publish(channel, `n-${n}`, { n }), `publish ${n}`);
    await page.waitForFunction(() => window.probe.taken.length >= 10);
    const found = await page.evaluate(() => {
      const { taken, client } = window.probe;
      return { taken, transport: client.transport, connects: client.stats.connects, gaps: client.stats.gaps };
    });
    assert.deepEqual(found, { taken: Array.from({ length: 10 }, (_, index) => index + 1), transport, connects: 2, gaps: 0 });
  });
}

test('Firefox over WebTransport: how far it goes', async (t) => {
  const page = await openPage(t);
  const channel = 'demo:firefox-webtransport';
  const steps = await page.evaluate(() => ({ constructor: typeof WebTransport }));
  if (steps.constructor === 'function') {
    await follow(page, { transport: 'webtransport', channel });
    const settled = () => window.probe.subscription.state === 'subscribed' || window.probe.errors.length > 0;
    await page.waitForFunction(settled);
    Object.assign(steps, await page.evaluate(() => ({ state: window.probe.subscription.state, errors: window.probe.errors })));
    if (steps.state === 'subscribed') {
      await until(() => node.publish(channel, 'one', { n: 1 }), 'a publish');
      steps.event = await page.waitForFunction(() => window.probe.taken.length === 1, { timeout: 10_000 }).then(() => true, () => false);
    }
  }
  t.diagnostic(`${await browser.version()}: ${JSON.stringify(steps)}`);
  // Whatever becomes of it, left to itself the client gets through.
  await follow(page, { transport: 'auto', channel: 'demo:firefox-auto' });
  await page.waitForFunction(() => window.probe.subscription.state === 'subscribed');
  t.diagnostic(`left to itself: ${await page.evaluate(() => window.probe.client.transport)}`);
});

async function follow(page, { transport, channel }) {
  const { client: url, token, certificateHash: hash } = node;
  await page.evaluate(
    async ({ url, token, hash, transport, channel }) => {
      const { MeridianClient } = await import('/meridian.js');
      const options = { url, token, transport, serverCertificateHashes: [hash], reconnect: { baseMs: 100, capMs: 500 } };
      const client = new MeridianClient(options);
      const probe = { client, taken: [], errors: [] };
      client.on('error', (error) => probe.errors.push(`${error.code}: ${error.message}`));
      probe.subscription = client.subscribe(channel, { onEvent: (event) => probe.taken.push(event.data.n) });
      window.probe?.client.close();
      window.probe = probe;
      client.connect();
    },
    { url, token, hash, transport, channel },
  );
}
