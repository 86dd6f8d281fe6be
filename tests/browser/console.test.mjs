// The console's page in a real Chromium, with the flights demo.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch, Node, open } from './support.mjs';

let browser;
let node;

before(async () => {
  node = await Node.start({ demo: 'flights' });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await node?.stop();
});

async function board(options) {
  const opened = await open(browser, `${node.admin}/`, options);
  await opened.page.waitForSelector('tr[data-flight]');
  return opened;
}

function onTransport(page, transport) {
  return page.waitForSelector(`#transport[data-transport=${transport}]`);
}

function force(page, transport) {
  return page.locator(`input[name=transport][value=${transport}]`).check({ force: true });
}

/** What each flight on the board says now. */
function rows(page) {
  return page.$$eval('tr[data-flight]', (all) => all.map((row) => [row.dataset.flight, row.dataset.status]));
}

/** Waits until a flight that is there has another status, and one is there that was not. */
async function boardLives(page) {
  const before = await rows(page);
  await page.waitForFunction((before) => {
    const known = new Map(before);
    const now = [...document.querySelectorAll('tr[data-flight]')].map((row) => row.dataset);
    return now.some((row) => known.has(row.flight) && known.get(row.flight) !== row.status) && now.some((row) => !known.has(row.flight));
  }, before);
}

const counters = (page) => page.evaluate(() => ({ ...window.__meridian.client.stats }));

test('the page connects over WebTransport and its board lives', async () => {
  const { page, problems, close } = await board();
  await onTransport(page, 'webtransport');
  await boardLives(page);
  assert.equal(await page.textContent('#transport-name .spoken'), 'WebTransport');
  await page.waitForFunction(() => document.getElementById('p50').textContent !== '–');
  await page.waitForFunction(() => document.querySelectorAll('#cursors tr').length === 10);
  const cursors = await page.$$eval('#cursors .cursor', (cells) => cells.map((cell) => cell.textContent));
  assert.ok(cursors.every((cursor) => /^\d+\.global\.\d+\.\d+\.\d+$/.test(cursor) || cursor === '–'), cursors.join(' '));
  const { gaps, chainBreaks } = await counters(page);
  assert.deepEqual({ gaps, chainBreaks }, { gaps: 0, chainBreaks: 0 });
  assert.deepEqual(problems, []);
  await close();
});

test('a transport can be forced, and the cursors are kept', async () => {
  const { page, problems, close } = await board();
  for (const transport of ['websocket', 'webtransport']) {
    await force(page, transport);
    await onTransport(page, transport);
    await boardLives(page);
    assert.equal(await page.evaluate(() => window.__meridian.client.transport), transport);
  }
  assert.equal(await page.textContent('#gaps'), '0');
  assert.deepEqual(problems, []);
  await close();
});

for (const transport of ['webtransport', 'websocket']) {
  test(`after a cut over ${transport} nothing is missing`, async () => {
    const { page, problems, close } = await board();
    await force(page, transport);
    await onTransport(page, transport);
    await boardLives(page);
    await page.click('#cut');
    await onTransport(page, 'none');
    await page.waitForFunction(() => /^Back in \d+ s$/.test(document.getElementById('cut').textContent));
    await page.waitForFunction(() => window.__meridian.stats.cuts.length === 1);
    const [found] = await page.evaluate(() => window.__meridian.stats.cuts);
    assert.ok(found.events > 0, 'something was published meanwhile');
    assert.deepEqual([found.missing, found.duplicated, found.gone], [0, 0, false]);
    assert.match(await page.textContent('#incidents'), /Caught up: \d+ events? on 10 channels, 0 missing, 0 duplicated, in \d+ ms\./);
    const { gaps, chainBreaks } = await counters(page);
    assert.deepEqual({ gaps, chainBreaks }, { gaps: 0, chainBreaks: 0 });
    await boardLives(page);
    assert.deepEqual(problems, []);
    await close();
  });
}

test('nothing moves about while rows change', async () => {
  const { page, close } = await board();
  await onTransport(page, 'webtransport');
  await boardLives(page);
  const places = () =>
    page.$$eval('main > section, #board table, #state, .meter, .counters', (all) =>
      all.map((element) => {
        const { x, y, width, height } = element.getBoundingClientRect();
        return [element.id || element.className, x, y, width, height].join(' ');
      }),
    );
  const before = await places();
  await boardLives(page);
  assert.deepEqual(await places(), before);
  // Nor when a line gets its first letter, or loses its last.
  const [withLetters, without] = await page.evaluate(() => {
    const tops = () => [...document.querySelectorAll('#board .tiles')].map((line) => line.getBoundingClientRect().top);
    const withLetters = tops();
    for (const tile of document.querySelectorAll('#board .tiles span')) tile.textContent = '';
    return [withLetters, tops()];
  });
  assert.deepEqual(without, withLetters);
  await close();
});

test('the airport is chosen by keyboard', async () => {
  const { page, problems, close } = await board();
  await page.focus('input[name=airport][value=SFO]');
  await page.keyboard.press('ArrowRight');
  await page.waitForFunction(() => document.getElementById('origin-code').textContent === 'LAX');
  await page.waitForFunction(() => {
    const names = [...document.querySelectorAll('tr[data-flight]')].map((row) => row.dataset.flight);
    return names.length > 0 && names.every((name) => name.startsWith('LAX'));
  });
  assert.deepEqual(problems, []);
  await close();
});

for (const [width, colorScheme] of [[390, 'light'], [390, 'dark'], [820, 'dark'], [1280, 'light']]) {
  test(`nothing overflows at ${width} pixels, ${colorScheme}`, async () => {
    const { page, problems, close } = await board({ viewport: { width, height: 844 }, colorScheme });
    await onTransport(page, 'webtransport');
    await page.waitForSelector('.arrival[data-tone=late], .arrival[data-tone=good], .arrival[data-tone=fair]');
    const wide = await page.evaluate(() => ({
      page: document.documentElement.scrollWidth - window.innerWidth,
      // Tiles that stand out of the board are cut by nobody, and seen by everybody.
      board: [...document.querySelectorAll('#board td')]
        .filter((cell) => cell.getBoundingClientRect().right > document.getElementById('board').getBoundingClientRect().right)
        .length,
    }));
    assert.ok(wide.page <= 0 && wide.board === 0, JSON.stringify(wide));
    assert.deepEqual(problems, []);
    await close();
  });
}

test('motion stays away where it is unwelcome', async () => {
  const { page, problems, close } = await board({ reducedMotion: 'reduce' });
  await page.evaluate(() => {
    window.__animations = 0;
    const animate = Element.prototype.animate;
    Element.prototype.animate = function (...rest) {
      window.__animations += 1;
      return animate.apply(this, rest);
    };
  });
  await boardLives(page);
  assert.equal(await page.evaluate(() => window.__animations), 0);
  assert.deepEqual(problems, []);
  await close();
});
