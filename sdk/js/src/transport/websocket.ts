// Owns a link over WebSocket: one message is one frame. Never buffers beyond the socket itself.

import { closeError, MeridianError } from '../errors.js';
import type { Frame } from '../codec/codec.js';
import { FIRST_STREAM, type Dial, type Link, type LinkAddress, type LinkEvents } from './link.js';

/** As much of the WebSocket interface as a link needs; `ws` and the platform's own both fit. */
export interface WebSocketLike {
  binaryType: string;
  onopen: ((event: never) => unknown) | null;
  onmessage: ((event: never) => unknown) | null;
  onclose: ((event: never) => unknown) | null;
  onerror: ((event: never) => unknown) | null;
  send(data: string | Uint8Array<ArrayBuffer>): void;
  close(code?: number, reason?: string): void;
}

export type WebSocketConstructor = new (url: string) => WebSocketLike;

export function dialWebSocket(constructor: WebSocketConstructor): Dial {
  return (address, events) => new WebSocketLink(constructor, address, events);
}

class WebSocketLink implements Link {
  readonly #events: LinkEvents;
  readonly #socket: WebSocketLike;
  #open = false;
  #over = false;

  constructor(constructor: WebSocketConstructor, address: LinkAddress, events: LinkEvents) {
    this.#events = events;
    const socket = new constructor(address.url);
    this.#socket = socket;
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => {
      this.#open = true;
      if (!this.#over) events.opened();
    };
    socket.onmessage = (event: { data: unknown }) => this.#message(event.data);
    socket.onclose = (event: { code?: number; reason?: string }) => this.#closed(event.code, event.reason);
    socket.onerror = () => undefined;
  }

  send(frame: Frame): void {
    if (!this.#over && this.#open) this.#socket.send(frame as string | Uint8Array<ArrayBuffer>);
  }

  close(code: number, reason: string): void {
    this.#over = true;
    try {
      this.#socket.close(code, reason);
    } catch {
      // A socket that refuses to close is closed or closing.
    }
  }

  #message(data: unknown): void {
    if (this.#over) return;
    if (typeof data === 'string') this.#events.frame(data, FIRST_STREAM);
    else if (data instanceof ArrayBuffer) this.#events.frame(new Uint8Array(data), FIRST_STREAM);
  }

  #closed(code: number | undefined, reason: string | undefined): void {
    if (this.#over) return;
    this.#over = true;
    const error = closeError(code, reason ?? '');
    const never = !this.#open && error.code === 'connection_lost';
    this.#events.closed(
      never ? new MeridianError('connect_failed', 'reconnect', 'the WebSocket did not open') : error,
    );
  }
}
