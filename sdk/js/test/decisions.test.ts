// The pure parts: chain rule, backoff, waking time, liveness, pacing, race and connection machine.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { backoffMs, jitterMs } from '../src/backoff.js';
import { WakingTime } from '../src/clock.js';
import { jsonCodec } from '../src/codec/json.js';
import { actionOf, closeError, MeridianError } from '../src/errors.js';
import { Liveness } from '../src/liveness.js';
import { Machine } from '../src/machine.js';
import { stallsOnWebTransport } from '../src/options.js';
import { Outbox } from '../src/outbox.js';
import { compare, cursorOf, judge } from '../src/position.js';
import { choose } from '../src/transport/choice.js';
import { linkUrl } from '../src/transport/link.js';
import { Race, type RaceAction } from '../src/transport/race.js';
import { DEFAULT_LIMITS } from '../src/wire.js';
import { randomFrom } from './support/clock.js';

const p = { stream: '1.global.2.3', epoch: 2, offset: 100 };
const lost = new MeridianError('connection_lost', 'reconnect', 'lost');

test('the chain rule', () => {
  assert.equal(judge(p, 2, 101, 100), 'accept');
  assert.equal(judge(p, 2, 150, 90), 'accept', 'a prev below a position that is no event');
  assert.equal(judge(p, 2, 150, 120), 'broken');
  assert.equal(judge(p, 2, 150, 'unknown'), 'broken');
  assert.equal(judge(p, 2, 100, 'unknown'), 'duplicate');
  assert.equal(judge(p, 2, 100, 99), 'duplicate');
  assert.equal(judge(p, 1, 5_000, 4_999), 'duplicate', 'an earlier epoch is behind, whatever its offset');
  assert.equal(judge(p, 3, 0, [2, 100]), 'accept');
  assert.equal(judge(p, 3, 0, [2, 101]), 'broken');
  assert.equal(judge(p, 3, 0, null), 'accept');
  assert.equal(judge(p, 3, 7, 3), 'broken', 'a number is an offset of the event\'s own epoch');
  assert.equal(judge({ ...p, offset: -1 }, 2, 0, null), 'accept');
  assert.ok(compare({ epoch: 1, offset: 9 }, { epoch: 2, offset: 0 }) < 0);
  assert.equal(cursorOf(p), '1.global.2.3.100');
});

test('backoff is capped, grows, and is never zero', () => {
  const policy = { baseMs: 1_000, capMs: 30_000 };
  const random = randomFrom(3);
  for (let attempt = 0; attempt < 60; attempt++) {
    const ceiling = Math.min(30_000, 1_000 * 2 ** attempt);
    const wait = backoffMs(policy, attempt, random);
    assert.ok(wait >= ceiling / 2 && wait <= ceiling, `${attempt}: ${wait}`);
  }
  assert.equal(jitterMs(0, random), 0);
});

test('waking time leaves out sleep and knows a late tick', () => {
  const time = new WakingTime(0);
  assert.deepEqual(time.tick(1_000), { awake: 1_000, late: false });
  assert.deepEqual(time.tick(601_000), { awake: 3_000, late: true });
  assert.equal(time.at(601_500), 3_500);
  assert.equal(time.at(900_000), 5_000);
  assert.deepEqual(time.tick(600_000), { awake: 3_000, late: false }, 'a clock set back counts nothing');
});

test('silence leads to a question, and only silence after it to death', () => {
  const liveness = new Liveness({ heartbeatMs: 25_000, graceMs: 5_000, answerMs: 10_000 }, 0);
  assert.equal(liveness.check(29_999, false), 'alive');
  assert.equal(liveness.check(30_000, false), 'ask');
  assert.equal(liveness.check(39_999, false), 'alive');
  liveness.heard(39_999);
  assert.equal(liveness.check(41_000, true), 'ask');
  assert.equal(liveness.check(45_000, true), 'ask', 'a second doubt asks again and keeps the deadline');
  assert.equal(liveness.check(51_000, false), 'dead');
});

