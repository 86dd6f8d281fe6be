// Owns the length of waits between attempts: capped, exponential, jittered.
// Never waits by itself and never reads a clock.

export interface BackoffPolicy {
  /** Upper bound of the first wait, in milliseconds. */
  baseMs: number;
  /** Upper bound of every wait, in milliseconds. */
  capMs: number;
}

/**
 * The wait before attempt `attempt` (0 is the first): between half and all of
 * `min(cap, base * 2^attempt)`, so that many clients spread out and none comes back at once.
 */
export function backoffMs(policy: BackoffPolicy, attempt: number, random: () => number): number {
  const exponent = Math.min(Math.max(attempt, 0), 30);
  const ceiling = Math.min(policy.capMs, policy.baseMs * 2 ** exponent);
  return Math.round(ceiling * (0.5 + 0.5 * random()));
}

/** An even spread over `[0, spreadMs)`. */
export function jitterMs(spreadMs: number, random: () => number): number {
  return Math.floor(Math.max(0, spreadMs) * random());
}
