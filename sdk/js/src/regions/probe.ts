// Owns asking one region how it is, over HTTP. Never throws, and never decides what follows.

import type { Clock } from '../clock.js';
import { readHealth, type Health } from './health.js';
import { PROBE_MS } from './round.js';

/** As much of `fetch` as a probe needs. */
export type Fetch = (url: string, init: ProbeInit) => Promise<{ readonly ok: boolean; json(): Promise<unknown> }>;

export interface ProbeInit {
  readonly signal: AbortSignal;
  readonly cache: 'no-store';
  readonly credentials: 'omit';
}

/** The region's answer, or `null` if none came in time. */
export async function probe(fetch: Fetch, clock: Clock, base: string): Promise<Health | null> {
  const abort = new AbortController();
  const asked = clock.now();
  let timer: unknown = null;
  const late = new Promise<null>((resolve) => {
    timer = clock.setTimeout(() => resolve(null), PROBE_MS);
  });
  const answer = async () => {
    const response = await fetch(`${base}/v1/regions`, { signal: abort.signal, cache: 'no-store', credentials: 'omit' });
    const rttMs = clock.now() - asked;
    return response.ok ? readHealth(await response.json(), rttMs) : null;
  };
  try {
    return await Promise.race([answer(), late]);
  } catch {
    return null;
  } finally {
    clock.clearTimeout(timer);
    abort.abort();
  }
}
