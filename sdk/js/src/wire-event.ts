// Owns events as the server sends them: their members, `prev`, and the payload by its content type.
// Both codecs give the same event. Never judges the chain.

import { fromBase64 } from './codec/base64.js';
import { badFrame } from './errors.js';
import type { Prev } from './position.js';
import type { MeridianEvent } from './types.js';
import * as read from './wire-read.js';

export interface WireEvent {
  readonly offset: number | undefined;
  readonly prev: Prev;
  readonly time: number;
  readonly id: string | undefined;
  readonly key: string | undefined;
  readonly kind: MeridianEvent['kind'];
  readonly headers: Readonly<Record<string, string>>;
  readonly contentType: string;
  readonly publisher: string | undefined;
  /** Keys whose values left the feed with this event. */
  readonly evicts: readonly string[];
  readonly data: unknown;
}

const encoder = new TextEncoder();
const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const lenient = new TextDecoder('utf-8', { ignoreBOM: true });

export function readEvents(value: unknown): WireEvent[] {
  if (!Array.isArray(value)) throw badFrame('events is no array');
  return value.map(readEvent);
}

function readEvent(value: unknown): WireEvent {
  const body = read.members(value, 'event');
  const contentType = read.maybeText(body, 'content_type') ?? defaultType(body);
  return {
    offset: read.maybeNumber(body, 'offset'),
    prev: readPrev(body['prev']),
    time: read.maybeNumber(body, 'time') ?? 0,
    id: read.maybeText(body, 'id'),
    key: read.maybeText(body, 'key'),
    kind: readKind(body['kind']),
    headers: readHeaders(body['headers']),
    contentType,
    publisher: read.maybeText(body, 'publisher'),
    evicts: body['evicts'] === undefined ? [] : read.list(body, 'evicts').filter((key) => typeof key === 'string'),
    data: readPayload(body, contentType),
  };
}

/** An event for the application. `stream` and `epoch` are absent on `ephemeral` channels. */
export function toEvent(
  channel: string,
  stream: string | undefined,
  epoch: number | undefined,
  event: WireEvent,
): MeridianEvent {
  const { offset } = event;
  return {
    channel,
    data: event.data,
    cursor: stream === undefined || offset === undefined ? undefined : `${stream}.${offset}`,
    offset,
    epoch,
    time: event.time,
    id: event.id,
    key: event.key,
    kind: event.kind,
    headers: event.headers,
    contentType: event.contentType,
    publisher: event.publisher,
    evicts: event.evicts,
  };
}

/** A `prev` of a shape that is not known says nothing about what came before. */
function readPrev(value: unknown): Prev {
  if (value === null) return null;
  if (Number.isSafeInteger(value)) return value as number;
  if (Array.isArray(value) && value.length === 2 && value.every(Number.isSafeInteger)) {
    return [value[0] as number, value[1] as number];
  }
  return 'unknown';
}

function readKind(value: unknown): MeridianEvent['kind'] {
  if (value === undefined || value === null || value === 'publish') return 'publish';
  return value === 'remove' ? 'remove' : 'unreadable';
}

function readHeaders(value: unknown): Record<string, string> {
  if (value === undefined || value === null) return {};
  const headers = Object.entries(read.members(value, 'headers'));
  return Object.fromEntries(headers.filter((header): header is [string, string] => typeof header[1] === 'string'));
}

function defaultType(body: read.Members): string {
  if (body['text'] !== undefined) return 'text/plain';
  return body['bin'] === undefined ? 'application/json' : 'application/octet-stream';
}

function readPayload(body: read.Members, contentType: string): unknown {
  const { data } = body;
  if (data instanceof Uint8Array) return ofBytes(data, contentType);
  if (data !== undefined) return data;
  if (body['text'] !== undefined) {
    const text = read.text(body, 'text');
    return contentType.startsWith('text/') ? text : encoder.encode(text);
  }
  return body['bin'] === undefined ? undefined : ofBytes(fromBase64(read.text(body, 'bin')), contentType);
}

function ofBytes(bytes: Uint8Array, contentType: string): unknown {
  if (contentType.startsWith('text/')) return lenient.decode(bytes);
  if (contentType !== 'application/json') return bytes;
  if (bytes.length === 0) return undefined;
  try {
    return JSON.parse(strict.decode(bytes)) as unknown;
  } catch {
    return bytes;
  }
}
