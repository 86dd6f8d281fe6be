// Owns the messages of docs/protocol.md as this client reads them: checks shapes, decodes payloads.
// Never keeps state; unknown members are ignored and unknown pushes become `null`.

import { isAction, actionOf, MeridianError, type ErrorAction, type RegionPlace } from './errors.js';
import { readEvents, type WireEvent } from './wire-event.js';
import { modeNamed, type Modes } from './modes.js';
import type { Limits, SessionInfo } from './types.js';
import * as read from './wire-read.js';

/** Where a channel stands: absent members mean a channel of class `ephemeral`. */
export interface Place {
  readonly stream: string;
  readonly epoch: number;
  readonly offset: number;
}

export type ChannelMessage =
  | { type: 'subscribed'; id: number | undefined; channel: string; class: string; place: Place | null; behind: string | undefined }
  | { type: 'unsubscribed'; id: number | undefined; channel: string; code: string; action: ErrorAction }
  | { type: 'events'; channel: string; stream: string | undefined; epoch: number | undefined; events: WireEvent[] }
  | { type: 'gap'; channel: string; reason: string; from: string | undefined; place: Place }
  | { type: 'values'; channel: string; stream: string; epoch: number; events: WireEvent[] }
  | { type: 'conflated'; channel: string; place: Place }
  | { type: 'skipped'; channel: string; count: number };

export interface HistoryReply {
  type: 'history';
  id: number | undefined;
  channel: string;
  place: Place | null;
  events: WireEvent[];
  more: boolean;
  gone: { reason: string; epoch: number; offset: number } | undefined;
}

export type BatchResult = { cursor: string | undefined } | { error: MeridianError };

export type ServerMessage =
  | ChannelMessage
  | HistoryReply
  | { type: 'connected'; id: number | undefined; info: SessionInfo }
  | { type: 'published'; id: number | undefined; cursor: string | undefined }
  | { type: 'published_batch'; id: number | undefined; results: BatchResult[] }
  | { type: 'acked'; id: number | undefined; channel: string }
  | { type: 'refreshed'; id: number | undefined; expiresInMs: number | undefined }
  | { type: 'ping'; id: number | undefined }
  | { type: 'pong'; id: number | undefined }
  | { type: 'drain'; afterMs: number; deadlineMs: number }
  | { type: 'mode'; modes: Modes; afterMs: number }
  | { type: 'redirect'; places: readonly RegionPlace[]; reason: string; afterMs: number }
  | { type: 'error'; id: number | undefined; error: MeridianError };

type Reader = (body: read.Members, id: number | undefined) => ServerMessage;

const READERS: Readonly<Record<string, Reader>> = {
  connected: (body, id) => ({ type: 'connected', id, info: sessionInfo(body) }),
  subscribed: (body, id) => ({
    type: 'subscribed', id, channel: read.text(body, 'channel'), class: read.maybeText(body, 'class') ?? 'strict',
    place: maybePlace(body), behind: read.maybeText(body, 'behind'),
  }),
  unsubscribed: (body, id) => ({
    type: 'unsubscribed', id, channel: read.text(body, 'channel'), code: read.text(body, 'code'),
    action: action(body, 'resume'),
  }),
  events: (body) => ({
    type: 'events', channel: read.text(body, 'channel'), stream: read.maybeText(body, 'stream'),
    epoch: read.maybeNumber(body, 'epoch'), events: readEvents(body['events']),
  }),
  gap: (body) => ({
    type: 'gap', channel: read.text(body, 'channel'), reason: read.text(body, 'reason'),
    from: read.maybeText(body, 'from'), place: place(body),
  }),
  values: (body) => ({
    type: 'values', channel: read.text(body, 'channel'), stream: read.text(body, 'stream'),
    epoch: read.number(body, 'epoch'), events: readEvents(body['events']),
  }),
  conflated: (body) => ({ type: 'conflated', channel: read.text(body, 'channel'), place: place(body) }),
  skipped: (body) => ({ type: 'skipped', channel: read.text(body, 'channel'), count: read.number(body, 'count') }),
  history: (body, id) => ({
    type: 'history', id, channel: read.text(body, 'channel'), place: maybePlace(body),
    events: readEvents(body['events']), more: body['more'] === true, gone: gone(body['gone']),
  }),
  published: (body, id) => ({ type: 'published', id, cursor: read.maybeText(body, 'cursor') }),
  published_batch: (body, id) => ({
    type: 'published_batch', id, results: read.list(body, 'results').map(batchResult),
  }),
  acked: (body, id) => ({ type: 'acked', id, channel: read.text(body, 'channel') }),
  refreshed: (body, id) => ({ type: 'refreshed', id, expiresInMs: read.maybeNumber(body, 'expires_in_ms') }),
  ping: (_body, id) => ({ type: 'ping', id }),
  pong: (_body, id) => ({ type: 'pong', id }),
  drain: (body) => ({
    type: 'drain', afterMs: read.maybeNumber(body, 'after_ms') ?? 0, deadlineMs: read.maybeNumber(body, 'deadline_ms') ?? 0,
  }),
  redirect: (body) => ({
    type: 'redirect', places: [regionPlace(body)], reason: read.maybeText(body, 'reason') ?? '',
    afterMs: read.maybeNumber(body, 'after_ms') ?? 0,
  }),
  mode: (body) => ({ type: 'mode', modes: modes(body), afterMs: read.maybeNumber(body, 'after_ms') ?? 0 }),
  error: (body, id) => ({ type: 'error', id, error: readError(body) }),
};

