// Owns the seam between the protocol and its transports: a link carries frames and lanes.
// A link never reconnects and never knows what a frame means.

import type { CodecName, Frame } from '../codec/codec.js';
import type { MeridianError } from '../errors.js';
import type { TransportName } from '../types.js';

/** The socket or the first stream; lanes count from 1. */
export const FIRST_STREAM = 0;

export interface Link {
  /** The server hears from this link only when it asks, and expects no more. */
  readonly sendsNothing?: true;
  /** Hands a frame to the transport, in order. After the link has closed this does nothing. */
  send(frame: Frame): void;
  /** Ends the link; `closed` is not called for it. */
  close(code: number, reason: string): void;
}

/** What a link tells, each in order. After `closed` it tells nothing more. */
export interface LinkEvents {
  opened(): void;
  frame(frame: Frame, lane: number): void;
  /** A lane ended while the session goes on. */
  laneEnded(lane: number): void;
  closed(error: MeridianError): void;
}

export type Dial = (address: LinkAddress, events: LinkEvents) => Link;

export interface LinkAddress {
  readonly url: string;
  readonly codec: CodecName;
}

/** The transports that this platform has; an absent one cannot be used. */
export type Dials = Readonly<Partial<Record<TransportName, Dial>>>;

/** Whether connections over it are made of plain requests, which carry JSON only. */
export function isHttp(transport: TransportName): boolean {
  return transport === 'sse' || transport === 'longpoll';
}

/** The address of a transport, from the base address of the gateway. */
export function linkUrl(base: string, transport: TransportName, codec: CodecName): string {
  const url = new URL(base);
  const secure = url.protocol === 'https:' || url.protocol === 'wss:';
  const path = url.pathname.replace(/\/$/, '');
  // Requests choose their addresses themselves.
  if (isHttp(transport)) return `${secure ? 'https:' : 'http:'}//${url.host}${path}`;
  const scheme = transport === 'webtransport' ? 'https:' : secure ? 'wss:' : 'ws:';
  const tail = transport === 'webtransport' ? '/v1/wt' : '/v1/ws';
  return `${scheme}//${url.host}${path}${tail}?codec=${codec}`;
}
