// The examples of docs/sdk-js.md, as they stand and in order: each logs what the page says.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { launch, Node, open, until } from './support.mjs';

const PAGE = new URL('../../docs/sdk-js.md', import.meta.url);

/** Examples and what each logs. */
async function examples() {
  const text = await readFile(PAGE, 'utf8');
  return [...text.matchAll(/```js\n(.*?)```\n(?:```text\n(.*?)```\n)?/gs)].map(([, code, lines = '']) => ({
    code,
    logs: lines.split('\n').filter((line) => line !== ''),
  }));
}

test('the examples of the page on the SDK do what it says', async (t) => {
  const node = await Node.start();
  t.after(() => node.stop());
  const browser = await launch();
  t.after(() => browser.close());
  const { page } = await open(browser, `${node.admin}/meridian.js`);
  const logged = [];
  page.on('console', (message) => message.type() === 'log' && logged.push(message.text()));
  const parts = await examples();
  assert.ok(parts.length >= 8, `${parts.length} examples`);
  // Each waits until the test lets it begin, so that what it logs is its own.
  const code = parts.map(({ code }, index) => `await turn(${index});\n${code}`).join('');
  assert.ok(code.includes("from '@meridian/client'"));
  const body = code.replace(/import (\{.*?\}) from '@meridian\/client';/g, "const $1 = await import('/meridian.js');");
  await page.evaluate(({ url, token, body }) => {
    window.turns = { now: -1, failed: null };
    const until = async (holds) => {
      while (!holds()) await new Promise((resolve) => setTimeout(resolve, 20));
    };
    const turn = (index) => until(() => window.turns.now >= index);
    const AsyncFunction = (async () => {}).constructor;
    const run = new AsyncFunction('url', 'fetchToken', 'until', 'turn', body);
    run(url, async () => token, until, turn).catch((error) => (window.turns.failed = String(error)));
  }, { url: node.client, token: node.token, body });
  const expected = [];
  for (const [index, { logs }] of parts.entries()) {
    expected.push(...logs);
    await page.evaluate((index) => void (window.turns.now = index), index);
    await until(async () => logged.length >= expected.length || (await page.evaluate(() => window.turns.failed)) !== null, `example ${index}`);
    assert.equal(await page.evaluate(() => window.turns.failed), null, `example ${index}`);
    assert.deepEqual(logged.slice(-logs.length).sort(), [...logs].sort(), `example ${index}`);
  }
  assert.equal(logged.length, expected.length);
});
