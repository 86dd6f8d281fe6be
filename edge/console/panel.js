// Owns the panels about the connection: state, transport, meters, counters, cursors. Counts nothing
// itself and never acts on the connection.

import { Flap } from './flap.js';
import { Spark } from './spark.js';
import { stateText, TRANSPORTS } from './words.js';

export class Panel {
  #at = (id) => document.getElementById(id);
  #rate = new Spark(this.#at('rate-spark'), ['one']);
  #delay = new Spark(this.#at('delay-spark'), ['two', 'one']);
  #name = new Flap(12, 'big');
  #rows = new Map();

  constructor() {
    this.#at('transport-name').append(this.#name.element);
  }

  /** `view`: state, transport, info, fault, cutForMs, serverAnswers, mode, url. */
  connection(view) {
    const { title, detail, tone } = stateText(view);
    set(this.#at('state-title'), title);
    set(this.#at('state-detail'), detail);
    this.#at('state').dataset.tone = tone;
    const transport = TRANSPORTS[view.transport];
    this.#name.show(transport?.name ?? 'No link', { spoken: transport?.name ?? 'No connection' });
    this.#at('transport').dataset.transport = view.transport ?? 'none';
    const port = new URL(view.url).port;
    const choice = view.mode === 'auto' ? 'Chosen by race' : 'Forced';
    set(this.#at('transport-how'), transport ? `${choice}. ${transport.how} ${port}.` : 'Cursors are kept for the next one.');
  }

  meters(series, latest) {
    this.#rate.draw([series.events], '/s');
    this.#delay.draw([series.p99, series.p50], ' ms');
    set(this.#at('rate'), latest.rate.toFixed(1));
    set(this.#at('p50'), latest.p50 === null ? '–' : String(latest.p50));
    set(this.#at('p99'), latest.p99 === null ? '–' : String(latest.p99));
  }

  counters({ connects, events, duplicates, gaps }) {
    set(this.#at('events'), events.toLocaleString('en-US'));
    set(this.#at('reconnects'), String(Math.max(0, connects - 1)));
    set(this.#at('gaps'), String(gaps));
    set(this.#at('duplicates'), String(duplicates));
    this.#at('gaps').dataset.tone = gaps > 0 ? 'bad' : 'good';
  }

  /** `channels`: name, cursor, events of each. */
  cursors(channels) {
    const body = this.#at('cursors');
    const names = new Set(channels.map(({ name }) => name));
    for (const [name, row] of this.#rows) {
      if (names.has(name)) continue;
      row.remove();
      this.#rows.delete(name);
    }
    for (const { name, cursor, events } of channels) {
      let row = this.#rows.get(name);
      if (!row) {
        row = cursorRow(name);
        this.#rows.set(name, row);
        body.append(row);
      }
      set(row.children[1], cursor ?? '–');
      set(row.children[2], events.toLocaleString('en-US'));
    }
  }
}

function cursorRow(name) {
  const row = document.createElement('tr');
  const head = document.createElement('th');
  head.scope = 'row';
  head.textContent = name;
  row.append(head, document.createElement('td'), document.createElement('td'));
  row.children[1].className = 'cursor';
  row.children[2].className = 'number';
  return row;
}

/** Leaves the document alone where nothing changed. */
function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
