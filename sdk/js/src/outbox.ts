// Owns commands on their way out: puts them into few frames, within the server's frame limit, and
// paces them below the burst and the commands a second that it takes. Never drops and never reorders.

import { JOIN_OVERHEAD_BYTES, type Codec, type Encoded, type Frame } from './codec/codec.js';
import type { Limits } from './types.js';

/** Stay below the server's measure: its clock is not ours, and pings go past this queue. */
const SHARE = 0.9;
/** The burst, in seconds at the full rate, of a server that states none. */
const UNSTATED_BURST_S = 0.5;

export class Outbox {
  readonly #codec: Codec;
  readonly #limits: Limits;
  readonly #perMs: number;
  readonly #burst: number;
  #queue: Encoded[] = [];
  #tokens: number;
  #filledAt: number;

  constructor(codec: Codec, limits: Limits, now: number) {
    this.#codec = codec;
    this.#limits = limits;
    this.#perMs = (limits.commandsPerS * SHARE) / 1_000;
    const { commandsBurst: stated } = limits;
    const burst = stated === undefined ? limits.commandsPerS * UNSTATED_BURST_S : stated * SHARE;
    this.#burst = Math.max(1, Math.floor(burst));
    this.#tokens = this.#burst;
    this.#filledAt = now;
  }

  get size(): number {
    return this.#queue.length;
  }

  /** Whether a command of `bytes` can ever be sent. */
  fits(bytes: number): boolean {
    return bytes + JOIN_OVERHEAD_BYTES <= this.#limits.frameBytes;
  }

  push(command: Encoded): void {
    this.#queue.push(command);
  }

  /** The frames that may go out at `now`. */
  take(now: number): Frame[] {
    this.#fill(now);
    const frames: Frame[] = [];
    while (this.#queue.length > 0 && this.#tokens >= 1) frames.push(this.#frame());
    return frames;
  }

  /** When the next command may go out; `null` if none waits. */
  nextAt(now: number): number | null {
    if (this.#queue.length === 0) return null;
    this.#fill(now);
    if (this.#tokens >= 1) return now;
    const few = Math.min(this.#queue.length, this.#burst, 16);
    return now + Math.ceil((few - this.#tokens) / this.#perMs);
  }

  #frame(): Frame {
    const most = Math.floor(this.#tokens);
    let bytes = JOIN_OVERHEAD_BYTES;
    let count = 0;
    for (const command of this.#queue) {
      bytes += command.bytes + 1;
      if (count > 0 && (count >= most || bytes > this.#limits.frameBytes)) break;
      count += 1;
    }
    this.#tokens -= count;
    return this.#codec.join(this.#queue.splice(0, count));
  }

  #fill(now: number): void {
    this.#tokens = Math.min(this.#burst, this.#tokens + Math.max(0, now - this.#filledAt) * this.#perMs);
    this.#filledAt = now;
  }
}
