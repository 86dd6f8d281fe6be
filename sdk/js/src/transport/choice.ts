// Owns which transports a connection tries, and why it does not try WebTransport. Pure.

import type { TransportName } from '../types.js';

/** Why a connection does not use the transport that it would rather have; see docs/protocol.md, *connect*. */
export type FallbackReason = 'unsupported' | 'failed' | 'timeout' | 'remembered' | 'forced';

export const PREFERRED: TransportName = 'webtransport';

export interface ChoiceInput {
  readonly mode: 'auto' | TransportName;
  readonly usable: (transport: TransportName) => boolean;
  /** WebTransport failed here not long ago. */
  readonly remembered: boolean;
  /** The platform's WebTransport is known not to hold. */
  readonly avoid: boolean;
}

export interface Choice {
  /** In order of preference; never empty. */
  readonly order: readonly TransportName[];
  /** Why the preferred transport is not in it. */
  readonly without: FallbackReason | undefined;
}

export function choose({ mode, usable, remembered, avoid }: ChoiceInput): Choice {
  if (mode !== 'auto') return { order: [mode], without: mode === PREFERRED ? undefined : 'forced' };
  const other: TransportName = 'websocket';
  if (!usable(other)) return { order: [PREFERRED], without: undefined };
  if (avoid || !usable(PREFERRED)) return { order: [other], without: 'unsupported' };
  return remembered ? { order: [other], without: 'remembered' } : { order: [PREFERRED, other], without: undefined };
}
