// Owns positions: their order, their cursor text, and the chain rule that proves completeness.
// Never takes a cursor apart: cursors are only composed as `stream + "." + offset`.

/** The last place passed in a channel. It orders by epoch, then offset. */
export interface Position {
  readonly stream: string;
  readonly epoch: number;
  readonly offset: number;
}

/** An event's predecessor on its channel, as the server names it. */
export type Prev = number | readonly [epoch: number, offset: number] | null | 'unknown';

/** What to do with an event: take it, drop it as one that we have, or ask for what is missing. */
export type Verdict = 'accept' | 'duplicate' | 'broken';

export function cursorOf(position: Position): string {
  return `${position.stream}.${position.offset}`;
}

/** Negative if (epoch, offset) `a` is before `b`, zero if equal. */
export function compare(
  a: { epoch: number; offset: number },
  b: { epoch: number; offset: number },
): number {
  return a.epoch === b.epoch ? a.offset - b.offset : a.epoch - b.epoch;
}

/**
 * The chain rule of docs/protocol.md: a client at `p` accepts `e` iff `e.prev <= p < e.offset`.
 * `prev` need not equal any event's offset: positions that are no event of the channel are normal.
 */
export function judge(p: Position, epoch: number, offset: number, prev: Prev): Verdict {
  if (compare({ epoch, offset }, p) <= 0) return 'duplicate';
  if (prev === 'unknown') return 'broken';
  if (prev === null) return 'accept';
  const before = typeof prev === 'number' ? { epoch, offset: prev } : { epoch: prev[0], offset: prev[1] };
  return compare(before, p) <= 0 ? 'accept' : 'broken';
}
