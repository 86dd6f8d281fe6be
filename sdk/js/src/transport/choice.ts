// Owns which transports a connection tries, and why it does not try WebTransport. Pure.

import { TRANSPORTS, type TransportName } from '../types.js';

/** Why a connection does not use the transport that it would rather have; see docs/protocol.md, *connect*. */
export type FallbackReason = 'unsupported' | 'failed' | 'timeout' | 'remembered' | 'forced';

export const PREFERRED: TransportName = TRANSPORTS[0];

export interface ChoiceInput {
  readonly mode: 'auto' | TransportName;
  readonly usable: (transport: TransportName) => boolean;
  /** What worked here not long ago: what would rather be used did not. */
  readonly remembered: TransportName | null;
  /** The platform's WebTransport is known not to hold. */
  readonly avoid: boolean;
}

export interface Choice {
  /** In order of preference; never empty. */
  readonly order: readonly TransportName[];
  /** Why the preferred transport is not in it. */
  readonly without: FallbackReason | undefined;
  /** Some are left out because of what is remembered. */
  readonly shortened: boolean;
}

export function choose({ mode, usable, remembered, avoid }: ChoiceInput): Choice {
  if (mode !== 'auto') return { order: [mode], without: mode === PREFERRED ? undefined : 'forced', shortened: false };
  const all = TRANSPORTS.filter(usable);
  const held = avoid ? all.filter((transport) => transport !== PREFERRED) : all;
  const candidates = held.length > 0 ? held : [PREFERRED];
  const order = candidates.slice(Math.max(0, candidates.findIndex((transport) => transport === remembered)));
  const shortened = order.length < candidates.length;
  if (order[0] === PREFERRED) return { order, without: undefined, shortened };
  return { order, without: candidates[0] === PREFERRED ? 'remembered' : 'unsupported', shortened };
}
