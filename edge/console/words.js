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

/** What an error means, for people. */
export function faultText(error) {
  return FAULTS[error.code] ?? `${capital(error.message)} (${error.code}).`;
}

/** The connection's headline and what goes on. */
export function stateText({ state, serverAnswers, cutForMs, fault, info }) {
  if (cutForMs > 0) return { title: 'Cut', detail: 'Off the network on purpose for ten seconds.', tone: 'busy' };
  switch (state) {
    case 'connected':
      return { title: 'Connected', detail: info ? `Node ${info.node}, region ${info.region}, as ${info.user} of ${info.tenant}.` : '', tone: 'good' };
    case 'connecting':
      return { title: 'Connecting', detail: fault ? faultText(fault) : 'The transports race.', tone: 'busy' };
    case 'offline':
      return { title: 'Offline', detail: 'The browser has no network; goes on as soon as it has.', tone: 'bad' };
    case 'stopped':
      return { title: 'Refused', detail: `${fault ? faultText(fault) : ''} Tries again in a few seconds.`, tone: 'bad' };
    default: {
      const gone = serverAnswers ? (fault ? faultText(fault) : '') : 'The server is gone.';
      return { title: 'Disconnected', detail: `${gone} Tries again by itself.`, tone: 'bad' };
    }
  }
}

export const TRANSPORTS = {
  webtransport: { name: 'WebTransport', how: 'QUIC, UDP port' },
  websocket: { name: 'WebSocket', how: 'TCP port' },
};

function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
