// Codecs and frames: what goes in comes out, and bad bytes end in one typed error.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { digestBytes, fromBase64, toBase64 } from '../src/codec/base64.js';
import { encodeVarint, FrameReader, prefixed } from '../src/codec/frames.js';
import { jsonCodec } from '../src/codec/json.js';
import { decodeMsgpack, encodeMsgpack, msgpackCodec } from '../src/codec/msgpack.js';
import { MeridianError } from '../src/errors.js';
import { readMessage } from '../src/wire.js';
import { randomFrom, seedOf } from './support/clock.js';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const bytes = (text: string) => new Uint8Array(Buffer.from(text, 'hex'));

test('variable-length integers are those of RFC 9000, appendix A.1', () => {
  assert.equal(hex(encodeVarint(37)), '25');
  assert.equal(hex(encodeVarint(15_293)), '7bbd');
  assert.equal(hex(encodeVarint(494_878_333)), '9d7f3e7d');
  assert.equal(hex(encodeVarint(2 ** 53 - 1)), 'c01fffffffffffff');
  for (const edge of [0, 63, 64, 16_383, 16_384, 2 ** 30 - 1, 2 ** 30, 2 ** 53 - 1]) {
    assert.ok([1, 2, 4, 8].includes(encodeVarint(edge).length));
  }
  assert.throws(() => encodeVarint(-1), RangeError);
  assert.throws(() => encodeVarint(2 ** 53), RangeError);
});

test('frames survive any cut of the stream', () => {
  const seed = seedOf('frame cuts');
  const random = randomFrom(seed);
  const frames = Array.from({ length: 40 }, (_, i) => Uint8Array.from({ length: [0, 1, 63, 64, 300, 20_000][i % 6] as number }, () => random() * 256));
  const stream = Buffer.concat(frames.map(prefixed));
  for (let round = 0; round < 20; round++) {
    const reader = new FrameReader();
    const got: Uint8Array[] = [];
    for (let at = 0; at < stream.length; ) {
      const size = Math.floor(random() * (round === 0 ? 3 : 5_000));
      got.push(...reader.push(new Uint8Array(stream.subarray(at, at + size))));
      at += size;
    }
    assert.deepEqual(got, frames);
    assert.ok(reader.atBoundary);
  }
});

test('a frame longer than allowed is refused before it is held', () => {
  const reader = new FrameReader(1_000);
  assert.throws(() => reader.push(encodeVarint(1_001)), { code: 'bad_frame' });
});

test('MessagePack known answers', () => {
  const known: [unknown, string][] = [
    [null, 'c0'], [true, 'c3'], [false, 'c2'], [0, '00'], [127, '7f'], [128, 'cc80'], [256, 'cd0100'],
    [65_536, 'ce00010000'], [2 ** 32, 'cf0000000100000000'], [-1, 'ff'], [-32, 'e0'], [-33, 'd2ffffffdf'],
    [-(2 ** 40), 'd3ffffff0000000000'], [1.5, 'cb3ff8000000000000'], ['', 'a0'], ['é', 'a2c3a9'],
    [[1, 2], '920102'], [{ a: 1 }, '81a16101'], [new Uint8Array([1, 2]), 'c4020102'],
  ];
  for (const [value, expected] of known) {
    assert.equal(hex(encodeMsgpack(value)), expected);
    assert.deepEqual(decodeMsgpack(bytes(expected)), value);
  }
  const others: [string, unknown][] = [
    ['d0df', -33], ['d1ff00', -256], ['ca3fc00000', 1.5], ['d901' + '61', 'a'], ['da0001' + '61', 'a'], ['db00000001' + '61', 'a'],
    ['dc0001' + '01', [1]], ['dd00000001' + '01', [1]], ['de0001' + 'a161' + '01', { a: 1 }], ['df00000001' + 'a161' + '01', { a: 1 }],
  ];
  for (const [text, value] of others) assert.deepEqual(decodeMsgpack(bytes(text)), value);
});

test('MessagePack refuses what is no part of the protocol', () => {
  const bad = ['', 'c1', 'd40101', 'a3' + '6161', '8101' + '01', 'dd7fffffff', 'df7fffffff', 'c6ffffffff', 'a2c328', '0101', '91'.repeat(400)];
  for (const text of bad) assert.throws(() => decodeMsgpack(bytes(text)), { code: 'bad_frame' }, text);
});

