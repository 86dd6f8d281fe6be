// The SDK in a page whose streams come in any order: between lanes there is none to rely on.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { reorder } from './reorder.mjs';
import { launch, Node, open, until } from './support.mjs';

const CHANNELS = Array.from({ length: 40 }, (_, index) => `demo:lane-${index}`);
/** Published by the page on each channel, and by a service on each. */
const OWN = 18;
const OTHERS = 6;
const SEED = Number(process.env.SEED ?? Date.now() % 1_000_000_007);

let browser;
let node;

before(async () => {
  node = await Node.start();
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await node?.stop();
});

test('every channel is whole whatever the order of its lane among others', async () => {
  console.log(`# seed of the order of streams: SEED=${SEED}`);
  const { page, problems, close } = await open(browser, `${node.admin}/`);
  await page.evaluate(reorder, SEED);
  await page.evaluate(follow, { url: node.client, token: node.token, hash: node.certificateHash, channels: CHANNELS });
  await page.waitForFunction(() => window.probe.channels.every(({ subscription }) => subscription.state === 'subscribed'));
  const session = await page.evaluate(() => window.probe.client.session.session);

  await Promise.all([page.evaluate(publishAndMove, OWN), publishAsService()]);

  const stored = await page.evaluate(history);
  assert.deepEqual(stored.map((events) => events.length), CHANNELS.map(() => OWN + OTHERS));
  await page.waitForFunction((count) => window.probe.channels.every(({ taken }) => taken.length >= count), OWN + OTHERS);
  assert.deepEqual(await page.evaluate(() => window.probe.channels.map(({ taken }) => taken)), stored);

  const { gaps, chainBreaks, connects } = await page.evaluate(() => ({ ...window.probe.client.stats }));
  assert.deepEqual({ gaps, chainBreaks, connects }, { gaps: 0, chainBreaks: 0, connects: 1 });
  assert.equal(await page.evaluate(() => window.probe.client.session.session), session, 'the session lives');
  assert.equal(await page.evaluate(() => window.probe.client.transport), 'webtransport');
  assert.deepEqual(await page.evaluate(() => window.probe.faults), []);
  assert.deepEqual(problems, []);

  const told = await page.evaluate(() => window.reordered);
  console.log(`# ${JSON.stringify(told)}`);
  assert.ok(told.streams > 2, 'there were many lanes');
  assert.ok(told.streamsOvertaken > 0 && told.chunksOvertaken > 0, 'their order was another one');
  await close();
});

async function publishAsService() {
  for (let n = 1; n <= OTHERS; n += 1) {
    for (const channel of CHANNELS) await until(() => node.publish(channel, `service-${n}`, { by: 'service', n }), `publish ${n}`);
  }
}

/* The rest runs in the page. */

async function follow({ url, token, hash, channels }) {
  const { MeridianClient } = await import('/meridian.js');
  const client = new MeridianClient({ url, token, transport: 'webtransport', serverCertificateHashes: [hash] });
  const faults = [];
  client.on('error', (error) => faults.push(`${error.code} ${error.channel ?? ''}`));
  const one = (name) => {
    const channel = { name, taken: [], subscription: null, follow: null };
    channel.follow = (from) => {
      const onEvent = ({ cursor, data }) => channel.taken.push([cursor, data]);
      channel.subscription = client.subscribe(name, { from, onEvent, onGap: ({ reason }) => faults.push(`gap ${reason}`) });
    };
    channel.follow('now');
    return channel;
  };
  window.probe = { client, faults, channels: channels.map(one) };
  client.connect();
}

/** Publishes in order on every channel at once; every other channel is left and followed again meanwhile. */
async function publishAndMove(count) {
  const { client, channels } = window.probe;
  const each = async (channel, index) => {
    let cursor;
    for (let n = 1; n <= count; n += 1) {
      await client.publish(channel.name, { by: 'page', n });
      if (index % 2 === 1) continue;
      if (n === 4 || n === 12) {
        cursor = channel.subscription.cursor;
        channel.subscription.unsubscribe();
      }
      // Once after the events that come meanwhile, once at once.
      if (n === 8 || n === 12) channel.follow({ cursor });
    }
  };
  await Promise.all(channels.map(each));
}

/** What the log has of each channel. */
function history() {
  const { client, channels } = window.probe;
  const each = async ({ name }) => {
    const { events } = await client.history(name, { last: 1000 });
    return events.map(({ cursor, data }) => [cursor, data]);
  };
  return Promise.all(channels.map(each));
}
