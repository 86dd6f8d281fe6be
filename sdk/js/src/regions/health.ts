// Owns what `GET /v1/regions` says: how it is read and when a region counts as well. Pure.

export interface KnownRegion {
  readonly name: string;
  readonly url: string;
}

/** One region's answer to a probe. */
export interface Health {
  /** The region's name; empty where it told none. */
  readonly name: string;
  readonly state: string;
  /** Load of the node that answered, 0 to 1. */
  readonly load: number;
  readonly rttMs: number;
  readonly regions: readonly KnownRegion[];
}

/** A node this full takes nobody who has a choice. */
const FULL = 0.95;
/** More regions than this are no list of regions. */
const MAX_REGIONS = 32;

/** Ready for clients without reservation. */
export function isWell(health: Health): boolean {
  return health.state === 'serving' && health.load < FULL;
}

/** Better than nothing: serves, but some part of it is missing or it is full. */
export function isUsable(health: Health): boolean {
  return health.state === 'serving' || health.state === 'degraded';
}

/** The last resort: it is far behind the log, and serves what it has. */
export function isLate(health: Health): boolean {
  return health.state === 'rebuilding';
}

/** Reads an answer; `null` for whatever else stands at that address. */
export function readHealth(value: unknown, rttMs: number): Health | null {
  if (typeof value !== 'object' || value === null) return null;
  const body = value as Record<string, unknown>;
  if (typeof body['state'] !== 'string') return null;
  const regions = Array.isArray(body['regions']) ? body['regions'].slice(0, MAX_REGIONS) : [];
  return {
    name: typeof body['region'] === 'string' ? body['region'] : '',
    state: body['state'],
    load: typeof body['load'] === 'number' ? body['load'] : 0,
    rttMs,
    regions: regions.filter(isRegion).map(({ name, url }) => ({ name, url })),
  };
}

/** An address in the one way in which it is compared and kept; `null` if it is none. */
export function baseUrl(text: string): string | null {
  if (!/^(https?|wss?):\/\//i.test(text) || !URL.canParse(text)) return null;
  const url = new URL(text);
  const scheme = url.protocol.replace(/^ws/, 'http');
  return `${scheme}//${url.host}${url.pathname.replace(/\/+$/, '')}`;
}

export function isSecure(url: string): boolean {
  return /^(https|wss):/i.test(url);
}

function isRegion(value: unknown): value is KnownRegion {
  if (typeof value !== 'object' || value === null) return false;
  const { name, url } = value as Record<string, unknown>;
  return typeof name === 'string' && typeof url === 'string';
}
