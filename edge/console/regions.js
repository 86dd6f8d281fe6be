// Owns the cards of the regions: state, lag, nodes and servers of each, and in which of them the page
// is. Asks nobody and decides nothing.

/** What a state means for those who look; unknown ones are shown as they are. */
const STATES = {
  serving: { text: 'Serving', tone: 'good' },
  degraded: { text: 'Degraded', tone: 'busy' },
  rebuilding: { text: 'Rebuilding', tone: 'busy' },
  draining: { text: 'Draining', tone: 'busy' },
  starting: { text: 'Starting', tone: 'busy' },
  'not ready': { text: 'Not ready', tone: 'busy' },
  away: { text: 'Away', tone: 'bad' },
  stopped: { text: 'Stopped', tone: 'bad' },
};
/** The servers behind the edges, as people call them. */
const SERVERS = { log: 'Kafka', backplane: 'Redis', history: 'Postgres' };

export class Regions {
  #host;
  #cards = new Map();

  constructor(host) {
    this.#host = host;
  }

  /** `regions`: as the server tells them, `null`: it does not answer. `session`: the page's, if it has one. */
  show(regions, session) {
    this.#host.dataset.stale = String(regions === null);
    if (regions === null) return;
    this.#host.hidden = regions.length === 0;
    for (const told of regions) {
      let card = this.#cards.get(told.region);
      if (!card) {
        card = new Card(told.region);
        this.#cards.set(told.region, card);
        this.#host.append(card.element);
      }
      card.show(told, session);
    }
  }
}

class Card {
  #name;
  #state = make('span', 'region-state');
  #here = make('span', 'here');
  #list = make('ul', 'nodes');
  #said = make('p', 'said');

  constructor(region) {
    this.element = make('section', 'card region');
    this.element.dataset.region = region;
    this.#name = make('h2', 'region-name');
    this.#name.textContent = region;
    this.element.setAttribute('aria-label', `Region ${region}`);
    const head = make('div', 'region-head');
    head.append(this.#name, this.#state, this.#here);
    this.element.append(head, this.#list, this.#said);
  }

  show({ region, state, lag, nodes, parts }, session) {
    const { text, tone } = STATES[state] ?? { text: state, tone: 'busy' };
    set(this.#state, text);
    this.#state.dataset.tone = tone;
    this.element.dataset.state = state;
    const here = session?.region === region;
    this.element.dataset.here = String(here);
    set(this.#here, here ? 'This page' : '');
    const items = [
      ...nodes.map((node) => ({ name: node.node, ...(STATES[node.state] ?? { text: node.state, tone: 'busy' }), here: here && session.node === node.node })),
      ...servers(parts),
    ];
    this.#chips(items);
    set(this.#said, said(state, parts, lag));
  }

  #chips(items) {
    while (this.#list.childElementCount > items.length) this.#list.lastElementChild.remove();
    items.forEach(({ name, text, tone, here = false }, index) => {
      const item = this.#list.children[index] ?? this.#list.appendChild(chip());
      item.dataset.tone = tone;
      item.dataset.here = String(here);
      set(item.children[0], name);
      set(item.children[1], tone === 'good' ? '' : text);
    });
  }
}

function servers(parts) {
  const known = (name) => parts.find(({ part }) => part === name);
  const shown = Object.entries(SERVERS).map(([part, name]) => ({ name, told: known(part) }));
  return shown.filter(({ told }) => told).map(({ name, told: { ready } }) => ({ name, text: 'Away', tone: ready ? 'good' : 'bad' }));
}

function lagText(lag) {
  if (lag === null) return 'No router tells how far it is behind.';
  if (lag.records === 0) return 'Up to the end of the log.';
  return `${lag.records.toLocaleString('en-US')} ${lag.records === 1 ? 'event' : 'events'} behind, for ${lag.seconds.toFixed(1)} s.`;
}

/** What is amiss, and how far the region is behind; nodes that are away show it by themselves. */
function said(state, parts, lag) {
  if (state === 'away') return 'No edge answers: clients go on in another region.';
  const detail = parts.find(({ ready }) => !ready)?.detail;
  return detail ? `${detail}. ${lagText(lag)}` : lagText(lag);
}

function chip() {
  const item = document.createElement('li');
  item.append(document.createElement('span'), make('small', ''));
  return item;
}

function make(element, className) {
  const made = document.createElement(element);
  made.className = className;
  return made;
}

/** Leaves the document alone where nothing changed. */
function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
