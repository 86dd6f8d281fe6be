// Owns the decisions about the connection: when to dial, to move, to wait, to stop. One owner of all
// reconnects. Pure: no timers, no sockets; `handle(event, now)` answers actions, `wakeAt` the next time.

import { backoffMs, jitterMs, type BackoffPolicy } from './backoff.js';
import { MeridianError } from './errors.js';
import type { ClientState } from './types.js';

export interface MachinePolicy {
  readonly backoff: BackoffPolicy;
  /** A connection that lived this long was a good one: the next wait is short again. */
  readonly stableMs: number;
  /** Spread of reconnects after the network or the page came back. */
  readonly returnSpreadMs: number;
  /** Whether a new token can be had. */
  readonly canRenewToken: boolean;
}

export type MachineEvent =
  | { type: 'start' | 'timer' | 'dialed' | 'online' | 'offline' | 'freeze' | 'wake' | 'close' }
  | { type: 'dial_failed' | 'lost'; error: MeridianError }
  | { type: 'drain'; afterMs: number }
  /** Another place is better: dial it beside the running connection, which stays if that fails. */
  | { type: 'move' }
  | { type: 'interrupt'; ms: number };

export type MachineAction =
  | { type: 'dial' | 'abort_dial' | 'drop' | 'retire' | 'probe' | 'renew_token' }
  | { type: 'stop'; error: MeridianError }
  | { type: 'state'; state: ClientState };

/** Refusals of fresh tokens in a row before the client gives up. */
const MAX_REFUSALS = 3;

export class Machine {
  readonly #policy: MachinePolicy;
  readonly #random: () => number;
  #state: ClientState = 'idle';
  #live = false;
  #dialing = false;
  #online = true;
  #attempt = 0;
  #refusals = 0;
  #dialAt: number | null = null;
  #heldUntil = 0;
  #liveSince = 0;
  /** The dial under way is a move that nothing forces. */
  #optional = false;

  constructor(policy: MachinePolicy, random: () => number) {
    this.#policy = policy;
    this.#random = random;
  }

  get state(): ClientState {
    return this.#state;
  }

  /** When to send `timer`; `null` while nothing is planned. */
  wakeAt(): number | null {
    return this.#dialing || this.#ended || (!this.#online && !this.#live) ? null : this.#dialAt;
  }

  handle(event: MachineEvent, now: number): MachineAction[] {
    const actions = this.#ended && event.type !== 'start' && event.type !== 'close' ? [] : this.#decide(event, now);
    const state = this.#derive();
    if (state === this.#state) return actions;
    this.#state = state;
    return [...actions, { type: 'state', state }];
  }

  #decide(event: MachineEvent, now: number): MachineAction[] {
    switch (event.type) {
      case 'start': return this.#start(now);
      case 'timer': return this.#dialIfDue(now);
      case 'dialed': return this.#dialed(now);
      case 'dial_failed': return this.#dialFailed(event.error, now);
      case 'lost': return this.#lost(event.error, now);
      case 'drain': return this.#drain(now + event.afterMs);
      case 'move': return this.#move();
      case 'online': return this.#returned(now, true);
      case 'wake': return this.#returned(now, false);
      case 'offline': return this.#offline();
      case 'freeze': return [];
      case 'interrupt': return this.#interrupt(event.ms, now);
      case 'close': return this.#end('closed');
    }
  }

  #start(now: number): MachineAction[] {
    if (this.#live || this.#dialing) return [];
    this.#state = 'waiting';
    this.#attempt = 0;
    this.#refusals = 0;
    this.#heldUntil = 0;
    this.#dialAt = now;
    return this.#dialIfDue(now);
  }

  #dialIfDue(now: number): MachineAction[] {
    if (this.#dialing || this.#dialAt === null || now < this.#dialAt || !this.#online) return [];
    return this.#dial(false);
  }

