// Owns how much of its service the gateway gives, as it said last. Pure: says what that means for a channel
// and for the connection, and never acts on it.

/** A name of a newer gateway means `degraded`. */
export type Mode = 'normal' | 'degraded' | 'polling-only' | 'read-only';

/** What stands: the node's mode, and those of namespaces that have one of their own. */
export interface Modes {
  readonly mode: Mode;
  readonly namespaces: Readonly<Record<string, Mode>>;
}

export const ALL_NORMAL: Modes = { mode: 'normal', namespaces: {} };

export function modeNamed(name: string): Mode {
  return name === 'normal' || name === 'polling-only' || name === 'read-only' ? name : 'degraded';
}

/** The mode that counts for a channel. */
export function modeOf(modes: Modes, channel: string): Mode {
  const [namespace] = channel.split(':', 1) as [string];
  return Object.hasOwn(modes.namespaces, namespace) ? (modes.namespaces[namespace] as Mode) : modes.mode;
}

/** Whether a client of these channels has no use for a live connection: one channel that is live keeps it. */
export function leavesConnection(modes: Modes, channels: readonly string[]): boolean {
  if (channels.length === 0) return modes.mode === 'polling-only';
  return channels.every((channel) => modeOf(modes, channel) === 'polling-only');
}

export function sameModes(a: Modes, b: Modes): boolean {
  const names = Object.keys(a.namespaces);
  return a.mode === b.mode && names.length === Object.keys(b.namespaces).length
    && names.every((name) => a.namespaces[name] === b.namespaces[name]);
}
