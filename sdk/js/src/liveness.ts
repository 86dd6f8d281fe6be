// Owns the verdict on whether the peer is still there: silence leads to one question, and only an
// unanswered question to `dead`. Never holds a timer; all times are waking time.

export interface LivenessPolicy {
  /** The peer sends something at least this often, in milliseconds. */
  heartbeatMs: number;
  /** Silence beyond the heartbeat before asking. */
  graceMs: number;
  /** How long an answer may take. */
  answerMs: number;
}

export type LivenessVerdict = 'alive' | 'ask' | 'dead';

export class Liveness {
  readonly #policy: LivenessPolicy;
  #heardAt: number;
  #askedAt: number | null = null;

  constructor(policy: LivenessPolicy, awake: number) {
    this.#policy = policy;
    this.#heardAt = awake;
  }

  heard(awake: number): void {
    this.#heardAt = awake;
    this.#askedAt = null;
  }

  /** `doubt` is a reason to ask now: a late tick, a page that came back, a network that returned. */
  check(awake: number, doubt: boolean): LivenessVerdict {
    if (this.#askedAt !== null && awake - this.#askedAt >= this.#policy.answerMs) return 'dead';
    const silent = awake - this.#heardAt >= this.#policy.heartbeatMs + this.#policy.graceMs;
    if (!doubt && (!silent || this.#askedAt !== null)) return 'alive';
    this.#askedAt ??= awake;
    return 'ask';
  }
}
