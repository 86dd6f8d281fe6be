// Two regions of one process: the page's own one fails, the page goes on in the other, and comes home.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch, Node, open, startConsole } from './support.mjs';

let browser;
let node;

before(async () => {
  node = await Node.start({ demo: 'flights', regions: 2 });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await node?.stop();
});

const told = (page, text) => page.locator('#incidents').getByText(text).first().waitFor();

test('a page whose region fails goes on in the other one and comes home, and misses nothing', async () => {
  const { page, close } = await open(browser, `${node.admin}/`);
  await page.waitForSelector('tr[data-flight]');
  await page.locator('#state-detail').getByText('region region-1').waitFor();
  const events = () => page.evaluate(() => window.__meridian.client.stats.events);
  await page.click('#fail');
  await told(page, 'Now in region-2');
  const before = await events();
  await page.waitForFunction((before) => window.__meridian.client.stats.events > before + 5, before);
  if (process.env.SHOTS) await page.screenshot({ path: `${process.env.SHOTS}/region-2.png` });
  await told(page, 'Now in region-1');
  await page.locator('#state-detail').getByText('region region-1').waitFor();
  const stats = await page.evaluate(() => ({ ...window.__meridian.client.stats, moves: { ...window.__meridian.client.stats.moves } }));
  assert.deepEqual([stats.gaps, stats.chainBreaks], [0, 0], JSON.stringify(stats));
  assert.ok(stats.moves.failure >= 1 && stats.moves.home >= 1, JSON.stringify(stats.moves));
  await close();
});

test('a console beside the regions shows them, and where its page goes when one fails', async () => {
  const console = await startConsole(node);
  const fail = (at) => fetch(`${node.regions[at].admin}/ops/v1/fail`, { method: 'POST', headers: { 'x-meridian-console': '1' } });
  const { page, close } = await open(browser, console.url);
  const card = (region, rest) => page.locator(`.region[data-region=${region}]${rest}`);
  await card('region-1', '[data-state=serving][data-here=true]').waitFor();
  await card('region-2', '[data-state=serving][data-here=false]').waitFor();
  assert.equal(await page.isVisible('#fail'), false, 'this page can make nothing fail');
  await fail(0);
  await card('region-1', '[data-state=away][data-here=false]').waitFor();
  await card('region-2', '[data-here=true]').waitFor();
  await told(page, 'Now in region-2');
  assert.match(await card('region-1', ' .said').textContent(), /^No edge answers/);
  await card('region-1', '[data-state=serving][data-here=true]').waitFor();
  await close();
  await console.stop();
});

test('regions fit a phone', async () => {
  const console = await startConsole(node);
  const { page, close } = await open(browser, console.url, { viewport: { width: 360, height: 740 } });
  await page.waitForSelector('.region');
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 360);
  await close();
  await console.stop();
});

test('no other page can make a region fail', async () => {
  const response = await fetch(`${node.admin}/ops/v1/fail`, { method: 'POST' });
  assert.equal(response.status, 403);
});
