// Owns the decisions of one connection attempt over several transports: who starts when, who may
// send `connect`, who wins. At most one `connect` is under way at a time, so that a client never
// takes its own subscriber name over. Pure: never dials, never holds a timer.

import { isTransportFailure, MeridianError } from '../errors.js';
import type { TransportName } from '../types.js';

export interface RacePolicy {
  /** The transports in order of preference. */
  readonly order: readonly TransportName[];
  /** Start of WebSocket after WebTransport, in milliseconds. */
  readonly headStartMs: number;
  /** How long a transport may take to open. */
  readonly openMs: number;
  /** How long `connected` may take. */
  readonly answerMs: number;
}

export type RaceEvent =
  | { type: 'start' | 'timer' }
  | { type: 'opened' | 'connected'; transport: TransportName }
  | { type: 'failed'; transport: TransportName; error: MeridianError };

export type RaceAction =
  | { type: 'dial' | 'greet' | 'abandon'; transport: TransportName }
  /** `rivals`: another transport of this race had sent `connect` too. */
  | { type: 'won'; transport: TransportName; rivals: boolean }
  | { type: 'lost'; error: MeridianError };

/**
 * A transport of requests starts when all better ones failed, and without that only so late that it
 * does not win where a better one is merely slow.
 */
const LATE_START_MS: Readonly<Partial<Record<TransportName, number>>> = { sse: 3_000, longpoll: 6_000 };

type Runner = { phase: 'waiting' | 'dialing' | 'open' | 'greeting' | 'out'; since: number };

export class Race {
  readonly #policy: RacePolicy;
  readonly #runners = new Map<TransportName, Runner>();
  #startedAt = 0;
  #greetings = 0;
  #over = false;
  #lastError = new MeridianError('connect_failed', 'reconnect', 'no transport could connect');

  constructor(policy: RacePolicy) {
    this.#policy = policy;
    for (const transport of policy.order) this.#runners.set(transport, { phase: 'waiting', since: 0 });
  }

  /** What to do about `event` at `now`, in waking milliseconds. */
  handle(event: RaceEvent, now: number): RaceAction[] {
    if (this.#over) return [];
    switch (event.type) {
      case 'start':
        this.#startedAt = now;
        return this.#advance(now);
      case 'timer':
        return [...this.#expire(now), ...this.#advance(now)];
      case 'opened':
        this.#set(event.transport, 'open', now);
        return this.#advance(now);
      case 'connected':
        return this.#win(event.transport);
      case 'failed':
        return this.#failed(event.transport, event.error, now);
    }
  }

  /** When to send `timer` next, in waking milliseconds. */
  nextAt(): number | null {
    if (this.#over) return null;
    const times = [...this.#runners.values()].map((runner) => this.#deadline(runner));
    for (const transport of this.#phases('waiting')) times.push(this.#startAt(transport));
    const next = Math.min(...times);
    return next === Infinity ? null : next;
  }

  #win(transport: TransportName): RaceAction[] {
    this.#over = true;
    const others = [...this.#runners].filter(([name, runner]) => name !== transport && running(runner));
    return [
      { type: 'won', transport, rivals: this.#greetings > 1 },
      ...others.map(([name]): RaceAction => ({ type: 'abandon', transport: name })),
    ];
  }

  #failed(transport: TransportName, error: MeridianError, now: number): RaceAction[] {
    const answer = this.#runners.get(transport)?.phase === 'greeting' && !isTransportFailure(error);
    this.#set(transport, 'out', now);
    this.#lastError = error;
    return answer ? this.#lose() : this.#advance(now);
  }

  #lose(): RaceAction[] {
    this.#over = true;
    const rest = [...this.#runners].filter(([, runner]) => running(runner));
    return [
      ...rest.map(([transport]): RaceAction => ({ type: 'abandon', transport })),
      { type: 'lost', error: this.#lastError },
    ];
  }

  #expire(now: number): RaceAction[] {
    const late = [...this.#runners].filter(([, runner]) => this.#deadline(runner) <= now);
    return late.map(([transport]) => {
      this.#set(transport, 'out', now);
      return { type: 'abandon', transport };
    });
  }

  #advance(now: number): RaceAction[] {
    const actions: RaceAction[] = [];
    for (const transport of this.#phases('waiting')) {
      const alone = [...this.#runners.values()].every((runner) => !running(runner));
      if (now < this.#startAt(transport) && !alone) continue;
      this.#set(transport, 'dialing', now);
      actions.push({ type: 'dial', transport });
    }
    const [open] = this.#phases('open');
    if (open && this.#phases('greeting').length === 0) {
      this.#set(open, 'greeting', now);
      this.#greetings += 1;
      actions.push({ type: 'greet', transport: open });
    }
    const ended = [...this.#runners.values()].every((runner) => runner.phase === 'out');
    return ended ? [...actions, ...this.#lose()] : actions;
  }

  #startAt(transport: TransportName): number {
    const first = transport === this.#policy.order[0];
    return this.#startedAt + (first ? 0 : (LATE_START_MS[transport] ?? this.#policy.headStartMs));
  }

  #deadline(runner: Runner): number {
    if (runner.phase === 'dialing') return runner.since + this.#policy.openMs;
    return runner.phase === 'greeting' ? runner.since + this.#policy.answerMs : Infinity;
  }

  #phases(phase: Runner['phase']): TransportName[] {
    return [...this.#runners].filter(([, runner]) => runner.phase === phase).map(([name]) => name);
  }

  #set(transport: TransportName, phase: Runner['phase'], now: number): void {
    this.#runners.set(transport, { phase, since: now });
  }
}

function running(runner: Runner): boolean {
  return runner.phase === 'dialing' || runner.phase === 'open' || runner.phase === 'greeting';
}
