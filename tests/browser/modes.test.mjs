// A page while an operator puts its node in `polling-only` and takes that back.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { launch, Node, open, until } from './support.mjs';

test('in polling-only a page leaves its connection, polls, and comes back without a loss', async (t) => {
  const rules = { MERIDIAN__NAMESPACES__BOARD__SUBSCRIBE: 'tenant', MERIDIAN__NAMESPACES__BOARD__PUBLISH: 'tenant' };
  const node = await Node.start({ settings: { ...rules, MERIDIAN__NAMESPACES__BOARD__POLLING_MS: '500' } });
  t.after(() => node.stop());
  const browser = await launch();
  t.after(() => browser.close());
  const operator = await node.mint('1h', '--role', 'meridian-operator');
  const put = async (mode) => {
    const answer = await fetch(`${node.admin}/ops/v1/mode`, {
      method: 'POST',
      headers: { authorization: `Bearer ${operator}`, 'content-type': 'application/json' },
      body: JSON.stringify({ mode, spread_ms: 1_000, reason: 'a test' }),
    });
    assert.equal(answer.status, 200, await answer.text());
  };
  const { page } = await open(browser, `${node.admin}/meridian.js`);
  const channel = 'board:modes';
  await page.evaluate(async ({ url, token, hash, channel }) => {
    const { MeridianClient } = await import('/meridian.js');
    const client = new MeridianClient({ url, token, serverCertificateHashes: [hash] });
    const probe = { client, taken: [], modes: [] };
    client.on('mode', ({ mode }) => probe.modes.push(mode));
    probe.subscription = client.subscribe(channel, { onEvent: (event) => probe.taken.push(event.data.n) });
    window.probe = probe;
    client.connect();
  }, { url: node.client, token: node.token, hash: node.certificateHash, channel });
  await page.waitForFunction(() => window.probe.subscription.state === 'subscribed');
  const live = await page.evaluate(() => window.probe.client.transport);
  let published = 0;
  const publish = async (count) => {
    for (let n = 0; n < count; n += 1) {
      published += 1;
      await until(() => node.publish(channel, `n-${published}`, { n: published }), `publish ${published}`);
    }
    await page.waitForFunction((n) => window.probe.taken.length >= n, published);
  };
  await publish(3);
  await put('polling-only');
  await page.waitForFunction(() => window.probe.client.transport === 'polling');
  await publish(5);
  // Sessions; the polls' own connection is kept open between them.
  const sessions = async () => {
    const metrics = await (await fetch(`${node.admin}/metrics`)).text();
    return metrics.split('\n').filter((line) => /^meridian_connections\{.*\} [1-9]/.test(line));
  };
  await until(async () => (await sessions()).length === 0, 'the node has no session left');
  published += 1;
  await page.evaluate(({ channel, n }) => window.probe.client.publish(channel, { n }), { channel, n: published });
  await publish(2);
  await put('normal');
  await page.waitForFunction((live) => window.probe.client.transport === live, live);
  await publish(3);
  const { taken, modes, gaps } = await page.evaluate(() => ({ ...window.probe, gaps: window.probe.client.stats.gaps, client: null, subscription: null }));
  assert.deepEqual(taken, Array.from({ length: published }, (_, index) => index + 1));
  assert.deepEqual([modes, gaps], [['polling-only', 'normal'], 0]);
});
