// Owns a feed's current values as a live map: for each key the highest offset counts. Never talks to the server.

import type { Subscription, SubscribeOptions } from './subscription.js';
import type { Gap, MeridianEvent } from './types.js';

/** Changes of a key: the event that set it, or `undefined` where it left. */
export type FeedChange<T> = (key: string, event: MeridianEvent<T> | undefined) => void;

export interface FeedOptions<T = unknown> extends Pick<SubscribeOptions<T>, 'onState' | 'onError' | 'maxQueued' | 'maxQueuedBytes'> {
  onChange?: FeedChange<T>;
}

/** The current values of a feed, kept up to date. */
export class Feed<T = unknown> {
  readonly #values = new Map<string, MeridianEvent<T>>();
  readonly #onChange: FeedChange<T> | undefined;
  #subscription: Subscription<T> | null = null;

  /** @internal */
  constructor(onChange?: FeedChange<T>) {
    this.#onChange = onChange;
  }

  /** Each key with its newest event. */
  get values(): ReadonlyMap<string, MeridianEvent<T>> {
    return this.#values;
  }

  get subscription(): Subscription<T> | null {
    return this.#subscription;
  }

  unsubscribe(): void {
    this.#subscription?.unsubscribe();
  }

  /** @internal */
  keep(subscription: Subscription<T>): this {
    this.#subscription = subscription;
    return this;
  }

  /** @internal */
  take(event: MeridianEvent<T>): void {
    const { key } = event;
    if (key !== undefined && event.kind !== 'unreadable' && this.#isNewer(key, event)) {
      if (event.kind === 'publish') {
        this.#values.set(key, event);
        this.#onChange?.(key, event);
      } else this.#drop(key);
    }
    for (const evicted of event.evicts) if (this.#isNewer(evicted, event)) this.#drop(evicted);
  }

  /** @internal All current values follow. */
  lost(_gap?: Gap): void {
    for (const key of [...this.#values.keys()]) this.#drop(key);
  }

  #drop(key: string): void {
    if (this.#values.delete(key)) this.#onChange?.(key, undefined);
  }

  #isNewer(key: string, event: MeridianEvent<T>): boolean {
    const held = this.#values.get(key);
    if (!held) return true;
    const [epoch, offset] = [event.epoch ?? 0, event.offset ?? 0];
    return epoch > (held.epoch ?? 0) || (epoch === held.epoch && offset >= (held.offset ?? 0));
  }
}
