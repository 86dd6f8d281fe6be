// Owns a link over WebTransport: session messages on the first bidirectional stream, channel messages
// on the server's unidirectional streams (lanes), all of which are always read.
// Never interprets frames and never reconnects.

import { encodeFrame, pumpFrames } from './stream-frames.js';
import { closeError, MeridianError } from '../errors.js';
import type { Frame } from '../codec/codec.js';
import { digestBytes } from '../codec/base64.js';
import { FIRST_STREAM, type Dial, type Link, type LinkAddress, type LinkEvents } from './link.js';

/** Datagrams that the browser keeps before it drops the oldest; its own default is one. */
const DATAGRAM_HIGH_WATER = 64;
/** How long the close code may take after the first stream has ended, in milliseconds. */
const CLOSE_INFO_MS = 500;

type Constructor = new (url: string, options?: WebTransportOptions) => WebTransport;

export interface WebTransportDialOptions {
  readonly constructor: Constructor;
  /** SHA-256 digests of the certificate, as hexadecimal or base64. */
  readonly certificateHashes: readonly string[];
}

export function dialWebTransport(options: WebTransportDialOptions): Dial {
  const hashes = options.certificateHashes.map((text) => ({ algorithm: 'sha-256', value: digestBytes(text) }));
  return (address, events) => new WebTransportLink(options.constructor, hashes, address, events);
}

class WebTransportLink implements Link {
  readonly #events: LinkEvents;
  readonly #session: WebTransport;
  readonly #codec: LinkAddress['codec'];
  #writer: WritableStreamDefaultWriter<Uint8Array> | null = null;
  #lanes = 0;
  #open = false;
  #over = false;

  constructor(constructor: Constructor, hashes: WebTransportHash[], address: LinkAddress, events: LinkEvents) {
    this.#events = events;
    this.#codec = address.codec;
    const options = hashes.length === 0 ? {} : { serverCertificateHashes: hashes };
    this.#session = new constructor(address.url, options);
    this.#session.closed.then(
      (info) => this.#closed(closeError(info.closeCode, info.reason ?? '')),
      () => this.#closed(closeError(undefined, '')),
    );
    this.#run().catch(() => this.#closed(closeError(undefined, '')));
  }

  send(frame: Frame): void {
    if (this.#over || this.#writer === null) return;
    this.#writer.write(encodeFrame(frame)).catch(() => this.#closed(closeError(undefined, '')));
  }

  close(code: number, reason: string): void {
    this.#over = true;
    try {
      this.#session.close({ closeCode: code, reason });
    } catch {
      // A session that refuses to close is closed or was never open.
    }
  }

  async #run(): Promise<void> {
    const session = this.#session;
    await session.ready;
    if (this.#over) return;
    const { datagrams } = session;
    if (datagrams && 'incomingHighWaterMark' in datagrams) datagrams.incomingHighWaterMark = DATAGRAM_HIGH_WATER;
    const first = await session.createBidirectionalStream();
    if (this.#over) return;
    this.#writer = first.writable.getWriter();
    this.#writer.closed.catch(() => undefined);
    void this.#acceptLanes();
    void this.#read(first.readable, FIRST_STREAM);
    this.#open = true;
    this.#events.opened();
  }

  async #acceptLanes(): Promise<void> {
    const lanes = this.#session.incomingUnidirectionalStreams.getReader();
    try {
      for (;;) {
        const { done, value } = await lanes.read();
        if (done || this.#over) return;
        void this.#read(value as ReadableStream<Uint8Array>, ++this.#lanes);
      }
    } catch {
      // The session has ended; its `closed` promise says why.
    }
  }

  async #read(stream: ReadableStream<Uint8Array>, lane: number): Promise<void> {
    try {
      await pumpFrames(stream, this.#codec, (frame) => {
        if (!this.#over) this.#events.frame(frame, lane);
        return !this.#over;
      });
    } catch (error) {
      if (error instanceof MeridianError) return this.#fail(error);
    }
    if (this.#over) return;
    if (lane !== FIRST_STREAM) this.#events.laneEnded(lane);
    else globalThis.setTimeout(() => this.#fail(closeError(undefined, '')), CLOSE_INFO_MS);
  }

  #fail(error: MeridianError): void {
    if (this.#over) return;
    this.#closed(error);
    this.close(4001, 'malformed');
  }

  #closed(error: MeridianError): void {
    if (this.#over) return;
    this.#over = true;
    const never = !this.#open && error.code === 'connection_lost';
    this.#events.closed(
      never ? new MeridianError('connect_failed', 'reconnect', 'the WebTransport session did not open') : error,
    );
  }
}
