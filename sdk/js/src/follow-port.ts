// Owns the seams around one channel: what it needs of the client, and what it tells the application's
// side. Holds no behaviour.

import type { MeridianError } from './errors.js';
import type { Position } from './position.js';
import type { Session } from './session.js';
import type { Gap, MeridianEvent, Stats, SubscriptionState } from './types.js';

/** Where a subscription starts that holds no position yet. */
export type Start =
  | 'now'
  | { readonly cursor: string }
  | { readonly last: number }
  | { readonly acked: true; readonly last?: number };

/** What a channel needs of the client around it. */
export interface FollowPort {
  readonly stats: Stats;
  session(): Session | null;
  now(): number;
  random(): number;
  /** Calls `resume` at `at` or earlier. */
  wakeBy(at: number): void;
  renewToken(): void;
  reconnect(error: MeridianError): void;
  /** Whether the client goes to a region that keeps the channel's events; then asking again makes sense. */
  followsZone(error: MeridianError): boolean;
}

/** The application's side of a channel. */
export interface FollowApp {
  hasRoom(bytes: number): boolean;
  event(event: MeridianEvent, bytes: number): void;
  gap(gap: Gap): void;
  skipped(count: number): void;
  /** The position is set without an event. */
  placed(position: Position): void;
  state(state: SubscriptionState): void;
  ended(error: MeridianError): void;
}
