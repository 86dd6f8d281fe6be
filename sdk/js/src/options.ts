// Owns the client's options, their defaults and what the platform provides in their place.
// Never keeps state.

import type { BackoffPolicy } from './backoff.js';
import { systemClock, type Clock } from './clock.js';
import type { CodecName } from './codec/codec.js';
import type { CursorStore } from './cursors.js';
import { MeridianError } from './errors.js';
import { currentPage, type Page } from './lifecycle.js';
import { baseUrl } from './regions/health.js';
import type { Fetch } from './regions/probe.js';
import type { RegionsPolicy } from './regions/events.js';
import type { TokenOption } from './token.js';
import type { Dials } from './transport/link.js';
import { defaultStorage, type KeyValueStorage } from './transport/memory.js';
import type { HttpFetch } from './transport/http/api.js';
import { dialHttp } from './transport/http/link.js';
import { eventStream, longPoll } from './transport/http/reading.js';
import { dialWebSocket, type WebSocketConstructor } from './transport/websocket.js';
import { dialWebTransport } from './transport/webtransport.js';
import { TRANSPORTS, type TransportName } from './types.js';

export interface ClientOptions {
  /** Base address of the gateway, `http(s)://host:port`. WebTransport always uses `https`. */
  url: string;
  /** Base addresses of further regions: the nearest one that is well is used, another when it fails. */
  regions?: readonly string[];
  /** Also use the regions that a region's answer names. */
  discoverRegions?: boolean;
  /** Away from home, home is asked this often, ±50 %, in milliseconds. */
  homeProbeMs?: number;
  /** Spread of the move back once home is well again, in milliseconds. */
  homeSpreadMs?: number;
  /** A token, or a function that gets one; only with a function can the client renew it. */
  token?: TokenOption;
  /** Falls back from the best transport that works to the next, unless one is forced. */
  transport?: 'auto' | TransportName;
  /** Those that `auto` may use. All. */
  transports?: readonly TransportName[];
  codec?: CodecName;
  /** Name under which acknowledged positions are kept; a newer session with it takes this one over. */
  subscriber?: string;
  /** What this client can do beyond the protocol's base. */
  capabilities?: readonly string[];
  /** How the client names itself to the server. */
  clientName?: string;
  /** SHA-256 of the certificate as hexadecimal or base64, for WebTransport to a self-made one. */
  serverCertificateHashes?: readonly string[];
  /** For platforms without a global one, such as Node 20. */
  WebSocket?: WebSocketConstructor;
  WebTransport?: typeof WebTransport;
  /** Keeps every channel's cursor, unless a subscription has its own store. */
  store?: CursorStore;
  /** Where the transport that worked is remembered; `localStorage` if there is one. */
  storage?: KeyValueStorage;
  /** How long a fallback is remembered, in milliseconds. One day; one to plain requests an hour at most. */
  rememberTransportMs?: number;
  /** Head start of WebTransport in the race, in milliseconds. */
  headStartMs?: number;
  reconnect?: Partial<BackoffPolicy>;
  /** Spread of `onRefresh` after a gap, in milliseconds. */
  refreshSpreadMs?: number;
  /** A channel's cursor is saved at most this often, in milliseconds. */
  saveIntervalMs?: number;
  /** Per channel: events and bytes held for an application that is slower. */
  maxQueued?: number;
  maxQueuedBytes?: number;
  /** Publishes under way at most, and their bytes. */
  maxPublishes?: number;
  maxPublishBytes?: number;
  /** How long `history` and `ack` may take, in waking milliseconds. */
  requestTimeoutMs?: number;
  /** Asks regions how they are, and carries `sse` and `longpoll`, for platforms without a global `fetch`. */
  fetch?: Fetch;
  /** For tests: time and chance, the transports, the page. */
  clock?: Clock;
  dials?: Dials;
  page?: Page;
}

const CLIENT_NAME = 'meridian-js/0.1.0';

export type Settings = ReturnType<typeof settle>;

