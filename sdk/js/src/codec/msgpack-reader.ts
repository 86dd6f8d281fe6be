// Owns reading MessagePack values. Never reads past the frame, never recurses past the depth limit,
// and throws `bad_frame` and nothing else.

import { badFrame } from '../errors.js';

const MAX_DEPTH = 192;
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export class MsgpackReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get atEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  value(depth: number): unknown {
    if (depth > MAX_DEPTH) throw badFrame('nested too deep');
    const tag = this.#uint(1);
    if (tag < 0x80) return tag;
    if (tag < 0x90) return this.#map(tag & 0x0f, depth);
    if (tag < 0xa0) return this.#array(tag & 0x0f, depth);
    if (tag < 0xc0) return this.#string(tag & 0x1f);
    if (tag >= 0xe0) return tag - 0x100;
    if (tag >= 0xd9) return this.#sized(tag, depth);
    return this.#scalar(tag);
  }

  #scalar(tag: number): unknown {
    switch (tag) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: return this.#take(this.#uint(1)).slice();
      case 0xc5: return this.#take(this.#uint(2)).slice();
      case 0xc6: return this.#take(this.#uint(4)).slice();
      case 0xca: return this.#view.getFloat32(this.#advance(4));
      case 0xcb: return this.#view.getFloat64(this.#advance(8));
      case 0xcc: return this.#uint(1);
      case 0xcd: return this.#uint(2);
      case 0xce: return this.#uint(4);
      case 0xcf: return Number(this.#view.getBigUint64(this.#advance(8)));
      case 0xd0: return this.#view.getInt8(this.#advance(1));
      case 0xd1: return this.#view.getInt16(this.#advance(2));
      case 0xd2: return this.#view.getInt32(this.#advance(4));
      case 0xd3: return Number(this.#view.getBigInt64(this.#advance(8)));
      default: throw badFrame(`MessagePack type 0x${tag.toString(16)} is not part of the protocol`);
    }
  }

  #sized(tag: number, depth: number): unknown {
    switch (tag) {
      case 0xd9: return this.#string(this.#uint(1));
      case 0xda: return this.#string(this.#uint(2));
      case 0xdb: return this.#string(this.#uint(4));
      case 0xdc: return this.#array(this.#uint(2), depth);
      case 0xdd: return this.#array(this.#uint(4), depth);
      case 0xde: return this.#map(this.#uint(2), depth);
      default: return this.#map(this.#uint(4), depth);
    }
  }

  #array(length: number, depth: number): unknown[] {
    this.#holds(length);
    const out: unknown[] = [];
    for (let i = 0; i < length; i++) out.push(this.value(depth + 1));
    return out;
  }

  #map(length: number, depth: number): Record<string, unknown> {
    this.#holds(2 * length);
    const out: Record<string, unknown> = {};
    for (let i = 0; i < length; i++) {
      const key = this.value(depth + 1);
      if (typeof key !== 'string') throw badFrame('a map key that is no string');
      const value = this.value(depth + 1);
      if (key === '__proto__') Object.defineProperty(out, key, { value, enumerable: true, configurable: true, writable: true });
      else out[key] = value;
    }
    return out;
  }

  #string(length: number): string {
    try {
      return decoder.decode(this.#take(length));
    } catch (error) {
      throw error instanceof TypeError ? badFrame('a string that is not UTF-8') : error;
    }
  }

  #uint(size: 1 | 2 | 4): number {
    const at = this.#advance(size);
    if (size === 1) return this.#view.getUint8(at);
    return size === 2 ? this.#view.getUint16(at) : this.#view.getUint32(at);
  }

  #take(length: number): Uint8Array {
    const at = this.#advance(length);
    return this.#bytes.subarray(at, at + length);
  }

  #holds(values: number): void {
    if (values > this.#bytes.length - this.#at) throw badFrame('a length beyond the frame');
  }

  #advance(length: number): number {
    const at = this.#at;
    if (length > this.#bytes.length - at) throw badFrame('a value cut short');
    this.#at = at + length;
    return at;
  }
}