for (const [commandsBurst, atOnce] of [[undefined, 50], [40, 36]] as const)
test(`the outbox keeps order, fills frames and stays below the rate, burst ${commandsBurst}`, () => {
  const outbox = new Outbox(jsonCodec, { ...DEFAULT_LIMITS, commandsPerS: 100, commandsBurst, batchEvents: 10 }, 0);
  for (let id = 0; id < 200; id++) outbox.push(jsonCodec.encode({ id }));
  const sent: unknown[] = [];
  let now = 0;
  while (outbox.size > 0) {
    const frames = outbox.take(now);
    assert.ok(frames.length <= 1, 'what may go out at once goes in one frame');
    for (const frame of frames) sent.push(...jsonCodec.decode(frame));
    if (now === 0) assert.equal(sent.length, atOnce);
    assert.ok(sent.length <= atOnce + (now / 1_000) * 90 + 1);
    const next = outbox.nextAt(now);
    if (next !== null) {
      assert.ok(next > now);
      now = next;
    }
  }
  assert.deepEqual(sent, Array.from({ length: 200 }, (_, id) => ({ id })));
  assert.ok(now < 2_000);
});

test('the outbox splits frames by bytes', () => {
  const outbox = new Outbox(jsonCodec, { ...DEFAULT_LIMITS, frameBytes: 200 }, 0);
  for (let i = 0; i < 6; i++) outbox.push(jsonCodec.encode({ text: 'x'.repeat(70) }));
  const frames = outbox.take(0) as string[];
  assert.equal(frames.length, 3);
  assert.ok(frames.every((frame) => frame.length <= 200));
  assert.ok(!outbox.fits(199));
});

test('which transports are tried, and why WebTransport is not', () => {
  const all = { mode: 'auto', usable: () => true, remembered: null, avoid: false } as const;
  const chosen = (input: object) => {
    const { order, without, shortened } = choose({ ...all, ...input });
    return [order.join(' '), without, shortened];
  };
  const only = (...names: string[]) => ({ usable: (name: string) => names.includes(name) });
  assert.deepEqual(chosen({}), ['webtransport websocket sse longpoll', undefined, false]);
  assert.deepEqual(chosen({ remembered: 'webtransport' }), ['webtransport websocket sse longpoll', undefined, false]);
  assert.deepEqual(chosen({ remembered: 'websocket' }), ['websocket sse longpoll', 'remembered', true]);
  assert.deepEqual(chosen({ remembered: 'longpoll' }), ['longpoll', 'remembered', true]);
  assert.deepEqual(chosen({ avoid: true, remembered: 'websocket' }), ['websocket sse longpoll', 'unsupported', false]);
  assert.deepEqual(chosen(only('websocket')), ['websocket', 'unsupported', false]);
  assert.deepEqual(chosen({ ...only('sse', 'longpoll'), remembered: 'websocket' }), ['sse longpoll', 'unsupported', false]);
  assert.deepEqual(chosen({ ...only('webtransport'), avoid: true }), ['webtransport', undefined, false]);
  assert.deepEqual(chosen(only()), ['webtransport', undefined, false]);
  assert.deepEqual(chosen({ mode: 'sse' }), ['sse', 'forced', false]);
  assert.deepEqual(chosen({ mode: 'webtransport', avoid: true }), ['webtransport', undefined, false]);
});

test('addresses: WebTransport is always https', () => {
  assert.equal(linkUrl('http://a.test:81', 'webtransport', 'json'), 'https://a.test:81/v1/wt?codec=json');
  assert.equal(linkUrl('http://a.test:81/', 'websocket', 'msgpack'), 'ws://a.test:81/v1/ws?codec=msgpack');
  assert.equal(linkUrl('https://a.test/base/', 'sse', 'json'), 'https://a.test/base');
  assert.equal(linkUrl('https://a.test/base/', 'websocket', 'json'), 'wss://a.test/base/v1/ws?codec=json');
});

test('WebTransport is avoided on Safari only', () => {
  assert.ok(stallsOnWebTransport('Mozilla/5.0 (Macintosh) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.4 Safari/605.1.15'));
  assert.ok(!stallsOnWebTransport('Mozilla/5.0 (X11; Linux) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36'));
  assert.ok(!stallsOnWebTransport('Mozilla/5.0 (X11; Linux; rv:153.0) Gecko/20100101 Firefox/153.0'));
});

