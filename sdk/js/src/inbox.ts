// Owns what a subscription holds for its application: a bounded queue with one consumer, a callback
// or an iterator, and the point up to which the application has taken everything.
// Never talks to the server; being full is told to the caller, who reads again later.

import type { Item } from './types.js';

/** Puts an item before the application; the item is taken when it has returned or resolved. */
export type Consumer = (item: Item) => void | Promise<void>;

export interface InboxLimits {
  readonly items: number;
  readonly bytes: number;
}

type Held = { item: Item; bytes: number };
type Waiter = { resolve(result: IteratorResult<Item>): void; reject(error: unknown): void };

export class Inbox {
  readonly #limits: InboxLimits;
  readonly #taken: (item: Item) => void;
  readonly #low: () => void;
  #queue: Held[] = [];
  #bytes = 0;
  #consumer: Consumer | null = null;
  #pumping = false;
  #inHand: Item | null = null;
  #waiters: Waiter[] = [];
  #end: { error: unknown } | null = null;
  #interrupted: { error: unknown } | null = null;

  /** `taken` is told each item the application is done with, `low` when half the room is free again. */
  constructor(limits: InboxLimits, taken: (item: Item) => void, low: () => void) {
    this.#limits = limits;
    this.#taken = taken;
    this.#low = low;
  }

  /** Whether the application has taken everything that came. */
  get empty(): boolean {
    return this.#queue.length === 0 && this.#inHand === null;
  }

  hasRoom(bytes: number): boolean {
    if (this.#queue.length === 0) return true;
    return this.#queue.length < this.#limits.items && this.#bytes + bytes <= this.#limits.bytes;
  }

  push(item: Item, bytes: number): void {
    if (this.#end) return;
    const last = this.#queue.at(-1);
    if (item.type === 'skipped' && last?.item.type === 'skipped') {
      last.item = { type: 'skipped', count: last.item.count + item.count };
      return;
    }
    this.#queue.push({ item, bytes });
    this.#bytes += bytes;
    if (this.#consumer) this.#pump(this.#consumer);
    else this.#serveWaiter();
  }

  /** From now on `consumer` gets every item, those waiting first. */
  consume(consumer: Consumer): void {
    this.#consumer = consumer;
    this.#pump(consumer);
  }

  /** The next item for an iterator; asking for it says that the one before is taken. */
  next(): Promise<IteratorResult<Item>> {
    if (this.#consumer) return Promise.reject(new TypeError('the subscription has a callback for its events'));
    this.#release();
    const item = this.#shift();
    if (item) {
      this.#inHand = item;
      return Promise.resolve({ done: false, value: item });
    }
    const over = this.#end ?? this.#interrupted;
    if (over) {
      return over.error === null
        ? Promise.resolve({ done: true, value: undefined })
        : Promise.reject(over.error as Error);
    }
    return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
  }

  /** An iterator ends; what it had in hand may not have been worked off, so it is not counted as taken. */
  abandon(): void {
    this.#inHand = null;
    for (const waiter of this.#waiters.splice(0)) waiter.resolve({ done: true, value: undefined });
  }

  /** Nothing more comes. With an error, iterators end with it after what is still queued. */
  finish(error: unknown, discard: boolean): void {
    if (this.#end) return;
    this.#end = { error };
    if (discard) {
      this.#queue = [];
      this.#bytes = 0;
    }
    if (this.#queue.length === 0) this.#endWaits(error);
  }

  /** Iterators that find nothing queued end, with the error if there is one, until `restart`. */
  interrupt(error: unknown): void {
    this.#interrupted = { error };
    this.#endWaits(error);
  }

  restart(): void {
    this.#interrupted = null;
  }

  #endWaits(error: unknown): void {
    for (const waiter of this.#waiters.splice(0)) {
      if (error === null) waiter.resolve({ done: true, value: undefined });
      else waiter.reject(error);
    }
  }

  #serveWaiter(): void {
    const waiter = this.#waiters.shift();
    if (!waiter) return;
    const item = this.#shift() as Item;
    this.#inHand = item;
    waiter.resolve({ done: false, value: item });
  }

  #pump(consumer: Consumer): void {
    if (this.#pumping) return;
    this.#pumping = true;
    for (let item = this.#shift(); item; item = this.#shift()) {
      this.#inHand = item;
      const working = consumer(item);
      if (working instanceof Promise) {
        void working.then(() => {
          this.#release();
          this.#pumping = false;
          this.#pump(consumer);
        });
        return;
      }
      this.#release();
    }
    this.#pumping = false;
  }

  #release(): void {
    const item = this.#inHand;
    this.#inHand = null;
    if (item) this.#taken(item);
  }

  #shift(): Item | undefined {
    const held = this.#queue.shift();
    if (!held) return undefined;
    this.#bytes -= held.bytes;
    if (this.#queue.length <= this.#limits.items / 2 && this.#bytes <= this.#limits.bytes / 2) this.#low();
    return held.item;
  }
}
