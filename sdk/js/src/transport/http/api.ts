// Owns single requests to a gateway's HTTP API: the token, JSON, problem documents.
// Never repeats a request and never knows what one means.

import { MeridianError } from '../../errors.js';
import * as read from '../../wire-read.js';

/** As much of the global `fetch` as requests need. */
export type HttpFetch = (url: string, init: RequestInit) => Promise<Response>;

/** A problem document: the members of a protocol error, and the channel that it is about. */
export type Problem = read.Members;

export type Answer =
  | { readonly response: Response; readonly problem: null }
  | { readonly response: null; readonly problem: Problem };

export class Api {
  readonly #fetch: HttpFetch;
  readonly #base: string;
  token: string | undefined;

  constructor(fetch: HttpFetch, base: string) {
    this.#fetch = fetch;
    this.#base = base;
  }

  /**
   * Posts `body`; a refusal of the gateway is an answer, everything else that fails throws. The token goes
   * in a header, not in the address, which proxies write down; so it is no GET of a plain EventSource, and
   * one form serves few channels and many.
   */
  async post(path: string, body: unknown, signal: AbortSignal): Promise<Answer> {
    const response = await this.#fetch(`${this.#base}${path}`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        ...(this.token === undefined ? {} : { authorization: `Bearer ${this.token}` }),
      },
      body: JSON.stringify(body),
      cache: 'no-store',
      credentials: 'omit',
      redirect: 'error',
      signal,
    });
    if (response.ok) return { response, problem: null };
    return { response: null, problem: await problemOf(response) };
  }
}

/** What a proxy answers, or a gateway that lacks the address, is a failure of the transport. */
async function problemOf(response: Response): Promise<Problem> {
  const { status } = response;
  const body: unknown = await response.json().catch(() => null);
  const ours = typeof body === 'object' && body !== null && typeof (body as Problem)['code'] === 'string';
  if (ours && status !== 404 && status !== 405) return body as Problem;
  throw new MeridianError('connect_failed', 'reconnect', `the gateway's address answered ${status}`);
}