test('close codes become typed errors', () => {
  assert.equal(closeError(4046, 'taken_over').action, 'stop');
  assert.equal(closeError(4011, '').code, 'token_expired');
  assert.equal(closeError(4011, '').action, 'refresh');
  assert.equal(closeError(4999, 'later').action, 'reconnect');
  assert.equal(closeError(1006, '').code, 'connection_lost');
  assert.equal(actionOf('constructor', 'resume'), 'resume');
});

const policy = { order: ['webtransport', 'websocket'] as const, headStartMs: 500, openMs: 10_000, answerMs: 5_000 };
const names = (actions: RaceAction[]) => actions.map((a) => ('transport' in a ? `${a.type} ${a.transport}` : a.type));

test('race: the preferred one wins within its head start', () => {
  const race = new Race(policy);
  assert.deepEqual(names(race.handle({ type: 'start' }, 0)), ['dial webtransport']);
  assert.equal(race.nextAt(), 500);
  assert.deepEqual(names(race.handle({ type: 'opened', transport: 'webtransport' }, 40)), ['greet webtransport']);
  assert.deepEqual(names(race.handle({ type: 'connected', transport: 'webtransport' }, 80)), ['won webtransport']);
  assert.equal(race.nextAt(), null);
});

test('race: the second starts after the head start or at once when the first fails', () => {
  const slow = new Race(policy);
  slow.handle({ type: 'start' }, 0);
  assert.deepEqual(names(slow.handle({ type: 'timer' }, 500)), ['dial websocket']);
  assert.deepEqual(names(slow.handle({ type: 'opened', transport: 'websocket' }, 520)), ['greet websocket']);
  assert.deepEqual(names(slow.handle({ type: 'opened', transport: 'webtransport' }, 530)), [], 'one connect at a time');
  assert.deepEqual(names(slow.handle({ type: 'connected', transport: 'websocket' }, 560)), ['won websocket', 'abandon webtransport']);
  const failing = new Race(policy);
  failing.handle({ type: 'start' }, 0);
  assert.deepEqual(names(failing.handle({ type: 'failed', transport: 'webtransport', error: lost }, 20)), ['dial websocket']);
  assert.deepEqual(names(failing.handle({ type: 'failed', transport: 'websocket', error: lost }, 30)), ['lost']);
});

test('race: no answer to connect hands over to the other and admits rivals', () => {
  const race = new Race(policy);
  race.handle({ type: 'start' }, 0);
  race.handle({ type: 'opened', transport: 'webtransport' }, 10);
  race.handle({ type: 'timer' }, 500);
  race.handle({ type: 'opened', transport: 'websocket' }, 520);
  assert.deepEqual(names(race.handle({ type: 'timer' }, 5_010)), ['abandon webtransport', 'greet websocket']);
  const [won] = race.handle({ type: 'connected', transport: 'websocket' }, 5_040);
  assert.deepEqual(won, { type: 'won', transport: 'websocket', rivals: true });
});

test('race: a word of the server ends it, the other transport would hear the same', () => {
  const race = new Race(policy);
  race.handle({ type: 'start' }, 0);
  race.handle({ type: 'timer' }, 500);
  race.handle({ type: 'opened', transport: 'websocket' }, 510);
  const error = new MeridianError('forbidden', 'stop', 'no');
  assert.deepEqual(names(race.handle({ type: 'failed', transport: 'websocket', error }, 540)), ['abandon webtransport', 'lost']);
});

test('race: a transport that is closed while it waits for its turn just drops out', () => {
  const race = new Race(policy);
  race.handle({ type: 'start' }, 0);
  race.handle({ type: 'opened', transport: 'webtransport' }, 10);
  race.handle({ type: 'timer' }, 500);
  race.handle({ type: 'opened', transport: 'websocket' }, 510);
  const error = new MeridianError('connect_timeout', 'reconnect', '');
  assert.deepEqual(names(race.handle({ type: 'failed', transport: 'websocket', error }, 3_000)), []);
  assert.deepEqual(names(race.handle({ type: 'connected', transport: 'webtransport' }, 3_100)), ['won webtransport']);
});

