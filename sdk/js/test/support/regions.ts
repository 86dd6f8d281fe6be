// Owns regions in front of one fake gateway: each can be near or far, well or not, there or gone.

import { MeridianError } from '../../src/errors.js';
import type { Fetch } from '../../src/regions/probe.js';
import type { RegionChange } from '../../src/regions/events.js';
import type { ClientOptions } from '../../src/options.js';
import { MeridianClient } from '../../src/client.js';
import { memoryStorage } from '../../src/transport/memory.js';
import type { Dial, Dials } from '../../src/transport/link.js';
import type { TransportName } from '../../src/types.js';
import { FakeClock } from './clock.js';
import { FakeServer } from './server.js';
import { FakePage } from './world.js';

export interface FakeRegion {
  rttMs: number;
  state: string;
  load: number;
  /** Takes dials and probes. */
  up: boolean;
  /** Probes get no answer, as where CORS forbids them. */
  mute: boolean;
}

export class RegionWorld {
  readonly clock: FakeClock;
  readonly server: FakeServer;
  readonly page = new FakePage();
  readonly client: MeridianClient;
  readonly regions = new Map<string, FakeRegion>();
  readonly probes: { region: string; at: number }[] = [];
  readonly dialed: string[] = [];
  readonly changes: RegionChange[] = [];
  readonly states: string[] = [];

  /** `names`: the client's regions, home first. */
  constructor(names: readonly string[], options: Partial<ClientOptions> = {}, seed = 1) {
    this.clock = new FakeClock(seed);
    this.server = new FakeServer(this.clock);
    this.server.regionOf = (session) => hostOf(session.url);
    for (const name of names) this.open(name);
    const [url, ...regions] = names.map(urlOf);
    this.client = new MeridianClient({
      url: url as string, regions, token: 'token', clock: this.clock, dials: this.#dials(), fetch: this.#fetch(),
      page: { window: this.page, document: this.page, online: true }, storage: memoryStorage(), ...options,
    });
    this.client.on('region', (change) => this.changes.push(change));
    this.client.on('state', (state) => this.states.push(state));
  }

  open(name: string): FakeRegion {
    const region = { rttMs: 50, state: 'serving', load: 0.1, up: true, mute: false };
    this.regions.set(name, region);
    return region;
  }

  at(name: string): FakeRegion {
    return this.regions.get(name) as FakeRegion;
  }

  /** Every node of a region dies. */
  fail(name: string): void {
    this.at(name).up = false;
    this.drop(name);
  }

  /** The sessions in a region are lost, the region lives. */
  drop(name: string): void {
    for (const session of this.server.live) if (hostOf(session.url) === name) session.end(undefined);
  }

  /** Probes sent since the last call. */
  asked(): string[] {
    return this.probes.splice(0).map(({ region }) => region);
  }

  async connected(): Promise<this> {
    this.client.connect();
    await this.clock.until(() => this.client.state === 'connected');
    return this;
  }

  /** Time passes until the client is connected in a region. */
  async arrives(name: string, limitMs = 60_000): Promise<void> {
    await this.clock.until(() => this.client.region === name && this.client.state === 'connected', limitMs);
  }

  #fetch(): Fetch {
    return (url, { signal }) => {
      const name = hostOf(url);
      const region = this.at(name);
      this.probes.push({ region: name, at: this.clock.now() });
      return new Promise((resolve, reject) => {
        signal.addEventListener('abort', () => reject(new Error('aborted')));
        if (region.mute) return;
        this.clock.setTimeout(() => {
          if (!region.up) return reject(new TypeError('failed to fetch'));
          const regions = [...this.regions.keys()].map((other) => ({ name: other, url: urlOf(other) }));
          const { state, load } = region;
          resolve({ ok: true, json: () => Promise.resolve({ region: name, state, load, regions }) });
        }, region.rttMs);
      });
    };
  }

  #dials(): Dials {
    const through = (transport: TransportName): Dial => (address, events) => {
      const name = hostOf(address.url);
      this.dialed.push(name);
      const dial = this.server.dials[transport] as Dial;
      if (this.at(name).up) return dial(address, events);
      const refused = new MeridianError('connect_failed', 'reconnect', 'refused');
      const timer = this.clock.setTimeout(() => events.closed(refused), 10);
      return { send: () => undefined, close: () => this.clock.clearTimeout(timer) };
    };
    return { websocket: through('websocket') };
  }
}

export function urlOf(name: string): string {
  return `https://${name}`;
}

function hostOf(url: string): string {
  return new URL(url).host;
}
