// Golden vectors shared with the Rust side: both codecs read the server's messages alike, and what
// this client writes is what the vectors say.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'node:test';
import { fromBase64 } from '../src/codec/base64.js';
import type { Codec, Payload } from '../src/codec/codec.js';
import { jsonCodec } from '../src/codec/json.js';
import { msgpackCodec } from '../src/codec/msgpack.js';
import { readMessage } from '../src/wire.js';

type Body = Record<string, any>;
type Vector = { name: string; direction: 'client' | 'server'; message: unknown; json: string; msgpack: string };

const folder = join(dirname(fileURLToPath(import.meta.url)), '../../../../core/tests/vectors');
const vectors = readdirSync(folder)
  .filter((name) => name.endsWith('.json'))
  .sort()
  .map((name) => JSON.parse(readFileSync(join(folder, name), 'utf8')) as Vector);

test('there are vectors for both directions', () => {
  assert.ok(vectors.some((vector) => vector.direction === 'server'));
  assert.ok(vectors.some((vector) => vector.direction === 'client'));
});

for (const vector of vectors) {
  const packed = new Uint8Array(Buffer.from(vector.msgpack, 'hex'));
  test(`vector ${vector.direction} ${vector.name}`, () => {
    if (vector.direction === 'server') {
      const fromJson = jsonCodec.decode(vector.json).map(readMessage);
      assert.deepEqual(msgpackCodec.decode(packed).map(readMessage), fromJson);
      assert.ok(fromJson.length > 0 && !fromJson.includes(null), 'every message is known');
      return;
    }
    const messages = jsonCodec.decode(vector.json) as Body[];
    assert.deepEqual(jsonCodec.decode(written(jsonCodec, messages)), messages);
    const ours = msgpackCodec.decode(written(msgpackCodec, messages)).map(comparable);
    assert.deepEqual(ours, msgpackCodec.decode(packed).map(comparable));
  });
}

function written(codec: Codec, messages: Body[]) {
  return codec.join(messages.map((message) => codec.encode(withPayloads(codec, message))));
}

/** The message as this client would make it, payloads by the codec. */
function withPayloads(codec: Codec, message: Body): Body {
  const event = ({ data, text, bin, content_type: contentType, ...rest }: Body): Body => {
    let payload: Payload = { type: 'none' };
    if (data !== undefined) payload = { type: 'json', text: JSON.stringify(data) };
    else if (text !== undefined) payload = { type: 'text', text: text as string };
    else if (bin !== undefined) payload = { type: 'bin', bytes: fromBase64(bin as string) };
    return { ...rest, ...codec.payload(payload, contentType as string | undefined) };
  };
  if (message['publish']) return { ...message, publish: event(message['publish'] as Body) };
  const batch = message['publish_batch'] as { events: Body[] } | undefined;
  return batch ? { ...message, publish_batch: { events: batch.events.map(event) } } : message;
}

/** JSON payloads by value: 2.50 and 2.5 are one number. */
function comparable(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(comparable);
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return value;
  const body = value as Body;
  const json = body['data'] instanceof Uint8Array && (body['content_type'] ?? 'application/json') === 'application/json';
  return Object.fromEntries(Object.entries(body).map(([name, member]) =>
    [name, json && name === 'data' ? JSON.parse(Buffer.from(member as Uint8Array).toString()) : comparable(member)]));
}
