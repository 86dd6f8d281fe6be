// Owns the typed error of this SDK and what each stable code asks of a client.
// Never decides when to act: that is the callers' part.

/** What a client should do about an error; see docs/protocol.md, *Errors*. */
export type ErrorAction = 'stop' | 'refresh' | 'resume' | 'reconnect' | 'retry';

const ACTIONS: readonly string[] = ['stop', 'refresh', 'resume', 'reconnect', 'retry'];

/** Every code of docs/protocol.md, with its close code and its action. */
export const CODES: Readonly<Record<string, readonly [closeCode: number, action: ErrorAction]>> = {
  requested: [4000, 'stop'],
  malformed: [4001, 'stop'],
  frame_too_large: [4002, 'stop'],
  bad_request: [4003, 'stop'],
  unsupported: [4004, 'stop'],
  not_connected: [4005, 'stop'],
  already_connected: [4006, 'stop'],
  connect_timeout: [4007, 'reconnect'],
  heartbeat_timeout: [4008, 'reconnect'],
  unauthenticated: [4010, 'refresh'],
  token_expired: [4011, 'refresh'],
  wrong_identity: [4012, 'stop'],
  forbidden: [4013, 'stop'],
  origin_forbidden: [4014, 'stop'],
  authoriser_unavailable: [4015, 'retry'],
  token_revoked: [4016, 'refresh'],
  quota_exceeded: [4017, 'reconnect'],
  bad_channel: [4020, 'stop'],
  already_subscribed: [4021, 'stop'],
  not_subscribed: [4022, 'stop'],
  too_many_channels: [4023, 'stop'],
  bad_cursor: [4024, 'stop'],
  foreign_cursor: [4025, 'stop'],
  cursor_beyond_end: [4026, 'stop'],
  ack_ahead: [4027, 'stop'],
  no_subscriber: [4028, 'stop'],
  event_too_large: [4030, 'stop'],
  bad_payload: [4031, 'stop'],
  batch_too_large: [4032, 'stop'],
  horizon_passed: [4033, 'stop'],
  not_stored: [4034, 'retry'],
  outcome_unknown: [4035, 'retry'],
  overloaded: [4036, 'retry'],
  log_unavailable: [4037, 'retry'],
  log_halted: [4038, 'stop'],
  read_only: [4039, 'stop'],
  not_yet: [4040, 'retry'],
  unavailable: [4041, 'retry'],
  rate_limited: [4042, 'retry'],
  too_many_sessions: [4043, 'reconnect'],
  lane_stopped: [4044, 'resume'],
  slow_reader: [4045, 'reconnect'],
  taken_over: [4046, 'stop'],
  wrong_region: [4047, 'stop'],
  draining: [4050, 'reconnect'],
  not_found: [4051, 'stop'],
  method_not_allowed: [4052, 'stop'],
  internal: [4060, 'reconnect'],
};

export interface ErrorDetails {
  /** Milliseconds to wait before trying again, as the server asked. */
  retryAfterMs?: number | undefined;
  /** The value that was exceeded. */
  limit?: number | undefined;
  /** The cursor up to which the region has applied the log. */
  applied?: string | undefined;
  /** Regions that can do what this one refused. */
  elsewhere?: readonly RegionPlace[];
  channel?: string | undefined;
  cause?: unknown;
}

/** Where the clients of a region connect, as a server says. */
export interface RegionPlace {
  readonly region: string | undefined;
  readonly url: string;
}

/** Every failure that this SDK reports. `code` is stable, `message` is for people. */
export class MeridianError extends Error {
  override readonly name = 'MeridianError';
  readonly code: string;
  readonly action: ErrorAction;
  readonly retryAfterMs: number | undefined;
  readonly limit: number | undefined;
  readonly applied: string | undefined;
  readonly elsewhere: readonly RegionPlace[];
  readonly channel: string | undefined;

  constructor(code: string, action: ErrorAction, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.action = action;
    this.retryAfterMs = details.retryAfterMs;
    this.limit = details.limit;
    this.applied = details.applied;
    this.elsewhere = details.elsewhere ?? [];
    this.channel = details.channel;
  }
}

/** The action of a code that came without one; `fallback` for a code this version doesn't know. */
export function actionOf(code: string, fallback: ErrorAction): ErrorAction {
  return Object.hasOwn(CODES, code) ? (CODES[code]?.[1] ?? fallback) : fallback;
}

export function isAction(value: unknown): value is ErrorAction {
  return typeof value === 'string' && ACTIONS.includes(value);
}

/** A message or frame of the peer that cannot be read. */
export function badFrame(message: string): MeridianError {
  return new MeridianError('bad_frame', 'reconnect', message);
}

/** The error for a connection that ended with a close code and, as reason, the code's name. */
export function closeError(code: number | undefined, reason: string): MeridianError {
  if (code !== undefined && code >= 4000 && code <= 4999) {
    const known = Object.entries(CODES).find(([, row]) => row[0] === code)?.[0];
    const name = known ?? (reason === '' ? `close_${code}` : reason);
    return new MeridianError(name, actionOf(name, 'reconnect'), `the server closed: ${name}`);
  }
  const detail = code === undefined ? '' : ` (${code}${reason === '' ? '' : ` ${reason}`})`;
  return new MeridianError('connection_lost', 'reconnect', `the connection was lost${detail}`);
}

/** Whether this is the error that any connection may end with, not a word of the server. */
export function isTransportFailure(error: MeridianError): boolean {
  return error.code === 'connection_lost' || error.code === 'connect_failed';
}

/** Turns whatever was thrown into a typed error. */
export function asMeridianError(
  thrown: unknown,
  code: string,
  action: ErrorAction,
  message: string,
): MeridianError {
  return thrown instanceof MeridianError
    ? thrown
    : new MeridianError(code, action, message, { cause: thrown });
}
