// A token that ends while its page lives: with a callback nobody notices, without one the page is told.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch, Node, open, until } from './support.mjs';

let browser;
let node;

before(async () => {
  // Expired is expired: no leeway for clocks that differ, there is only one.
  node = await Node.start({ settings: { MERIDIAN__AUTH__LEEWAY_S: '0' } });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await node?.stop();
});

for (const transport of ['webtransport', 'websocket']) {
  test(`over ${transport} a callback renews the token while the session goes on`, async (t) => {
    const { page, problems, close } = await opened(t);
    await page.exposeFunction('freshToken', () => node.mint('8s'));
    const publishing = publishOn(`demo:renewed-${transport}`);
    await page.evaluate(follow, { url: node.client, hash: node.certificateHash, transport, channel: publishing.channel });
    await publishing.began(page);
    // A second renewal, each after half of a lifetime: the session has outlived its first token.
    await page.waitForFunction(() => window.probe.asked >= 3);
    await publishing.complete(page);
    assert.equal(await page.evaluate(() => window.probe.client.stats.connects), 1);
    assert.deepEqual(await page.evaluate(() => window.probe.faults), []);
    assert.deepEqual(problems, []);
    await close();
  });

  test(`over ${transport} a callback that comes too late costs the session, and no event`, async (t) => {
    const { page, close } = await opened(t);
    let connected = () => {};
    const tooLate = new Promise((resolve) => (connected = resolve));
    let asked = 0;
    await page.exposeFunction('freshToken', async () => {
      asked += 1;
      if (asked === 1) return node.mint('4s');
      await tooLate;
      return node.mint('1h');
    });
    const publishing = publishOn(`demo:late-${transport}`);
    await page.evaluate(follow, { url: node.client, hash: node.certificateHash, transport, channel: publishing.channel });
    await publishing.began(page);
    await page.waitForFunction(() => window.probe.client.state !== 'connected');
    connected();
    await page.waitForFunction(() => window.probe.client.stats.connects === 2);
    await publishing.complete(page);
    assert.deepEqual(await page.evaluate(() => window.probe.faults), ['token_expired refresh']);
    await close();
  });

  test(`over ${transport} a token given as text ends with an error that says to stop`, async (t) => {
    const { page, close } = await opened(t);
    const channel = `demo:text-${transport}`;
    const token = await node.mint('3s');
    await page.evaluate(follow, { url: node.client, token, hash: node.certificateHash, transport, channel });
    await page.getByRole('alert').getByText('token_expired stop').waitFor();
    const found = await page.evaluate(async () => {
      const { client, subscription, faults } = window.probe;
      const refused = await client.publish(subscription.channel, 1).catch(({ code, action }) => `${code} ${action}`);
      return { state: client.state, connects: client.stats.connects, refused, faults };
    });
    assert.deepEqual(found, { state: 'stopped', connects: 1, refused: 'token_expired stop', faults: ['token_expired refresh'] });
    // With a token that is good the same channel goes on from where it stood.
    await until(() => node.publish(channel, 'meanwhile', { n: 1 }), 'a publish');
    await page.evaluate(follow, { url: node.client, token: node.token, hash: node.certificateHash, transport, channel });
    await page.waitForFunction(() => window.probe.taken.length === 1);
    assert.deepEqual(await page.evaluate(() => window.probe.taken), [1]);
    await close();
  });
}

async function opened(t) {
  const page = await open(browser, `${node.admin}/`);
  t.after(() => page.close());
  return page;
}

/** Publishes without a break until the page is to have everything. */
function publishOn(channel) {
  let last = 0;
  let over = false;
  let publishing = null;
  const run = async () => {
    while (!over) {
      last += 1;
      await until(() => node.publish(channel, `n-${last}`, { n: last }), `publish ${last}`);
    }
  };
  return {
    channel,
    async began(page) {
      await page.waitForFunction(() => window.probe.subscription.state === 'subscribed');
      publishing = run();
      await page.waitForFunction(() => window.probe.taken.length > 0);
    },
    async complete(page) {
      const held = await page.evaluate(() => window.probe.taken.length);
      await page.waitForFunction((held) => window.probe.taken.length > held + 5, held);
      over = true;
      await publishing;
      await page.waitForFunction((last) => window.probe.taken.at(-1) === last, last);
      assert.deepEqual(await page.evaluate(() => window.probe.taken), Array.from({ length: last }, (_, index) => index + 1));
      const { gaps, chainBreaks } = await page.evaluate(() => ({ ...window.probe.client.stats }));
      assert.deepEqual({ gaps, chainBreaks }, { gaps: 0, chainBreaks: 0 });
    },
  };
}

/** Runs in the page: follows `channel` with the callback of the test, or with `token`, and shows why it stopped. */
async function follow({ url, hash, transport, channel, token }) {
  const { MeridianClient } = await import('/meridian.js');
  const past = window.probe;
  const probe = { asked: 0, taken: [], faults: [] };
  const callback = () => {
    probe.asked += 1;
    return window.freshToken();
  };
  probe.client = new MeridianClient({
    url, transport, token: token ?? callback, serverCertificateHashes: [hash], reconnect: { baseMs: 100, capMs: 500 },
  });
  probe.client.on('error', ({ code, action }) => probe.faults.push(`${code} ${action}`));
  probe.client.on('stopped', ({ code, action }) => {
    const alert = document.createElement('p');
    alert.role = 'alert';
    alert.textContent = `${code} ${action}`;
    document.body.append(alert);
  });
  const from = past ? { cursor: past.subscription.cursor } : 'now';
  probe.subscription = probe.client.subscribe(channel, { from, onEvent: ({ data }) => void probe.taken.push(data.n) });
  window.probe = probe;
  probe.client.connect();
}
