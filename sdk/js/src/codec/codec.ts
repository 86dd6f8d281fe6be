// Owns the shape that both codecs share: messages to frames and back, and payloads.
// Never knows what a message means.

/** A frame as the transport carries it: text for JSON, bytes for MessagePack. */
export type Frame = string | Uint8Array;

export type CodecName = 'json' | 'msgpack';

/** One encoded message and its size on the wire, before framing. */
export interface Encoded {
  readonly data: Frame;
  readonly bytes: number;
}

/** An event's payload on its way out, frozen when `publish` was called. */
export type Payload =
  | { readonly type: 'none' }
  | { readonly type: 'json'; readonly text: string }
  | { readonly type: 'text'; readonly text: string }
  | { readonly type: 'bin'; readonly bytes: Uint8Array };

export interface Codec {
  readonly name: CodecName;
  encode(message: unknown): Encoded;
  /** Puts messages into one frame: the message itself, or an array of them. */
  join(messages: readonly Encoded[]): Frame;
  /** The messages of a frame, in order. Throws `bad_frame` and nothing else. */
  decode(frame: Frame): unknown[];
  /** The members of a publish that carry this payload. */
  payload(payload: Payload, contentType: string | undefined): Record<string, unknown>;
}

/** Bytes that joining adds to each message at most. */
export const JOIN_OVERHEAD_BYTES = 5;
