// Owns the sentences for states and errors: what happened, and what the page does about it. Pure.

const FAULTS = {
  connect_failed: 'The server does not answer.',
  connection_lost: 'The connection was lost.',
  unresponsive: 'The server went silent.',
  heartbeat_timeout: 'The server heard nothing from this page.',
  token_expired: 'The token has expired; a new one is asked for.',
  unauthenticated: 'The server refused the token; a new one is asked for.',
  origin_forbidden: 'The server does not take connections from this page’s address.',
  too_many_sessions: 'The server has as many connections as it may.',
  draining: 'The server is stopping and asked to move.',
  slow_reader: 'This page read too slowly.',
  rate_limited: 'The server asked for fewer commands.',
  forbidden: 'The token does not allow this channel.',
  bad_channel: 'That is no channel name: it looks like namespace:name.',
  token_callback_failed: 'No token could be had.',
};

/** What an error means, for people; `mode` and `url` say how and where the page wants to connect. */
export function faultText(error, { mode, url } = {}) {
  // No hash makes a browser take a self-made certificate for WebSocket, and it does not say so either.
  if (error.code === 'connect_failed' && mode === 'websocket' && url?.startsWith('https:')) {
    return `WebSocket may need the certificate to be trusted: open ${url} once.`;
  }
  return FAULTS[error.code] ?? `${capital(error.message)} (${error.code}).`;
}

/** The connection's headline and what goes on. */
export function stateText(view) {
  const { state, serverAnswers, cutForMs, fault, info } = view;
  const why = fault ? faultText(fault, view) : '';
  if (cutForMs > 0) return { title: 'Cut', detail: 'Off the network on purpose for ten seconds.', tone: 'busy' };
  switch (state) {
    case 'connected':
      return { title: 'Connected', detail: info ? `Node ${info.node}, region ${info.region}, as ${info.user} of ${info.tenant}.` : '', tone: 'good' };
    case 'connecting':
      return { title: 'Connecting', detail: why || 'The transports race.', tone: 'busy' };
    case 'offline':
      return { title: 'Offline', detail: 'The browser has no network; goes on as soon as it has.', tone: 'bad' };
    case 'stopped':
      return { title: 'Refused', detail: `${why} Tries again in a few seconds.`, tone: 'bad' };
    default: {
      const gone = serverAnswers ? why : 'The server is gone.';
      return { title: 'Disconnected', detail: `${gone} Tries again by itself.`, tone: 'bad' };
    }
  }
}

export const TRANSPORTS = {
  webtransport: { name: 'WebTransport', how: 'QUIC, UDP port' },
  websocket: { name: 'WebSocket', how: 'TCP port' },
  sse: { name: 'Event stream', how: 'TCP port' },
  longpoll: { name: 'Long poll', how: 'TCP port' },
};

function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
