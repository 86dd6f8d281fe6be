// Owns the proof after a cut: what the page was handed live is held against what the server's history
// has of the same time. Never trusts the client's own counters.

export const CUT_MS = 10_000;
const SETTLE_MS = 30_000;
const STEP_MS = 40;

/** One cut, from the moment before it to the verdict. */
export class Cut {
  #link;
  #started = new Map();
  #received = new Map();
  #wasDown = false;
  #connectedAt = null;
  #lastMissedAt = null;

  constructor(link) {
    this.#link = link;
    for (const channel of link.channels) {
      this.#started.set(channel, link.cursor(channel));
      this.#received.set(channel, []);
    }
    this.until = Date.now() + CUT_MS;
    link.interrupt(CUT_MS);
  }

  /** Every event that the page takes from here on. */
  take(event, now) {
    const offsets = this.#received.get(event.channel);
    if (!offsets || event.offset === undefined) return;
    offsets.push(event.offset);
    if (this.#connectedAt !== null && event.time <= this.#connectedAt) this.#lastMissedAt = now;
  }

  /** The connection's state, as it changes. */
  state(state, now) {
    if (state !== 'connected') this.#wasDown = true;
    else if (this.#wasDown) this.#connectedAt ??= now;
  }

  get back() {
    return this.#connectedAt !== null;
  }

  /** Compares, once the connection is back. Answers what was found. */
  async verdict() {
    await until(() => this.#link.settled, 'the channels did not come back');
    const found = { events: 0, channels: this.#started.size, missing: 0, duplicated: 0, gone: false, ms: 0 };
    for (const [channel, cursor] of this.#started) {
      if (cursor !== undefined) await this.#compare(channel, cursor, found);
    }
    found.ms = this.#lastMissedAt === null ? 0 : Math.max(0, this.#lastMissedAt - this.#connectedAt);
    return found;
  }

  async #compare(channel, cursor, found) {
    const stored = await this.#history(channel, cursor, found);
    const received = this.#received.get(channel);
    const last = stored.at(-1)?.offset ?? -1;
    // History may be ahead of what is still on its way here.
    await until(() => last < 0 || (received.at(-1) ?? -1) >= last, '').catch(() => undefined);
    const taken = new Set(received);
    found.events += stored.filter(({ time }) => time <= this.#connectedAt).length;
    found.missing += stored.filter(({ offset }) => !taken.has(offset)).length;
    found.duplicated += received.length - taken.size;
  }

  async #history(channel, after, found) {
    const stored = [];
    for (let more = true; more; ) {
      const page = await this.#link.client.history(channel, { after, limit: 100 });
      stored.push(...page.events);
      found.gone ||= page.gone !== undefined;
      more = page.more && page.events.length > 0;
      after = page.cursor;
    }
    return stored;
  }
}

/** The verdict as a sentence. */
export function sentence({ events, channels, missing, duplicated, gone, ms }) {
  const what = `${events} ${events === 1 ? 'event' : 'events'} on ${channels} ${channels === 1 ? 'channel' : 'channels'}`;
  const beyond = gone ? ' The history no longer reaches back to the cut.' : '';
  return `Caught up: ${what}, ${missing} missing, ${duplicated} duplicated, in ${ms} ms.${beyond}`;
}

async function until(holds, failure) {
  const deadline = Date.now() + SETTLE_MS;
  while (!holds()) {
    if (Date.now() > deadline) throw new Error(failure);
    await new Promise((resolve) => setTimeout(resolve, STEP_MS));
  }
}
