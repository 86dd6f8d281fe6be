// Owns which faults speak against a region rather than against a token, this client or its application.

import type { MeridianError } from '../errors.js';

const OWN_FAULTS = ['slow_reader', 'taken_over', 'token_callback_failed', 'internal_client', 'closed'];

export function speaksAgainst(error: MeridianError): boolean {
  const elsewhere = error.action === 'reconnect' || error.action === 'retry';
  return elsewhere && !OWN_FAULTS.includes(error.code);
}
