// Owns the shapes that applications see: events, gaps, results and limits. Holds no behaviour.

/** One event of a channel. */
export interface MeridianEvent<T = unknown> {
  readonly channel: string;
  /**
   * The payload by its content type: the value for `application/json`, a string for `text/*`, bytes
   * for the rest, `undefined` for an empty event.
   */
  readonly data: T;
  /** The cursor behind this event; absent on `ephemeral` channels. */
  readonly cursor: string | undefined;
  readonly offset: number | undefined;
  readonly epoch: number | undefined;
  /** The log's append time, in milliseconds since 1970. */
  readonly time: number;
  readonly id: string | undefined;
  readonly key: string | undefined;
  readonly kind: 'publish' | 'remove' | 'unreadable';
  readonly headers: Readonly<Record<string, string>>;
  readonly contentType: string;
  /** The user who published, where the server tells. */
  readonly publisher: string | undefined;
  /** In a feed: the keys whose values left it with this event. */
  readonly evicts: readonly string[];
}

/** What lay between the position held and `cursor` cannot be had; load the state afresh. */
export interface Gap {
  readonly channel: string;
  /** `retention`, `epoch`, `unknown`, or a reason of a newer server. */
  readonly reason: string;
  readonly from: string | undefined;
  /** Where events go on. */
  readonly cursor: string;
  readonly epoch: number;
  readonly offset: number;
}

/** What a subscription hands over, in the channel's order. */
export type Item<T = unknown> =
  | { readonly type: 'event'; readonly event: MeridianEvent<T> }
  | { readonly type: 'gap'; readonly gap: Gap }
  | { readonly type: 'skipped'; readonly count: number };

/** Limits that the server states in its answer to `connect`. */
export interface Limits {
  readonly eventBytes: number;
  readonly frameBytes: number;
  readonly batchEvents: number;
  readonly channels: number;
  readonly commandsPerS: number;
  /** Commands that may come at once; absent where the server does not say. */
  readonly commandsBurst: number | undefined;
  readonly heartbeatMs: number;
  readonly publishHorizonMs: number;
}

/** Who and where this client is, as the server said when it connected. */
export interface SessionInfo {
  readonly session: string;
  readonly node: string;
  readonly region: string;
  readonly tenant: string;
  readonly user: string;
  readonly capabilities: readonly string[];
  readonly expiresInMs: number | undefined;
  readonly limits: Limits;
}

/** In order of preference. `sse` and `longpoll` are connections made of plain requests. */
export const TRANSPORTS = ['webtransport', 'websocket', 'sse', 'longpoll'] as const;

/** `polling`: no connection, only polls, while the gateway is in `polling-only`. */
export type TransportName = (typeof TRANSPORTS)[number] | 'polling';

export type ClientState =
  | 'idle'
  | 'connecting'
  | 'connected'
  | 'waiting'
  | 'offline'
  | 'stopped'
  | 'closed';

export type SubscriptionState =
  | 'loading'
  | 'waiting'
  | 'subscribing'
  | 'subscribed'
  | 'overflowed'
  | 'ended';

export interface Published {
  /** A position, no proof that this attempt made a new event; absent on `ephemeral` channels. */
  readonly cursor: string | undefined;
}

export interface History<T = unknown> {
  readonly events: readonly MeridianEvent<T>[];
  /** The position to go on from; absent where the channel keeps none. */
  readonly cursor: string | undefined;
  readonly more: boolean;
  /** Up to where a part of the range is gone, and why. */
  readonly gone: { readonly reason: string; readonly epoch: number; readonly offset: number } | undefined;
}

/** Counters since the client was made. */
export interface Stats {
  transport: TransportName | null;
  connects: number;
  reconnects: number;
  events: number;
  duplicates: number;
  gaps: number;
  skipped: number;
  chainBreaks: number;
  overflows: number;
  resubscribes: number;
  /** Arrivals in another region, by what moved the client. */
  moves: { failure: number; home: number; redirect: number };
  /** Redirects not followed: to a region that this client does not know, or more than two a minute. */
  redirectsIgnored: number;
}
