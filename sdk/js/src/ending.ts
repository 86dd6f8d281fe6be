// Owns why the last connection ended, in the words of docs/protocol.md, *connect*. Pure: all times are
// waking time. What none of the words says truly is not told.

import { isTransportFailure, type MeridianError } from './errors.js';

export type ReconnectCause = 'network' | 'heartbeat' | 'drain' | 'server' | 'wake' | 'refresh';

/** Waking asks the peer once; a connection lost before that answer is overdue was lost in sleep. */
const WAKE_MS = 15_000;

export class Ending {
  #cause: ReconnectCause | undefined;
  #draining = false;
  #wokeAt = -Infinity;

  /** Why the last connection ended, or is about to; `undefined` before the first. */
  get cause(): ReconnectCause | undefined {
    return this.#draining ? 'drain' : this.#cause;
  }

  began(): void {
    this.#draining = false;
    this.#cause = undefined;
  }

  /** The node of the running connection said that it stops. */
  drained(): void {
    this.#draining = true;
  }

  /** The process had not run for a while. */
  woke(awake: number): void {
    this.#wokeAt = awake;
  }

  lost(error: MeridianError, awake: number): void {
    const asleep = awake - this.#wokeAt < WAKE_MS;
    this.#cause = this.#draining ? 'drain' : causeOf(error, asleep);
    this.#draining = false;
  }

  /** The application dropped it: for good, or as a network would. */
  dropped(closed: boolean): void {
    this.#cause = closed ? undefined : 'network';
    this.#draining = false;
  }
}

function causeOf(error: MeridianError, asleep: boolean): ReconnectCause | undefined {
  if (error.code === 'unresponsive' || error.code === 'heartbeat_timeout') return asleep ? 'wake' : 'heartbeat';
  if (isTransportFailure(error)) return asleep ? 'wake' : 'network';
  if (error.code === 'draining') return 'drain';
  if (error.code === 'internal_client') return undefined;
  return error.action === 'refresh' ? 'refresh' : 'server';
}
