// Owns reading a channel's past by one poll, for connections that have no `history` command. Pure.

import type { Members } from '../../wire-read.js';

const LIMIT = 100;
const LIMIT_MOST = 1_000;

/** The poll that answers a `history` command. */
export function askPast(body: Members): Members {
  const { channel, after } = body;
  const last = Math.min(Number(body['last'] ?? LIMIT), limitOf(body));
  return { channels: [after === undefined ? { channel, last } : { channel, cursor: after }] };
}

/** The reply to it, of the poll's messages; `null` if they do not say where the channel begins. */
export function readPast(body: Members, messages: readonly Members[]): Members | null {
  const of = (name: string) => messages.flatMap((message): Members[] => (message[name] === undefined ? [] : [message[name] as Members]));
  const [place] = of('subscribed');
  if (!place || place['stream'] === undefined) return null;
  const [gap] = of('gap');
  const batches = of('events');
  // An answer holds events of one epoch.
  const { stream, epoch } = batches[0] ?? gap ?? place;
  const all = batches.flatMap((batch) => (batch['events'] as Members[]).map((event) => ({ batch, event })));
  const events = all.filter(({ batch }) => batch['stream'] === stream).map(({ event }) => event).slice(0, limitOf(body));
  const offset = events.at(-1)?.['offset'] ?? (gap ?? place)['offset'];
  const gone = gap && { gone: { reason: gap['reason'], epoch: gap['epoch'], offset: gap['offset'] } };
  return { channel: body['channel'], stream, epoch, offset, events, more: events.length < all.length, ...gone };
}

function limitOf(body: Members): number {
  return Math.min(Number(body['limit'] ?? body['last'] ?? LIMIT), LIMIT_MOST);
}
