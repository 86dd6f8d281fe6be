// Owns the page: starts it, and hands what the connection says to the parts that show it. Decides
// which incidents are told; everything else is decided elsewhere.

import { Board } from './board.js';
import { Channel } from './channel.js';
import { Cut, sentence } from './cut.js';
import { Incidents } from './incidents.js';
import { failRegion, fetchInfo, fetchRegions } from './info.js';
import { Link } from './link.js';
import { Panel } from './panel.js';
import { Regions } from './regions.js';
import { Samples } from './samples.js';
import { faultText, TRANSPORTS } from './words.js';

const BOARD_LAST = 80;
const DEFAULT_CHANNEL = 'demo:hello';

const at = (id) => document.getElementById(id);
const incidents = new Incidents(at('incidents'));
const samples = new Samples();
const perChannel = new Map();
/** Since when each channel's events come as they happen. */
const liveSince = new Map();
const openedAt = Date.now();
const stats = { cuts: [], gaps: [], transport: null, events: 0 };

let link;
let panel;
let view;
let cut = null;
let fault = null;
let lastTransport = null;

start();

async function start() {
  const info = await firstInfo();
  at('waiting').hidden = true;
  at('page').hidden = false;
  link = new Link(info, { event, gap, fault: faulted, state, subscribed, ended, renewed, region });
  panel = new Panel();
  window.__meridian = {
    get client() {
      return link.client;
    },
    stats,
  };
  view = info.demo === 'flights' ? boardView() : channelView();
  for (const input of document.querySelectorAll('input[name=transport]')) {
    input.addEventListener('change', () => force(input.value));
  }
  at('cut').addEventListener('click', startCut);
  at('fail').hidden = !info.canFail;
  at('fail').addEventListener('click', fail);
  link.start();
  state();
  setInterval(everySecond, 1_000);
  setInterval(showCursors, 400);
  if (info.nodes) void showRegions(new Regions(at('regions')));
}

/** One question at a time, a second apart: a server that is slow is not asked more. */
async function showRegions(regions) {
  for (;;) {
    const told = await fetchRegions().catch(() => null);
    regions.show(told, link.client?.state === 'connected' ? link.client.session : null);
    await new Promise((resolve) => setTimeout(resolve, 1_000));
  }
}

/** The page may be open before its server is, or after. */
async function firstInfo() {
  for (;;) {
    try {
      return await fetchInfo();
    } catch (error) {
      at('waiting').hidden = false;
      at('waiting-why').textContent = `${error.message}.`;
      await new Promise((resolve) => setTimeout(resolve, 2_000));
    }
  }
}

function boardView() {
  at('board').hidden = false;
  const board = new Board(at('board'));
  for (const channel of board.channels) link.follow(channel, BOARD_LAST);
  return { take: (taken) => board.take(taken), forget: (channel) => board.forget(channel), ended: () => {}, renewed: () => {} };
}

function channelView() {
  at('channel').hidden = false;
  const channel = new Channel(link, (text, tone) => incidents.add(text, tone));
  channel.follow(DEFAULT_CHANNEL);
  return { take: (taken) => channel.take(taken), forget: () => {}, ended: (error) => channel.ended(error), renewed: () => channel.command() };
}

function event(taken) {
  const now = Date.now();
  stats.events += 1;
  perChannel.set(taken.channel, (perChannel.get(taken.channel) ?? 0) + 1);
  // What was there before the page was is no traffic of its time.
  const live = taken.time >= (liveSince.get(taken.channel) ?? Infinity);
  if (taken.time >= openedAt) samples.add(now, live ? Math.max(0, now - taken.time) : null);
  cut?.take(taken, now);
  view.take(taken);
}

function subscribed(channel) {
  liveSince.set(channel, Date.now());
}

function gap({ channel, reason }) {
  stats.gaps.push({ channel, reason });
  if (stats.gaps.length > 100) stats.gaps.shift();
  incidents.add(`Gap on ${channel}: what lay before is gone (${reason}).`, 'bad');
  view.forget(channel);
}