test('both codecs keep random values, alone and joined', () => {
  const random = randomFrom(seedOf('codec round trip'));
  for (let round = 0; round < 300; round++) {
    const values = Array.from({ length: 1 + Math.floor(random() * 4) }, () => ({ v: randomValue(random, 4) }));
    for (const codec of [jsonCodec, msgpackCodec]) {
      const parts = values.map((value) => codec.encode(value));
      assert.deepEqual(codec.decode(codec.join(parts)), values);
    }
  }
});

test('a member named __proto__ stays a member', () => {
  const value = JSON.parse('{"__proto__":{"a":1}}') as object;
  const decoded = decodeMsgpack(encodeMsgpack(value)) as object;
  assert.deepEqual(Object.keys(decoded), ['__proto__']);
  assert.equal((decoded as { a?: number }).a, undefined);
});

test('random bytes end in a typed error or a value, in every decoder', () => {
  const random = randomFrom(seedOf('decoder fuzz'));
  const seeds = [msgpackCodec, jsonCodec].map((codec) => codec.encode({ events: { channel: 'a:b', stream: '1.g.1.1', epoch: 1, events: [{ offset: 1, prev: [1, 0], time: 3, data: 1 }] } }).data);
  for (let round = 0; round < 4_000; round++) {
    const noise = mutated(random, seeds[round % 2] as string | Uint8Array);
    for (const codec of [jsonCodec, msgpackCodec]) typedOrFine(() => codec.decode(noise).map(readMessage));
    typedOrFine(() => new FrameReader(100_000).push(noise));
    typedOrFine(() => readMessage(randomMessage(random)));
  }
});

test('base64 and digests', () => {
  const random = randomFrom(7);
  for (let size = 0; size < 70; size++) {
    const value = Uint8Array.from({ length: size }, () => random() * 256);
    assert.equal(toBase64(value), Buffer.from(value).toString('base64'));
    assert.deepEqual(fromBase64(toBase64(value)), value);
  }
  const digest = Uint8Array.from({ length: 32 }, (_, i) => 250 - i);
  const text = Buffer.from(digest).toString('hex');
  for (const form of [text, text.toUpperCase(), text.match(/../g)?.join(':') ?? '', Buffer.from(digest).toString('base64'), Buffer.from(digest).toString('base64url')]) {
    assert.deepEqual(digestBytes(form), digest);
  }
  assert.throws(() => fromBase64('%%%'), { code: 'bad_frame' });
});

function typedOrFine(run: () => unknown): void {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof MeridianError, String(error));
  }
}

function mutated(random: () => number, seed: string | Uint8Array): Uint8Array {
  const base = typeof seed === 'string' ? new TextEncoder().encode(seed) : seed.slice();
  if (random() < 0.3) return Uint8Array.from({ length: random() * 60 }, () => random() * 256);
  for (let i = 0; i < 1 + random() * 4; i++) base[Math.floor(random() * base.length)] = random() * 256;
  return random() < 0.3 ? base.subarray(0, random() * base.length) : base;
}

function randomValue(random: () => number, depth: number): unknown {
  const roll = Math.floor(random() * (depth > 0 ? 8 : 6));
  if (roll === 0) return null;
  if (roll === 1) return random() < 0.5;
  if (roll === 2) return Math.floor((random() - 0.5) * 2 ** (random() * 53));
  if (roll === 3) return random() * 1e9;
  if (roll < 6) return 'aé\u{1f600}\ufeff"\\'.repeat(random() * 12);
  const items = Array.from({ length: random() * 20 }, () => randomValue(random, depth - 1));
  return roll === 6 ? items : Object.fromEntries(items.map((item, i) => [`k${i}`, item]));
}

function randomMessage(random: () => number): unknown {
  const names = ['connected', 'subscribed', 'unsubscribed', 'events', 'gap', 'skipped', 'history', 'published', 'published_batch', 'error', 'drain', 'ping'];
  const members = ['channel', 'code', 'stream', 'epoch', 'offset', 'events', 'reason', 'count', 'results', 'id', 'limits', 'gone', 'message'];
  const body = Object.fromEntries(members.filter(() => random() < 0.6).map((name) => [name, random() < 0.5 ? `x${name}` : randomValue(random, 2)]));
  return { id: random() < 0.5 ? 1 : 'x', [names[Math.floor(random() * names.length)] as string]: body };
}
