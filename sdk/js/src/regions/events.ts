// Owns what goes into the decisions about regions and what comes out. Holds no behaviour.

import type { MeridianError } from '../errors.js';
import type { Health } from './health.js';
import type { HomingPolicy } from './homing.js';
import type { Redirect, RedirectNotice } from './redirects.js';

/** Why a client is where it is. */
export type RegionReason = 'start' | 'failure' | 'home' | 'redirect';

export interface RegionChange {
  /** As the region calls itself, else its address. */
  readonly region: string;
  readonly url: string;
  readonly reason: RegionReason;
}

export interface RegionsPolicy {
  /** Base addresses; the first is home until a nearer one is found well beside it. */
  readonly urls: readonly string[];
  /** Whether regions that an answer names are used too. */
  readonly discover: boolean;
  readonly homing: HomingPolicy;
}

export type RegionEvent =
  /** A dial is wanted. */
  | { type: 'pick' }
  | { type: 'timer' | 'dialed' | 'offline' | 'online' | 'freeze' | 'wake' | 'dropped' }
  | { type: 'dial_failed' | 'lost'; error: MeridianError }
  /** How the region that answers the dial calls itself. */
  | { type: 'named'; name: string }
  /** A probe was answered, or no answer comes. */
  | { type: 'probed'; url: string; health: Health | null }
  /** The server sends this client elsewhere. */
  | { type: 'redirect'; redirect: Redirect };

export type RegionAction =
  | { type: 'probe'; urls: readonly string[] }
  /** `redirected`: why a server sent this client there. */
  | { type: 'dial'; url: string; redirected?: string }
  | { type: 'redirected'; notice: RedirectNotice }
  /** Dial beside the running connection; `pick` follows. */
  | { type: 'move' }
  | { type: 'arrived'; change: RegionChange };
