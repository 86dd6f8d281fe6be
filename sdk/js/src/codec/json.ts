// Owns the JSON codec: text frames, payloads as `data`, `text` or base64 `bin`.
// Never revives values: what JSON.parse gives is what the caller gets.

import { badFrame } from '../errors.js';
import { toBase64 } from './base64.js';
import type { Codec, Encoded, Frame, Payload } from './codec.js';

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export const jsonCodec: Codec = {
  name: 'json',

  encode(message: unknown): Encoded {
    const text = JSON.stringify(message);
    return { data: text, bytes: encoder.encode(text).length };
  },

  join(messages: readonly Encoded[]): Frame {
    const first = messages[0];
    if (messages.length === 1 && first) return first.data;
    return `[${messages.map((message) => message.data as string).join(',')}]`;
  },

  decode(frame: Frame): unknown[] {
    let value: unknown;
    try {
      value = JSON.parse(typeof frame === 'string' ? frame : decoder.decode(frame));
    } catch {
      throw badFrame('not valid JSON');
    }
    return Array.isArray(value) ? value : [value];
  },

  payload(payload: Payload, contentType: string | undefined): Record<string, unknown> {
    const type = contentType === undefined ? {} : { content_type: contentType };
    switch (payload.type) {
      case 'none':
        return type;
      case 'json':
        return { ...type, data: JSON.parse(payload.text) as unknown };
      case 'text':
        return { ...type, text: payload.text };
      case 'bin':
        return { ...type, bin: toBase64(payload.bytes) };
    }
  },
};
