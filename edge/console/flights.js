// Owns what is known of the flights of each airport: the newest state of each, in the order of the
// board, within bounds. Knows no page and no connection.

const KEEP = 40;
const DAY_MIN = 1_440;
const RESTART_MIN = 5;
const STATUSES = ['scheduled', 'boarding', 'departed'];

/** The flights of one airport. */
export class Flights {
  #byName = new Map();
  /** The latest departure time seen, in minutes that go on over midnight. */
  #latest = null;

  /** Takes an event's payload; answers whether it was one of a flight. */
  apply(data) {
    const minutes = minutesOf(data?.departs);
    if (minutes === null || !STATUSES.includes(data.status) || typeof data.flight !== 'string') return false;
    const at = nearest(minutes, this.#latest ?? minutes);
    // Flights are announced in order: going back means that the replay began its day anew.
    if (data.status === 'scheduled' && this.#latest !== null && at < this.#latest - RESTART_MIN) this.clear();
    this.#latest = Math.max(this.#latest ?? at, at);
    this.#byName.set(data.flight, {
      at,
      name: text(data.flight, 8),
      time: data.departs,
      to: text(data.to, 4),
      city: text(data.city ?? data.to, 16),
      status: data.status,
      delay: Number.isFinite(data.delay_min) ? Math.round(data.delay_min) : null,
      miles: Number.isFinite(data.distance_mi) ? Math.round(data.distance_mi) : null,
    });
    if (this.#byName.size > KEEP) this.#prune();
    return true;
  }

  clear() {
    this.#byName.clear();
    this.#latest = null;
  }

  /** What comes next or came last is first. */
  top(count) {
    return this.#sorted().slice(0, count);
  }

  #sorted() {
    return [...this.#byName.values()].sort((a, b) => b.at - a.at || (a.name < b.name ? 1 : -1));
  }

  #prune() {
    for (const flight of this.#sorted().slice(KEEP)) this.#byName.delete(flight.name);
  }
}

/** What a flight's delay on arrival says, and how bad it is. */
export function arrival(flight) {
  const { delay } = flight;
  if (delay === null) return { text: '', tone: 'none' };
  if (delay >= 15) return { text: `${delay} min late`, tone: 'late' };
  if (delay > 0) return { text: `${delay} min late`, tone: 'fair' };
  return { text: delay === 0 ? 'on time' : `${-delay} min early`, tone: 'good' };
}

/** Minutes since midnight of `HH:MM`; `null` for anything else. */
export function minutesOf(time) {
  const match = typeof time === 'string' ? /^([01]\d|2[0-3]):([0-5]\d)$/.exec(time) : null;
  return match ? Number(match[1]) * 60 + Number(match[2]) : null;
}

/** The time of any day with these minutes that is nearest to `reference`. */
function nearest(minutes, reference) {
  return minutes + Math.round((reference - minutes) / DAY_MIN) * DAY_MIN;
}

function text(value, length) {
  return typeof value === 'string' ? value.slice(0, length) : '';
}
