// Owns which channels this client follows, and gives each message to its channel.
// Never looks at events and never subscribes by itself: that is the channel's part.

import { Alarm, type Clock } from './clock.js';
import type { Follow } from './follow.js';
import type { Session } from './session.js';
import type { ChannelMessage, ServerMessage } from './wire.js';

export class Registry {
  readonly #follows = new Map<string, Follow>();
  readonly #alarm: Alarm;
  readonly #adopt: (channel: string) => void;

  /** `adopt` is called for a channel that the server subscribed and nobody here asked for. */
  constructor(clock: Clock, adopt: (channel: string) => void) {
    this.#alarm = new Alarm(clock, () => this.#each((follow) => follow.resume()));
    this.#adopt = adopt;
  }

  add(follow: Follow): void {
    this.#follows.set(follow.channel, follow);
  }

  remove(follow: Follow): void {
    if (this.#follows.get(follow.channel) === follow) this.#follows.delete(follow.channel);
  }

  wakeBy(at: number): void {
    this.#alarm.by(at);
  }

  up(session: Session): void {
    this.#each((follow) => follow.up(session));
  }

  down(session: Session): void {
    this.#each((follow) => follow.down(session));
  }

  tick(): void {
    this.#each((follow) => follow.tick());
  }

  laneEnded(session: Session, lane: number): void {
    this.#each((follow) => follow.laneEnded(session, lane));
  }

  /** Whether no channel lives on `session`. */
  idle(session: Session): boolean {
    return ![...this.#follows.values()].some((follow) => follow.uses(session));
  }

  take(message: ServerMessage, session: Session, lane: number, bytes: number): void {
    if (!isChannelMessage(message)) return;
    const made = message.type === 'subscribed';
    if (made && !this.#follows.has(message.channel)) this.#adopt(message.channel);
    this.#follows.get(message.channel)?.take(message, session, lane, bytes);
  }

  #each(run: (follow: Follow) => void): void {
    for (const follow of [...this.#follows.values()]) run(follow);
  }
}

/** A push about a channel; late answers to commands that nobody waits for are none. */
function isChannelMessage(message: ServerMessage): message is ChannelMessage {
  switch (message.type) {
    case 'events':
    case 'values':
    case 'conflated':
    case 'gap':
    case 'skipped':
      return true;
    case 'subscribed':
    case 'unsubscribed':
      return message.id === undefined;
    default:
      return false;
  }
}
