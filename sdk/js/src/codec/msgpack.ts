// Owns the MessagePack codec: as much of the format as JSON values, byte strings and integers need.
// Never trusts a length: nothing is allocated beyond what the frame holds.

import { badFrame } from '../errors.js';
import type { Codec, Encoded, Frame, Payload } from './codec.js';
import { MsgpackWriter } from './msgpack-writer.js';
import { MsgpackReader } from './msgpack-reader.js';

const encoder = new TextEncoder();

export const msgpackCodec: Codec = {
  name: 'msgpack',

  encode(message: unknown): Encoded {
    const data = encodeMsgpack(message);
    return { data, bytes: data.length };
  },

  join(messages: readonly Encoded[]): Frame {
    const first = messages[0];
    if (messages.length === 1 && first) return first.data;
    const writer = new MsgpackWriter();
    writer.arrayHeader(messages.length);
    for (const message of messages) writer.raw(message.data as Uint8Array);
    return writer.finish();
  },

  decode(frame: Frame): unknown[] {
    if (typeof frame === 'string') throw badFrame('text where MessagePack was agreed');
    const value = decodeMsgpack(frame);
    return Array.isArray(value) ? value : [value];
  },

  payload(payload: Payload, contentType: string | undefined): Record<string, unknown> {
    const of = (fallback: string | undefined, data: Uint8Array) => {
      const type = contentType ?? fallback;
      return type === undefined ? { data } : { content_type: type, data };
    };
    switch (payload.type) {
      case 'none':
        return contentType === undefined ? {} : { content_type: contentType };
      case 'json':
        return of(undefined, encoder.encode(payload.text));
      case 'text':
        return of('text/plain', encoder.encode(payload.text));
      case 'bin':
        return of('application/octet-stream', payload.bytes);
    }
  },
};

export function encodeMsgpack(value: unknown): Uint8Array {
  const writer = new MsgpackWriter();
  writer.value(value);
  return writer.finish();
}

/** The one value that `bytes` holds. Throws `bad_frame` and nothing else. */
export function decodeMsgpack(bytes: Uint8Array): unknown {
  const reader = new MsgpackReader(bytes);
  const value = reader.value(0);
  if (!reader.atEnd) throw badFrame('bytes after the value');
  return value;
}