  #dial(optional: boolean): MachineAction[] {
    this.#dialing = true;
    this.#optional = optional;
    this.#dialAt = null;
    return [{ type: 'dial' }];
  }

  #drain(at: number): MachineAction[] {
    this.#optional = false;
    return this.#plan(at);
  }

  #move(): MachineAction[] {
    // A dial that is planned or under way goes to the better place by itself.
    return this.#live && !this.#dialing && this.#dialAt === null && this.#online ? this.#dial(true) : [];
  }

  #dialed(now: number): MachineAction[] {
    const moved = this.#live;
    this.#dialing = false;
    this.#live = true;
    this.#dialAt = null;
    this.#refusals = 0;
    this.#liveSince = now;
    return moved ? [{ type: 'retire' }] : [];
  }

  #dialFailed(error: MeridianError, now: number): MachineAction[] {
    this.#dialing = false;
    if (error.action === 'stop') return this.#live ? [] : this.#stop(error);
    const actions = this.#refused(error);
    if (this.#ended || (this.#optional && this.#live)) return actions;
    return [...actions, ...this.#again(error, now)];
  }

  #lost(error: MeridianError, now: number): MachineAction[] {
    this.#live = false;
    if (error.action === 'stop') return this.#stop(error);
    if (now - this.#liveSince >= this.#policy.stableMs) this.#attempt = 0;
    const actions = this.#refused(error);
    if (this.#ended || this.#dialing) return actions;
    return [...actions, ...this.#again(error, now)];
  }

  /** A refused token is renewed; one that cannot be, or is refused again and again, ends it. */
  #refused(error: MeridianError): MachineAction[] {
    if (error.action !== 'refresh') return [];
    this.#refusals += 1;
    const hopeless = !this.#policy.canRenewToken || this.#refusals >= MAX_REFUSALS;
    return hopeless && !this.#live ? this.#stop(this.#inVain(error)) : [{ type: 'renew_token' }];
  }

  /** The refusal as the application gets it: there is nothing left to do that this client can. */
  #inVain(error: MeridianError): MeridianError {
    const why = this.#policy.canRenewToken ? `${MAX_REFUSALS} tokens in a row were refused` : 'a token given as text cannot be renewed';
    return new MeridianError(error.code, 'stop', `${error.message}; ${why}`, { cause: error });
  }

  #again(error: MeridianError, now: number): MachineAction[] {
    const wait = backoffMs(this.#policy.backoff, this.#attempt, this.#random);
    this.#attempt += 1;
    const asked = error.retryAfterMs ?? 0;
    if (asked > 0) this.#heldUntil = Math.max(this.#heldUntil, now + asked);
    return this.#plan(now + Math.max(wait, asked));
  }

  #plan(at: number): MachineAction[] {
    this.#dialAt = Math.max(at, this.#heldUntil);
    return [];
  }

  #returned(now: number, online: boolean): MachineAction[] {
    const came = online && !this.#online;
    if (online) this.#online = true;
    if (this.#live) return [{ type: 'probe' }];
    if (this.#dialing || this.#dialAt === null) return [];
    if (came) this.#attempt = 0;
    const soon = now + jitterMs(this.#policy.returnSpreadMs, this.#random);
    return this.#plan(Math.min(soon, Math.max(this.#dialAt, now)));
  }

  #offline(): MachineAction[] {
    this.#online = false;
    return [];
  }

  #interrupt(ms: number, now: number): MachineAction[] {
    const actions: MachineAction[] = [];
    if (this.#dialing) actions.push({ type: 'abort_dial' });
    if (this.#live) actions.push({ type: 'drop' });
    this.#dialing = false;
    this.#live = false;
    this.#attempt = 0;
    this.#heldUntil = now + ms;
    this.#dialAt = this.#heldUntil;
    return actions;
  }

  #stop(error: MeridianError): MachineAction[] {
    return [...this.#end('stopped'), { type: 'stop', error }];
  }

  #end(state: 'stopped' | 'closed'): MachineAction[] {
    const actions: MachineAction[] = [];
    if (this.#dialing) actions.push({ type: 'abort_dial' });
    if (this.#live) actions.push({ type: 'drop' });
    this.#dialing = false;
    this.#live = false;
    this.#dialAt = null;
    this.#state = state;
    return [...actions, { type: 'state', state }];
  }

  get #ended(): boolean {
    return this.#state === 'closed' || this.#state === 'stopped' || this.#state === 'idle';
  }

  #derive(): ClientState {
    if (this.#ended) return this.#state;
    if (this.#live) return 'connected';
    if (!this.#online && !this.#dialing) return 'offline';
    return this.#dialing ? 'connecting' : 'waiting';
  }
}
