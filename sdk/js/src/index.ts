// Owns the list of what applications may import. Holds no code.

export { MeridianClient, type ClientEvents } from './client.js';
export type { ClientOptions } from './options.js';
export { MeridianError, type ErrorAction, type RegionPlace } from './errors.js';
export { Feed, type FeedChange, type FeedOptions } from './feed.js';
export { Subscription, type SubscribeOptions } from './subscription.js';
export type { Start } from './follow-port.js';
export type { BatchEvent, PublishOptions, PublishResult } from './publish.js';
export type { HistoryRange } from './requests.js';
export { localStorageCursors, memoryCursors, type CursorStore } from './cursors.js';
export { memoryStorage, type KeyValueStorage } from './transport/memory.js';
export type { WebSocketConstructor, WebSocketLike } from './transport/websocket.js';
export type { RegionChange, RegionReason } from './regions/events.js';
export type { RedirectNotice } from './regions/redirects.js';
export type { Fetch, ProbeInit } from './regions/probe.js';
export type { Mode, Modes } from './modes.js';
export type { BackoffPolicy } from './backoff.js';
export type { Clock } from './clock.js';
export type {
  ClientState,
  Gap,
  History,
  Item,
  Limits,
  MeridianEvent,
  Published,
  SessionInfo,
  Stats,
  SubscriptionState,
  TransportName,
} from './types.js';
