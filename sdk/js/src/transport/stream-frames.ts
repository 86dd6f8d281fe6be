// Owns frames on the streams of WebTransport: text or bytes by the session's codec.
// Never holds more than one unfinished frame.

import type { CodecName, Frame } from '../codec/codec.js';
import { FrameReader, prefixed } from '../codec/frames.js';
import { badFrame } from '../errors.js';

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export function encodeFrame(frame: Frame): Uint8Array {
  return prefixed(typeof frame === 'string' ? encoder.encode(frame) : frame);
}

/** Reads frames until the stream ends or `take` answers false. Throws `bad_frame` on bad bytes. */
export async function pumpFrames(
  stream: ReadableStream<Uint8Array>,
  codec: CodecName,
  take: (frame: Frame) => boolean,
): Promise<void> {
  const reader = stream.getReader();
  const frames = new FrameReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    for (const bytes of frames.push(value)) {
      if (!take(codec === 'json' ? text(bytes) : bytes)) return;
    }
  }
}

function text(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes);
  } catch {
    throw badFrame('a frame that is not UTF-8');
  }
}
