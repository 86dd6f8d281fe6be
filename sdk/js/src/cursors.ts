// Owns keeping cursors over reloads: the store's interface, stores for browsers and tests, and a
// saver that writes each channel at most once an interval. Never decides what a cursor means.

import type { Clock } from './clock.js';
import { asMeridianError, MeridianError } from './errors.js';
import { defaultStorage, type KeyValueStorage } from './transport/memory.js';

/** Where cursors are kept. Both calls may answer at once or later. */
export interface CursorStore {
  load(channel: string): string | null | undefined | Promise<string | null | undefined>;
  save(channel: string, cursor: string): void | Promise<void>;
}

/** Cursors in `localStorage` (or another storage of its shape), one key a channel. */
export function localStorageCursors(prefix = 'meridian.cursor:', storage: KeyValueStorage = defaultStorage()): CursorStore {
  return {
    load: (channel) => storage.getItem(prefix + channel),
    save: (channel, cursor) => storage.setItem(prefix + channel, cursor),
  };
}

/** Cursors that live as long as the page or process. */
export function memoryCursors(): CursorStore {
  const cursors = new Map<string, string>();
  return {
    load: (channel) => cursors.get(channel),
    save: (channel, cursor) => void cursors.set(channel, cursor),
  };
}

/** Saves one channel's cursor, the first at once, later ones at most once per interval. */
export class CursorSaver {
  readonly #channel: string;
  readonly #store: CursorStore;
  readonly #clock: Clock;
  readonly #intervalMs: number;
  readonly #fault: (error: MeridianError) => void;
  #pending: string | null = null;
  #timer: unknown = null;
  #saved: string | null = null;

  constructor(
    channel: string,
    store: CursorStore,
    clock: Clock,
    intervalMs: number,
    fault: (error: MeridianError) => void,
  ) {
    this.#channel = channel;
    this.#store = store;
    this.#clock = clock;
    this.#intervalMs = intervalMs;
    this.#fault = fault;
  }

  note(cursor: string): void {
    if (cursor === this.#saved) return;
    this.#pending = cursor;
    if (this.#timer !== null) return;
    this.#write();
    this.#pause();
  }

  /** Writes what waits, now. */
  flush(): void {
    if (this.#timer !== null) this.#clock.clearTimeout(this.#timer);
    this.#timer = null;
    this.#write();
  }

  /** Until the interval is over, what is noted waits. */
  #pause(): void {
    this.#timer = this.#clock.setTimeout(() => {
      this.#timer = null;
      if (this.#pending === null) return;
      this.#write();
      this.#pause();
    }, this.#intervalMs);
  }

  #write(): void {
    const cursor = this.#pending;
    this.#pending = null;
    if (cursor === null) return;
    this.#saved = cursor;
    const failed = (error: unknown) =>
      this.#fault(asMeridianError(error, 'cursor_not_saved', 'retry', `the cursor of ${this.#channel} was not saved`));
    try {
      void Promise.resolve(this.#store.save(this.#channel, cursor)).catch(failed);
    } catch (error) {
      failed(error);
    }
  }
}