/** Options with every default in place. Throws `bad_argument` on an address that is none. */
export function settle(options: ClientOptions) {
  const clock = options.clock ?? systemClock();
  return {
    regions: regionsOf(options),
    fetch: options.fetch ?? platformFetch(),
    token: options.token,
    mode: options.transport ?? 'auto',
    avoidWebTransport: stallsOnWebTransport((globalThis as { navigator?: { userAgent?: string } }).navigator?.userAgent ?? ''),
    codec: options.codec ?? 'json',
    greeting: greetingOf(options),
    store: options.store,
    storage: options.storage ?? defaultStorage(),
    // Another certificate is another try for WebTransport, another network for every transport.
    memoryKey: (url: string) => [url, networkType(), ...(options.serverCertificateHashes ?? [])].filter(Boolean).join(' '),
    rememberMs: options.rememberTransportMs ?? 86_400_000,
    headStartMs: options.headStartMs ?? 500,
    backoff: { baseMs: options.reconnect?.baseMs ?? 1_000, capMs: options.reconnect?.capMs ?? 30_000 },
    refreshSpreadMs: options.refreshSpreadMs ?? 5_000,
    saveIntervalMs: options.saveIntervalMs ?? 1_000,
    inbox: { items: options.maxQueued ?? 1_024, bytes: options.maxQueuedBytes ?? 4 * 1_048_576 },
    publishes: { events: options.maxPublishes ?? 1_000, bytes: options.maxPublishBytes ?? 8 * 1_048_576 },
    requestTimeoutMs: options.requestTimeoutMs ?? 30_000,
    clock,
    dials: allowed(options.dials ?? platformDials(options, clock), options.transports ?? TRANSPORTS),
    page: options.page ?? currentPage(),
  };
}

/** Safari's flow-control window does not refill: lanes stall while the session looks alive. */
export function stallsOnWebTransport(userAgent: string): boolean {
  return /AppleWebKit\//.test(userAgent) && !/(Chrome|Chromium|Edg)\//.test(userAgent);
}

function greetingOf(options: ClientOptions): Record<string, unknown> {
  return {
    protocol: 1,
    capabilities: [...(options.capabilities ?? ['gap'])],
    client: options.clientName ?? CLIENT_NAME,
    ...(options.subscriber === undefined ? {} : { subscriber: options.subscriber }),
  };
}

function regionsOf(options: ClientOptions): RegionsPolicy {
  const urls = [options.url, ...(options.regions ?? [])].map((text) => {
    const url = baseUrl(text);
    if (url === null) throw new MeridianError('bad_argument', 'stop', `not an address of a gateway: ${text}`);
    return url;
  });
  const homing = { probeMs: options.homeProbeMs ?? 30_000, spreadMs: options.homeSpreadMs ?? 30_000 };
  return { urls, discover: options.discoverRegions ?? false, homing };
}

function platformFetch(): Fetch | undefined {
  const { fetch } = globalThis as { fetch?: typeof globalThis.fetch };
  return fetch ? (url, init) => fetch(url, init) : undefined;
}

/**
 * What a page can tell of the network it is on. It sees neither the network's name nor its own address;
 * some browsers say whether this is Wi-Fi, a cable or a mobile network, the others nothing: there one memory
 * serves all networks, until it is too old or what it names fails.
 */
export function networkType(): string {
  const { navigator } = globalThis as { navigator?: { connection?: { type?: unknown } } };
  const type = navigator?.connection?.type;
  return typeof type === 'string' ? type : '';
}

function allowed(dials: Dials, names: readonly TransportName[]): Dials {
  return Object.fromEntries(names.filter((name) => dials[name]).map((name) => [name, dials[name]]));
}

function platformDials(options: ClientOptions, clock: Clock): Dials {
  const scope = globalThis as { WebSocket?: unknown; WebTransport?: typeof WebTransport };
  const socket = options.WebSocket ?? (scope.WebSocket as WebSocketConstructor | undefined);
  const transport = options.WebTransport ?? scope.WebTransport;
  const fetch = (options.fetch ?? platformFetch()) as HttpFetch | undefined;
  const certificateHashes = options.serverCertificateHashes ?? [];
  return {
    ...(socket ? { websocket: dialWebSocket(socket) } : {}),
    ...(transport ? { webtransport: dialWebTransport({ constructor: transport, certificateHashes }) } : {}),
    ...(fetch ? { sse: dialHttp({ fetch, clock, reading: eventStream }), longpoll: dialHttp({ fetch, clock, reading: longPoll }) } : {}),
  };
}