function machine(canRenewToken = true) {
  const settings = { backoff: { baseMs: 1_000, capMs: 30_000 }, stableMs: 10_000, returnSpreadMs: 1_000, canRenewToken };
  const it = new Machine(settings, randomFrom(5));
  const kinds = (event: Parameters<Machine['handle']>[0], now: number) =>
    it.handle(event, now).filter((action) => action.type !== 'state').map((action) => action.type);
  return { it, kinds };
}

test('machine: offline waits for online and nothing else', () => {
  const { it, kinds } = machine();
  assert.deepEqual(kinds({ type: 'start' }, 0), ['dial']);
  kinds({ type: 'dialed' }, 10);
  kinds({ type: 'offline' }, 20);
  kinds({ type: 'lost', error: lost }, 30);
  assert.equal(it.state, 'offline');
  assert.equal(it.wakeAt(), null);
  assert.deepEqual(kinds({ type: 'timer' }, 1_000_000), []);
  kinds({ type: 'online' }, 1_000_000);
  const at = it.wakeAt() as number;
  assert.ok(at >= 1_000_000 && at <= 1_001_000);
  assert.deepEqual(kinds({ type: 'timer' }, at), ['dial']);
});

test('machine: drain dials a second connection and retires the first', () => {
  const { it, kinds } = machine();
  kinds({ type: 'start' }, 0);
  kinds({ type: 'dialed' }, 10);
  kinds({ type: 'drain', afterMs: 2_300 }, 100);
  assert.equal(it.wakeAt(), 2_400);
  assert.deepEqual(kinds({ type: 'timer' }, 2_400), ['dial']);
  assert.equal(it.state, 'connected');
  assert.deepEqual(kinds({ type: 'dialed' }, 2_450), ['retire']);
});

test('machine: short-lived connections back off, stable ones start afresh', () => {
  const { it, kinds } = machine();
  let now = 0;
  kinds({ type: 'start' }, now);
  const waits: number[] = [];
  for (let i = 0; i < 6; i++) {
    kinds({ type: 'dialed' }, now);
    kinds({ type: 'lost', error: lost }, now + 100);
    waits.push((it.wakeAt() as number) - now - 100);
    now = it.wakeAt() as number;
    kinds({ type: 'timer' }, now);
  }
  assert.ok((waits[5] as number) >= 15_000, String(waits));
  kinds({ type: 'dialed' }, now);
  kinds({ type: 'lost', error: lost }, now + 20_000);
  assert.ok((it.wakeAt() as number) - now - 20_000 <= 1_000);
});

test('machine: stop stops, refresh renews until it is hopeless, retry_after is kept', () => {
  const stop = machine();
  stop.kinds({ type: 'start' }, 0);
  stop.kinds({ type: 'dialed' }, 1);
  assert.deepEqual(stop.kinds({ type: 'lost', error: new MeridianError('taken_over', 'stop', '') }, 2), ['stop']);
  assert.equal(stop.it.wakeAt(), null);
  const refused = new MeridianError('token_expired', 'refresh', '');
  const renew = machine();
  renew.kinds({ type: 'start' }, 0);
  assert.deepEqual(renew.kinds({ type: 'dial_failed', error: refused }, 1), ['renew_token']);
  renew.kinds({ type: 'timer' }, renew.it.wakeAt() as number);
  renew.kinds({ type: 'dial_failed', error: refused }, 5_000);
  renew.kinds({ type: 'timer' }, renew.it.wakeAt() as number);
  assert.deepEqual(renew.kinds({ type: 'dial_failed', error: refused }, 9_000), ['stop']);
  const text = machine(false);
  text.kinds({ type: 'start' }, 0);
  assert.deepEqual(text.kinds({ type: 'dial_failed', error: refused }, 1), ['stop']);
  const busy = machine();
  busy.kinds({ type: 'start' }, 0);
  busy.kinds({ type: 'dial_failed', error: new MeridianError('overloaded', 'retry', '', { retryAfterMs: 60_000 }) }, 0);
  assert.equal(busy.it.wakeAt(), 60_000);
  busy.kinds({ type: 'wake' }, 1_000);
  assert.equal(busy.it.wakeAt(), 60_000);
});
