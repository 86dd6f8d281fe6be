// Owns the requests that only ask or record: `history` and `ack`. Safe to send any number of times.
// Never keeps state beyond one request.

import type { Call } from './calls.js';
import { MeridianError } from './errors.js';
import { cursorOf } from './position.js';
import type { History } from './types.js';
import type { HistoryReply } from './wire.js';
import { toEvent } from './wire-event.js';

/** Which part of a channel's past: after a cursor, or the newest. */
export type HistoryRange =
  | { readonly after: string; readonly limit?: number }
  | { readonly last: number; readonly limit?: number };

export function historyCall(
  channel: string,
  range: HistoryRange,
  timeoutMs: number,
  resolve: (history: History) => void,
  reject: (error: MeridianError) => void,
): Call {
  return {
    timeoutMs,
    body: () => ({ history: { channel, ...range } }),
    answered(message) {
      if (message.type !== 'history') throw unexpected();
      resolve(historyOf(message));
      return 'done';
    },
    failed: reject,
  };
}

export function ackCall(
  body: Readonly<Record<string, unknown>>,
  timeoutMs: number,
  resolve: () => void,
  reject: (error: MeridianError) => void,
): Call {
  return {
    timeoutMs,
    body: () => ({ ack: body }),
    answered(message) {
      if (message.type !== 'acked') throw unexpected();
      resolve();
      return 'done';
    },
    failed: reject,
  };
}

function historyOf(reply: HistoryReply): History {
  const { channel, place, more, gone } = reply;
  return {
    events: reply.events.map((event) => toEvent(channel, place?.stream, place?.epoch, event)),
    cursor: place === null ? undefined : cursorOf(place),
    more,
    gone,
  };
}

function unexpected(): MeridianError {
  return new MeridianError('bad_frame', 'stop', 'the answer does not fit the command');
}
