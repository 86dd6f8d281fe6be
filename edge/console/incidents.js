// Owns the list of what happened to the connection, newest first, within bounds. Never decides what
// is worth telling.

const KEEP = 40;
const MARKS = { good: '✓', bad: '✕', note: '·' };

export class Incidents {
  #list;

  constructor(list) {
    this.#list = list;
  }

  /** `tone`: `good`, `bad` or `note`. The same sentence twice in a row is counted, not repeated. */
  add(text, tone = 'note') {
    const newest = this.#list.firstElementChild;
    if (newest?.dataset.text === text) return this.#again(newest);
    const item = document.createElement('li');
    item.dataset.text = text;
    item.dataset.tone = tone;
    const time = document.createElement('time');
    time.textContent = new Date().toLocaleTimeString('en-GB');
    const mark = document.createElement('span');
    mark.className = 'mark';
    mark.setAttribute('aria-hidden', 'true');
    mark.textContent = MARKS[tone];
    const body = document.createElement('span');
    body.className = 'what';
    body.textContent = text;
    item.append(time, mark, body);
    this.#list.prepend(item);
    while (this.#list.childElementCount > KEEP) this.#list.lastElementChild.remove();
  }

  #again(item) {
    const times = Number(item.dataset.times ?? '1') + 1;
    item.dataset.times = String(times);
    item.querySelector('.what').textContent = `${item.dataset.text} (${times} times)`;
    item.querySelector('time').textContent = new Date().toLocaleTimeString('en-GB');
  }
}
