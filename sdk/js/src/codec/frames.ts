// Owns length-prefixed frames on byte streams: a QUIC variable-length integer (RFC 9000, section
// 16), then that many bytes. Never looks into a frame.

import { badFrame } from '../errors.js';

/** Longest frame that is taken from a peer, in bytes. */
export const MAX_FRAME_BYTES = 64 * 1024 * 1024;

const MAX_VARINT = 2 ** 62;

/** Bytes that `value` takes as a variable-length integer. */
export function varintLength(value: number): 1 | 2 | 4 | 8 {
  if (value < 0x40) return 1;
  if (value < 0x4000) return 2;
  return value < 0x40000000 ? 4 : 8;
}

export function encodeVarint(value: number): Uint8Array {
  if (!Number.isSafeInteger(value) || value < 0 || value >= MAX_VARINT) {
    throw new RangeError(`not a variable-length integer: ${value}`);
  }
  const length = varintLength(value);
  const bytes = new Uint8Array(length);
  let rest = value;
  for (let i = length - 1; i >= 0; i--) {
    bytes[i] = rest % 256;
    rest = Math.floor(rest / 256);
  }
  bytes[0] = (bytes[0] ?? 0) | (Math.log2(length) << 6);
  return bytes;
}

/** Puts the length in front of a frame's bytes. */
export function prefixed(frame: Uint8Array): Uint8Array {
  const head = encodeVarint(frame.length);
  const out = new Uint8Array(head.length + frame.length);
  out.set(head);
  out.set(frame, head.length);
  return out;
}

/** Cuts a byte stream, in chunks of any size, into frames. */
export class FrameReader {
  readonly #maxBytes: number;
  #chunks: Uint8Array[] = [];
  #held = 0;
  #wanted: number | null = null;

  constructor(maxBytes: number = MAX_FRAME_BYTES) {
    this.#maxBytes = maxBytes;
  }

  /** Whether the stream stands between two frames. */
  get atBoundary(): boolean {
    return this.#held === 0 && this.#wanted === null;
  }

  /** Takes the next bytes and answers the frames they complete. Throws `bad_frame` on a frame too long. */
  push(chunk: Uint8Array): Uint8Array[] {
    if (chunk.length > 0) {
      this.#chunks.push(chunk);
      this.#held += chunk.length;
    }
    const frames: Uint8Array[] = [];
    for (;;) {
      this.#wanted ??= this.#length();
      if (this.#wanted === null || this.#held < this.#wanted) return frames;
      frames.push(this.#take(this.#wanted));
      this.#wanted = null;
    }
  }

  #length(): number | null {
    const first = this.#chunks[0]?.[0];
    if (first === undefined) return null;
    const size = 1 << (first >> 6);
    if (this.#held < size) return null;
    const bytes = this.#take(size);
    let value = (bytes[0] ?? 0) & 0x3f;
    for (let i = 1; i < size; i++) value = value * 256 + (bytes[i] ?? 0);
    if (value > this.#maxBytes) throw badFrame(`a frame of ${value} bytes is too long`);
    return value;
  }

  #take(size: number): Uint8Array {
    const out = new Uint8Array(size);
    let filled = 0;
    let used = 0;
    while (filled < size) {
      const chunk = this.#chunks[used] as Uint8Array;
      const part = Math.min(chunk.length, size - filled);
      out.set(part === chunk.length ? chunk : chunk.subarray(0, part), filled);
      filled += part;
      if (part === chunk.length) used += 1;
      else this.#chunks[used] = chunk.subarray(part);
    }
    if (used > 0) this.#chunks.splice(0, used);
    this.#held -= size;
    return out;
  }
}
