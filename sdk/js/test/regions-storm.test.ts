// The decisions of a thousand clients at once: they come back spread out, and none asks too often.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MeridianError } from '../src/errors.js';
import type { RegionAction, RegionEvent } from '../src/regions/events.js';
import { Regions } from '../src/regions/regions.js';
import { readHealth } from '../src/regions/health.js';
import { randomFrom, seedOf } from './support/clock.js';

const HOME = 'https://eu';
const OTHER = 'https://us';
const lost = new MeridianError('connection_lost', 'reconnect', '');

/** One client; dials take no time and a region is down while `downUntil` lies ahead. */
class Simulated {
  readonly regions: Regions;
  readonly probedAt: number[] = [];
  readonly arrivals: { url: string; at: number }[] = [];
  readonly #random: () => number;
  #now = 0;

  constructor(random: () => number, readonly downUntil: number) {
    this.#random = random;
    const homing = { probeMs: 30_000, spreadMs: 30_000 };
    this.regions = new Regions({ urls: [HOME, OTHER], discover: false, homing }, random);
  }

  handle(event: RegionEvent): void {
    for (const action of this.regions.handle(event, this.#now)) this.#carryOut(action);
  }

  /** The connection is lost at `at`, and found elsewhere after backoffs that are spread as the machine's are. */
  fail(at: number): void {
    this.#now = at;
    this.handle({ type: 'lost', error: lost });
    for (const wait of [1_000, 2_000]) {
      this.#now += wait * (0.5 + 0.5 * this.#random());
      this.handle({ type: 'pick' });
    }
  }

  runUntil(end: number): void {
    for (let at = this.regions.wakeAt(); at !== null && at <= end; at = this.regions.wakeAt()) {
      this.#now = Math.max(this.#now, at);
      this.handle({ type: 'timer' });
    }
    this.#now = end;
  }

  #carryOut(action: RegionAction): void {
    if (action.type === 'probe') {
      for (const url of action.urls) {
        if (url === HOME) this.probedAt.push(this.#now);
        const health = this.#up(url) ? readHealth({ region: url, state: 'serving', load: 0 }, url === HOME ? 20 : 90) : null;
        this.handle({ type: 'probed', url, health });
      }
    } else if (action.type === 'move') this.handle({ type: 'pick' });
    else if (action.type === 'arrived') this.arrivals.push({ url: action.change.url, at: this.#now });
    else if (action.type === 'dial') this.handle(this.#up(action.url) ? { type: 'dialed' } : { type: 'dial_failed', error: lost });
  }

  #up(url: string): boolean {
    return url !== HOME || this.#now < DOWN_AT || this.#now >= this.downUntil;
  }
}

const DOWN_AT = 100_000;
const BACK_AT = 700_000;
const CLIENTS = 1_000;

test('a thousand clients come back home spread over the window', () => {
  const random = randomFrom(seedOf('storm'));
  const clients = Array.from({ length: CLIENTS }, () => {
    const client = new Simulated(random, BACK_AT);
    client.handle({ type: 'pick' });
    client.runUntil(DOWN_AT);
    client.fail(DOWN_AT);
    client.runUntil(BACK_AT + 300_000);
    return client;
  });
  for (const { arrivals } of clients) assert.deepEqual(arrivals.map(({ url }) => url), [HOME, OTHER, HOME]);
  const returns = clients.map(({ arrivals }) => (arrivals[2]?.at as number) - BACK_AT).sort((a, b) => a - b);
  // Two probes at most 45 s apart each, then the spread.
  assert.ok((returns.at(-1) as number) <= 90_000 + 30_000, `last after ${returns.at(-1)} ms`);
  assert.ok(spanOf(returns) >= 50_000, `nine of ten within ${spanOf(returns)} ms`);
  assert.ok(busiest(returns, 1_000) <= CLIENTS * 0.05, `${busiest(returns, 1_000)} in one second`);
  const probes = clients.flatMap(({ probedAt }) => probedAt.filter((at) => at > DOWN_AT));
  assert.ok(busiest(probes, 1_000) <= CLIENTS * 0.1, `${busiest(probes, 1_000)} probes in one second`);
  const span = 1_000 * Math.max(...probes.map((at) => at / 1_000)) - DOWN_AT;
  assert.ok(probes.length <= CLIENTS * (span / 30_000) * 1.2, `${probes.length} probes`);
});

test('a home that flaps is left alone for longer each time', () => {
  const homing = { probeMs: 1_000, spreadMs: 1_000 };
  const regions = new Regions({ urls: [HOME, OTHER], discover: false, homing }, () => 0.5);
  const well = (url: string): RegionEvent => ({ type: 'probed', url, health: readHealth({ region: '', state: 'serving' }, 10) });
  const waits: number[] = [];
  let now = 0;
  const feed = (...events: RegionEvent[]) => events.flatMap((event) => regions.handle(event, (now += 1)));
  feed({ type: 'pick' }, well(HOME), well(OTHER), { type: 'dialed' });
  for (let times = 0; times < 6; times++) {
    now += 15_000;
    feed({ type: 'lost', error: lost }, { type: 'pick' }, { type: 'dial_failed', error: lost }, { type: 'pick' });
    feed(well(OTHER), { type: 'dialed' });
    const left = now;
    for (let moved = false; !moved; ) {
      const at = regions.wakeAt();
      assert.ok(at !== null && at < left + 3_600_000, 'it plans to go back');
      now = at;
      moved = regions.handle({ type: 'timer' }, now).some((action) => action.type === 'move');
      feed(well(HOME));
    }
    waits.push(now - left);
    feed({ type: 'pick' }, { type: 'dialed' });
  }
  for (const [i, wait] of waits.slice(1).entries()) assert.ok(wait > (waits[i] as number) * 1.5 || wait > 400_000, String(waits));
});

/** The width of the middle nine tenths. */
function spanOf(sorted: readonly number[]): number {
  const at = (share: number) => sorted[Math.floor(sorted.length * share)] as number;
  return at(0.95) - at(0.05);
}

function busiest(times: readonly number[], widthMs: number): number {
  const counts = new Map<number, number>();
  for (const at of times) counts.set(Math.floor(at / widthMs), (counts.get(Math.floor(at / widthMs)) ?? 0) + 1);
  return Math.max(...counts.values());
}
