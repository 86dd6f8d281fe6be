// Owns the departures board: the airport's selector, the clock and the rows. Keeps no flights and
// never talks to the server.

import { AIRPORTS } from './airports.js';
import { Flap, glide } from './flap.js';
import { arrival, Flights, minutesOf } from './flights.js';

const ROWS = 12;
const WAVE_MS = 28;
const STATUS_TEXT = { scheduled: 'Scheduled', boarding: 'Boarding', departed: 'Departed' };

export class Board {
  #root;
  #body;
  #rows = [];
  #clock = new Flap(5, 'clock-flap');
  #airports = new Map(AIRPORTS.map(({ code, city }) => [code, { city, flights: new Flights() }]));
  #shown = AIRPORTS[0].code;
  #latest = null;
  #planned = false;
  #wave = false;

  constructor(root) {
    this.#root = root;
    this.#body = root.querySelector('tbody');
    root.querySelector('#clock').append(this.#clock.element);
    for (let index = 0; index < ROWS; index += 1) this.#rows.push(new Row());
    this.#body.append(...this.#rows.map((row) => row.element));
    this.#makeSelector(root.querySelector('#airports'));
    this.#title();
  }

  /** The channels that feed the board. */
  get channels() {
    return AIRPORTS.map(({ code }) => `flights:${code}`);
  }

  /** Takes an event of one of the channels. */
  take({ channel, data }) {
    const code = channel.slice('flights:'.length);
    const airport = this.#airports.get(code);
    if (!airport?.flights.apply(data)) return;
    if (data.status === 'departed') this.#latest = data.departs;
    if (code === this.#shown || data.status === 'departed') this.#plan();
  }

  /** Forgets an airport whose events have a hole. */
  forget(channel) {
    this.#airports.get(channel.slice('flights:'.length))?.flights.clear();
    this.#plan();
  }

  #makeSelector(host) {
    for (const { code, city } of AIRPORTS) {
      const label = document.createElement('label');
      const input = document.createElement('input');
      Object.assign(input, { type: 'radio', name: 'airport', value: code, checked: code === this.#shown });
      input.addEventListener('change', () => this.#show(code));
      const name = document.createElement('span');
      name.textContent = code;
      name.title = city;
      label.append(input, name);
      host.append(label);
    }
  }

  #show(code) {
    this.#shown = code;
    this.#wave = true;
    this.#title();
    this.#plan();
  }

  #title() {
    const { city } = this.#airports.get(this.#shown);
    this.#root.querySelector('#origin-code').textContent = this.#shown;
    this.#root.querySelector('#origin-city').textContent = city;
    this.#root.querySelector('caption').textContent = `Departures from ${city}, the next ones first`;
  }

  /** However many events come, one drawing a frame; none while the page is hidden. */
  #plan() {
    if (this.#planned) return;
    this.#planned = true;
    requestAnimationFrame(() => {
      this.#planned = false;
      this.#draw();
    });
  }

  #draw() {
    if (this.#latest && minutesOf(this.#latest) !== null) this.#clock.show(this.#latest);
    const flights = this.#airports.get(this.#shown).flights.top(ROWS);
    if (!this.#wave) this.#moveRows(flights);
    this.#rows.forEach((row, index) => {
      const delayMs = this.#wave ? index * WAVE_MS : 0;
      row.show(flights[index] ?? null, delayMs);
    });
    this.#wave = false;
    this.#root.classList.toggle('empty', flights.length === 0);
  }

  /** Rows go with their flights: those pushed out come back on top, blank, and the rest glides. */
  #moveRows(flights) {
    const held = new Map(this.#rows.filter((row) => row.name !== null).map((row) => [row.name, row]));
    const next = flights.map((flight) => held.get(flight.name) ?? null);
    const used = new Set(next);
    const spare = this.#rows.filter((row) => !used.has(row));
    const before = new Map(this.#rows.map((row, index) => [row, index]));
    const order = Array.from({ length: ROWS }, (_, index) => next[index] ?? spare.pop());
    if (order.every((row, index) => row === this.#rows[index])) return;
    const height = this.#rows[0].element.offsetHeight;
    this.#rows = order;
    this.#body.append(...order.map((row) => row.element));
    order.forEach((row, index) => {
      if (next[index]) glide([row.element], (index - before.get(row)) * height);
      else row.blank();
    });
  }
}

/** One line of the board. */
class Row {
  name = null;
  #time = new Flap(5, 'time');
  #city = new Flap(16, 'city');
  #code = new Flap(3, 'code');
  #flight = new Flap(6, 'flight');
  #status = new Flap(9, 'status');
  #arrival = document.createElement('span');

  constructor() {
    this.element = document.createElement('tr');
    this.element.setAttribute('role', 'row');
    this.#arrival.className = 'arrival';
    const cells = [this.#time, this.#city, this.#code, this.#flight, this.#status];
    for (const flap of cells) this.#cell(flap.element);
    this.#cell(this.#arrival);
  }

  show(flight, delayMs) {
    if (flight === null) return this.blank();
    const options = { delayMs };
    this.name = flight.name;
    this.element.dataset.flight = flight.name;
    this.element.dataset.status = flight.status;
    this.#time.show(flight.time, options);
    this.#city.show(flight.city, options);
    this.#code.show(flight.to, options);
    this.#flight.show(flight.name, options);
    this.#status.show(STATUS_TEXT[flight.status], options);
    const { text, tone } = arrival(flight);
    this.#arrival.textContent = text;
    this.#arrival.dataset.tone = tone;
  }

  blank() {
    if (this.name === null) return;
    this.name = null;
    delete this.element.dataset.flight;
    delete this.element.dataset.status;
    for (const flap of [this.#time, this.#city, this.#code, this.#flight, this.#status]) flap.show('', { still: true });
    this.#arrival.textContent = '';
  }

  #cell(content) {
    const cell = document.createElement('td');
    cell.setAttribute('role', 'cell');
    cell.append(content);
    this.element.append(cell);
  }
}
