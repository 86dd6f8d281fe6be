// Owns commands that outlive a connection: sent again after a reconnect, retried as the error says,
// given up at their deadline. Never knows what a command means.

import { backoffMs } from './backoff.js';
import { Alarm, type Clock } from './clock.js';
import { asMeridianError, MeridianError } from './errors.js';
import type { Session } from './session.js';
import type { ServerMessage } from './wire.js';

/** One command until it is settled. */
export interface Call {
  /** The command's body for an attempt at `now`; throws a typed error to give up. */
  body(session: Session, now: number): Record<string, unknown>;
  /** Takes the answer; a number asks for another attempt after so many milliseconds. */
  answered(message: ServerMessage): number | 'done';
  failed(error: MeridianError): void;
  /** Waking milliseconds it may take in all; absent for as long as `body` goes on. */
  readonly timeoutMs?: number | undefined;
}

export interface CallsPort {
  readonly clock: Clock;
  session(): Session | null;
  awake(): number;
  renewToken(): void;
  reconnect(error: MeridianError): void;
}

interface Entry {
  readonly call: Call;
  readonly deadline: number;
  sentOn: Session | null;
  /** Counts sends; an answer to an earlier one is not waited for any more. */
  sends: number;
  sentAt: number;
  retryAt: number;
  attempts: number;
  refreshes: number;
}

export const CALL_RETRY = { baseMs: 500, capMs: 30_000 };
/** A command sent and without an answer for this long, in waking milliseconds, is sent again. */
const ANSWER_MS = 30_000;
const MAX_REFRESHES = 3;

export class Calls {
  readonly #port: CallsPort;
  readonly #entries = new Set<Entry>();
  readonly #alarm: Alarm;
  #shut: MeridianError | null = null;

  constructor(port: CallsPort) {
    this.#port = port;
    this.#alarm = new Alarm(port.clock, () => this.#sendDue());
  }

  add(call: Call): void {
    if (this.#shut) return call.failed(this.#shut);
    const deadline = call.timeoutMs === undefined ? Infinity : this.#port.awake() + call.timeoutMs;
    const entry: Entry = { call, deadline, sentOn: null, sends: 0, sentAt: 0, retryAt: 0, attempts: 0, refreshes: 0 };
    this.#entries.add(entry);
    this.#send(entry);
  }

  /** Sends everything that is not under way on a session that still lives. */
  up(): void {
    for (const entry of [...this.#entries]) this.#send(entry);
  }

  down(session: Session): void {
    for (const entry of this.#entries) {
      if (entry.sentOn === session) entry.sentOn = null;
    }
    this.#sendDue();
  }

  tick(awake: number): void {
    for (const entry of [...this.#entries]) {
      if (awake >= entry.deadline) {
        this.#giveUp(entry, new MeridianError('timeout', 'retry', 'the command was not answered in time'));
      } else if (entry.sentOn && entry.sentOn.queued > 0) {
        entry.sentAt = awake;
      } else if (entry.sentOn && awake - entry.sentAt >= ANSWER_MS) {
        entry.sentOn = null;
        this.#send(entry);
      }
    }
  }

  /** Takes calls again after `fail`. */
  open(): void {
    this.#shut = null;
  }

  /** Gives everything up, and what comes later as well. */
  fail(error: MeridianError): void {
    this.#shut = error;
    this.#alarm.clear();
    for (const entry of [...this.#entries]) this.#giveUp(entry, error);
  }

  #sendDue(): void {
    for (const entry of [...this.#entries]) this.#send(entry);
  }

  #send(entry: Entry): void {
    const session = this.#port.session();
    if (!session || session.over || entry.sentOn || !this.#entries.has(entry)) return;
    const now = this.#port.clock.now();
    if (now < entry.retryAt) return this.#alarm.by(entry.retryAt);
    try {
      const body = entry.call.body(session, now);
      entry.sentOn = session;
      entry.sentAt = this.#port.awake();
      const send = ++entry.sends;
      const current = () => entry.sends === send && entry.sentOn === session && this.#entries.has(entry);
      session.command(body, {
        reply: (message) => {
          if (current()) this.#answered(entry, message);
        },
        failed: (error) => {
          if (current()) this.#refused(entry, error);
        },
        lost: () => undefined,
      });
    } catch (error) {
      this.#giveUp(entry, asMeridianError(error, 'bad_argument', 'stop', 'the command cannot be encoded'));
    }
  }

  #answered(entry: Entry, message: ServerMessage): void {
    let again: number | 'done';
    try {
      again = entry.call.answered(message);
    } catch (error) {
      return this.#giveUp(entry, asMeridianError(error, 'bad_frame', 'stop', 'the answer cannot be read'));
    }
    if (again === 'done') this.#entries.delete(entry);
    else this.#later(entry, again);
  }

  #refused(entry: Entry, error: MeridianError): void {
    if (error.action === 'stop') return this.#giveUp(entry, error);
    if (error.action === 'refresh') {
      entry.refreshes += 1;
      if (entry.refreshes > MAX_REFRESHES) return this.#giveUp(entry, error);
      this.#port.renewToken();
    }
    this.#later(entry, error.retryAfterMs ?? 0);
    if (error.action === 'reconnect') this.#port.reconnect(error);
  }

  #later(entry: Entry, atLeastMs: number): void {
    const { clock } = this.#port;
    const wait = Math.max(atLeastMs, backoffMs(CALL_RETRY, entry.attempts, () => clock.random()));
    entry.attempts += 1;
    entry.sentOn = null;
    entry.retryAt = clock.now() + wait;
    this.#send(entry);
  }

  #giveUp(entry: Entry, error: MeridianError): void {
    if (this.#entries.delete(entry)) entry.call.failed(error);
  }
}