/** Reads one message of the server; `null` for one that this version doesn't know. */
export function readMessage(value: unknown): ServerMessage | null {
  const message = read.members(value, 'message');
  const id = read.maybeNumber(message, 'id');
  for (const name of Object.keys(message)) {
    if (Object.hasOwn(READERS, name)) {
      return (READERS[name] as Reader)(read.members(message[name], name), id);
    }
  }
  return null;
}

function sessionInfo(body: read.Members): SessionInfo {
  return {
    session: read.maybeText(body, 'session') ?? '',
    node: read.maybeText(body, 'node') ?? '',
    region: read.maybeText(body, 'region') ?? '',
    tenant: read.maybeText(body, 'tenant') ?? '',
    user: read.maybeText(body, 'user') ?? '',
    capabilities: Array.isArray(body['capabilities']) ? body['capabilities'].filter((c) => typeof c === 'string') : [],
    expiresInMs: read.maybeNumber(body, 'expires_in_ms'),
    limits: limits(body['limits'] === undefined ? {} : read.members(body['limits'], 'limits')),
  };
}

/** Limits as they are before a server stated its own. */
export const DEFAULT_LIMITS: Limits = limits({});

function limits(body: read.Members): Limits {
  const stated = (name: string) => {
    const value = read.maybeNumber(body, name);
    return value !== undefined && value > 0 ? value : undefined;
  };
  const of = (name: string, fallback: number) => stated(name) ?? fallback;
  return {
    eventBytes: of('event_bytes', 65_536),
    frameBytes: of('frame_bytes', 1_048_576),
    batchEvents: of('batch_events', 128),
    channels: of('channels', 1_024),
    commandsPerS: of('commands_per_s', 200),
    commandsBurst: stated('commands_burst'),
    heartbeatMs: of('heartbeat_ms', 25_000),
    publishHorizonMs: of('publish_horizon_ms', 86_400_000),
  };
}

function place(body: read.Members): Place {
  return { stream: read.text(body, 'stream'), epoch: read.number(body, 'epoch'), offset: read.number(body, 'offset') };
}

function maybePlace(body: read.Members): Place | null {
  return body['stream'] === undefined || body['stream'] === null ? null : place(body);
}

function modes(body: read.Members): Modes {
  const own = Object.entries(body['namespaces'] === undefined ? {} : read.members(body['namespaces'], 'namespaces'));
  const namespaces = Object.fromEntries(own.map(([name, mode]) => [name, modeNamed(String(mode))]));
  return { mode: modeNamed(read.text(body, 'mode')), namespaces };
}

function gone(value: unknown): HistoryReply['gone'] {
  if (value === undefined || value === null) return undefined;
  const body = read.members(value, 'gone');
  return { reason: read.text(body, 'reason'), epoch: read.number(body, 'epoch'), offset: read.number(body, 'offset') };
}

function batchResult(value: unknown): BatchResult {
  const body = read.members(value, 'result');
  if (body['error'] !== undefined) return { error: readError(read.members(body['error'], 'error')) };
  return { cursor: read.maybeText(body, 'cursor') };
}

/** An error as the server words it. Throws `bad_frame` where it has no code. */
export function readError(body: read.Members): MeridianError {
  const code = read.text(body, 'code');
  return new MeridianError(code, action(body, 'stop'), read.maybeText(body, 'message') ?? code, {
    retryAfterMs: read.maybeNumber(body, 'retry_after_ms'),
    limit: read.maybeNumber(body, 'limit'),
    applied: read.maybeText(body, 'applied'),
    elsewhere: body['elsewhere'] === undefined ? [] : read.list(body, 'elsewhere').map((place) => regionPlace(read.members(place, 'place'))),
  });
}

function regionPlace(body: read.Members): RegionPlace {
  return { region: read.maybeText(body, 'region'), url: read.text(body, 'url') };
}

/** What the message asks for, else what its code does; `fallback` for a code this version doesn't know. */
function action(body: read.Members, fallback: ErrorAction): ErrorAction {
  return isAction(body['action']) ? body['action'] : actionOf(read.text(body, 'code'), fallback);
}
