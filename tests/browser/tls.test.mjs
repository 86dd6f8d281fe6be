// The console of a node with TLS on TCP too. Its certificate is self-made: Chromium takes it for
// WebTransport, which is given the hash, and not for WebSocket.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { launch, Node, open } from './support.mjs';

test('with TLS the page goes by the hash, catches up after a cut, and finds the next certificate', async (t) => {
  let node = await Node.start({ demo: 'flights', tls: true });
  t.after(() => node.stop());
  const browser = await launch();
  t.after(() => browser.close());
  assert.match(node.client, /^https:/);

  const { page, problems } = await open(browser, `${node.admin}/`);
  await connected(page);
  await page.waitForSelector('tr[data-flight]');
  assert.match(await page.textContent('#transport-how'), /^Chosen by race\. QUIC, UDP port \d+\.$/);
  await caughtUp(page, 1);
  // Where WebTransport is slow the race tries the other, which cannot be.
  assert.deepEqual(problems.filter((text) => !text.startsWith("WebSocket connection to 'wss:")), []);

  const { certificateHash } = node;
  const cursors = await held(page);
  await node.leave();
  await page.waitForFunction(() => document.getElementById('state-detail').textContent.includes('The server is gone.'));
  node = await node.again();
  assert.notEqual(node.certificateHash, certificateHash);
  await connected(page);
  await page.getByText('The server was started anew and has another certificate.').waitFor();
  await page.waitForFunction((before) => {
    const now = [...document.querySelectorAll('#cursors tr')].map((row) => row.children[1].textContent);
    return now.length === before.length && now.every((cursor, index) => cursor !== before[index]);
  }, cursors);
  await caughtUp(page, 2);
  assert.equal(await page.textContent('#gaps'), '0');
});

test('with TLS a forced WebSocket says what a certificate that nobody trusts needs', async (t) => {
  const node = await Node.start({ tls: true });
  t.after(() => node.stop());
  const browser = await launch();
  t.after(() => browser.close());
  const { page } = await open(browser, `${node.admin}/`);
  await connected(page);
  const force = (transport) => page.locator(`input[name=transport][value=${transport}]`).check({ force: true });
  await force('websocket');
  await page.locator('#state-detail').getByText(`open ${node.client} once.`).waitFor();
  await page.locator('#incidents').getByText(`open ${node.client} once.`).waitFor();
  await force('auto');
  await connected(page);
});

async function connected(page) {
  await page.waitForSelector('#transport[data-transport=webtransport]');
  assert.equal(await page.textContent('#transport-name .spoken'), 'WebTransport');
  await page.waitForFunction(() => document.getElementById('state-title').textContent === 'Connected');
}

function held(page) {
  return page.$$eval('#cursors tr', (rows) => rows.map((row) => row.children[1].textContent));
}

/** Cuts the connection for the `count`th time; afterwards nothing is missing. */
async function caughtUp(page, count) {
  await page.click('#cut');
  await page.waitForSelector('#transport[data-transport=none]');
  await page.waitForFunction((count) => window.__meridian.stats.cuts.length === count, count);
  const found = await page.evaluate(() => window.__meridian.stats.cuts.at(-1));
  assert.ok(found.events > 0, 'something was published meanwhile');
  assert.deepEqual([found.missing, found.duplicated, found.gone], [0, 0, false]);
  await connected(page);
}