function faulted(error) {
  if (error.code === 'closed') return;
  fault = error;
  const held = cut && !cut.back;
  if (!held) incidents.add(faultText(error, { mode: link.mode, url: link.info.url }), 'bad');
  state();
}

function ended(channel, error, afresh) {
  const then = afresh ? 'Starts it afresh.' : '';
  incidents.add(`${channel}: ${faultText(error)} ${then}`.trim(), 'bad');
  if (afresh) view.forget(channel);
  else {
    link.unfollow(channel);
    perChannel.delete(channel);
    liveSince.delete(channel);
    view.ended(error);
  }
}

const MOVES = { failure: 'the node before does not answer', home: 'its own region is back', redirect: 'the server said so' };

function region({ region, reason }) {
  if (reason !== 'start') incidents.add(`Now in ${region}: ${MOVES[reason]}.`, 'good');
  state();
}

/** What a region's loss looks like: its node is gone for twenty seconds, and this page goes on elsewhere. */
async function fail() {
  try {
    await failRegion();
    incidents.add('The page’s own region fails for twenty seconds.');
  } catch (error) {
    incidents.add(`The region could not be made to fail: ${error.message}.`, 'bad');
  }
}

function renewed() {
  incidents.add('The server was started anew and has another certificate.');
  view.renewed();
}

function state() {
  if (!panel || !link.client) return;
  const { client } = link;
  const now = Date.now();
  cut?.state(client.state, now);
  if (client.state === 'connected') fault = null;
  const transport = client.transport;
  if (transport !== lastTransport) {
    lastTransport = transport;
    stats.transport = transport;
    if (transport) incidents.add(`Connected by ${TRANSPORTS[transport].name}.`, 'good');
  }
  if (cut?.back && !cut.judging) void judge(cut);
  show();
}

function show() {
  const cutForMs = cut && !cut.back ? cut.until - Date.now() : 0;
  panel.connection({
    state: link.client.state,
    transport: link.client.transport,
    info: link.client.session,
    serverAnswers: link.serverAnswers,
    mode: link.mode,
    url: link.url,
    fault,
    cutForMs,
  });
  const button = at('cut');
  const label = cutForMs > 0 ? `Back in ${Math.ceil(cutForMs / 1_000)} s` : cut ? 'Checking…' : 'Cut the connection for 10 s';
  if (button.textContent !== label) button.textContent = label;
  button.setAttribute('aria-disabled', String(cut !== null || link.client.state !== 'connected'));
  panel.counters(link.counters);
}

function everySecond() {
  const now = Date.now();
  panel.meters(samples.series(now), samples.latest(now));
  show();
}

function showCursors() {
  if (document.hidden) return;
  panel.cursors(link.channels.map((name) => ({ name, cursor: link.cursor(name), events: perChannel.get(name) ?? 0 })));
}

function force(mode) {
  if (cut) drop('The cut was ended by the change of transport.');
  incidents.add(mode === 'auto' ? 'Transport left to the race.' : `Transport forced: ${TRANSPORTS[mode].name}.`);
  link.setTransport(mode);
}

function startCut() {
  if (cut || link.client.state !== 'connected') return;
  incidents.add('Connection cut for 10 s.');
  cut = new Cut(link);
  state();
}

async function judge(judged) {
  judged.judging = true;
  try {
    const found = await judged.verdict();
    if (judged !== cut) return;
    stats.cuts.push(found);
    if (stats.cuts.length > 20) stats.cuts.shift();
    const whole = found.missing === 0 && found.duplicated === 0 && !found.gone;
    incidents.add(sentence(found), whole ? 'good' : 'bad');
  } catch (error) {
    if (judged === cut) incidents.add(`The check could not be made: ${error.message}`, 'bad');
  }
  if (judged === cut) drop(null);
}

function drop(why) {
  cut = null;
  if (why) incidents.add(why);
  show();
}
