// Owns one client with a fake gateway, clock and page around it.

import { MeridianClient } from '../../src/client.js';
import type { ClientOptions } from '../../src/options.js';
import type { MeridianError } from '../../src/errors.js';
import { memoryStorage } from '../../src/transport/memory.js';
import type { Page } from '../../src/lifecycle.js';
import { FakeClock } from './clock.js';
import { FakeServer } from './server.js';

export class FakePage {
  readonly #listeners = new Map<string, Set<(event: never) => void>>();
  visibilityState = 'visible';

  addEventListener(type: string, listener: (event: never) => void): void {
    const set = this.#listeners.get(type) ?? new Set();
    this.#listeners.set(type, set);
    set.add(listener);
  }

  removeEventListener(type: string, listener: (event: never) => void): void {
    this.#listeners.get(type)?.delete(listener);
  }

  fire(type: string, event: object = {}): void {
    for (const listener of this.#listeners.get(type) ?? []) listener(event as never);
  }
}

export interface World {
  readonly clock: FakeClock;
  readonly server: FakeServer;
  readonly client: MeridianClient;
  readonly page: FakePage;
  readonly errors: MeridianError[];
  readonly states: string[];
}

export function newWorld(options: Partial<ClientOptions> = {}, seed = 1, dialsOf = (server: FakeServer) => server.dials): World {
  const clock = new FakeClock(seed);
  const server = new FakeServer(clock);
  const page = new FakePage();
  const fakePage: Page = { window: page, document: page, online: true };
  const client = new MeridianClient({
    url: 'http://gateway.test:8080', token: 'token', clock, page: fakePage, dials: dialsOf(server),
    storage: memoryStorage(), ...options,
  });
  const errors: MeridianError[] = [];
  const states: string[] = [];
  client.on('error', (error) => errors.push(error));
  client.on('state', (state) => states.push(state));
  return { clock, server, client, page, errors, states };
}

export async function connected(options: Partial<ClientOptions> = {}, seed = 1): Promise<World> {
  const world = newWorld(options, seed);
  world.client.connect();
  await world.clock.until(() => world.client.state === 'connected');
  return world;
}

/** Follows a channel and keeps what it delivers. */
export function collect(world: World, channel: string, options: object = {}) {
  const got: unknown[] = [];
  const sub = world.client.subscribe(channel, { onEvent: (e) => void got.push(e.data), ...options });
  return { got, sub };
}
