// Owns the view without a demo: how to publish, and the events of one channel that the user names.
// Never connects by itself.

import { faultText } from './words.js';

const KEEP = 50;

export class Channel {
  #link;
  #at = (id) => document.getElementById(id);
  #channel = null;

  constructor(link, note) {
    this.#link = link;
    this.#at('follow').addEventListener('submit', (event) => {
      event.preventDefault();
      this.follow(this.#at('channel-name').value.trim());
    });
    this.#at('publish').addEventListener('submit', (event) => {
      event.preventDefault();
      void this.#publish(this.#at('publish-data').value, note);
    });
    this.#at('copy').addEventListener('click', () => void this.#copy());
  }

  follow(channel) {
    if (channel === this.#channel || channel === '') return;
    if (this.#channel) this.#link.unfollow(this.#channel);
    this.#channel = channel;
    this.#at('events-list').replaceChildren();
    this.#tell('');
    try {
      this.#link.follow(channel, 20);
    } catch (error) {
      this.ended(error);
    }
    this.command();
  }

  /** Shows the command for the server and token that hold now. */
  command() {
    const { url, token } = this.#link.info;
    const insecure = url.startsWith('https') ? ' --insecure' : '';
    this.#at('curl').textContent =
      `curl${insecure} ${url}/v1/publish \\\n` +
      `  -H 'Authorization: Bearer ${token}' \\\n` +
      `  -H 'Content-Type: application/json' \\\n` +
      `  -d '{"channel":"${this.#channel}","id":"'$RANDOM$RANDOM'","data":{"hello":"world"}}'`;
  }

  take(event) {
    const row = document.createElement('tr');
    const data = event.data instanceof Uint8Array ? `${event.data.length} bytes` : JSON.stringify(event.data) ?? '';
    for (const [text, name] of [
      [new Date(event.time).toLocaleTimeString('en-GB'), 'when'],
      [data.slice(0, 2_000), 'data'],
      [event.cursor ?? '–', 'cursor'],
    ]) {
      const cell = row.insertCell();
      cell.className = name;
      cell.textContent = text;
    }
    const list = this.#at('events-list');
    list.prepend(row);
    while (list.childElementCount > KEEP) list.lastElementChild.remove();
  }

  ended(error) {
    this.#channel = null;
    this.#tell(faultText(error));
  }

  async #publish(text, note) {
    if (!this.#channel) return;
    let data = text;
    try {
      data = JSON.parse(text);
    } catch {
      // Not JSON: goes as the string that it is.
    }
    try {
      await this.#link.client.publish(this.#channel, data, { timeoutMs: 15_000 });
    } catch (error) {
      note(`Not published: ${faultText(error)}`, 'bad');
    }
  }

  async #copy() {
    const button = this.#at('copy');
    try {
      await navigator.clipboard.writeText(this.#at('curl').textContent);
      button.textContent = 'Copied';
    } catch {
      getSelection().selectAllChildren(this.#at('curl'));
      button.textContent = 'Selected';
    }
    setTimeout(() => (button.textContent = 'Copy'), 2_000);
  }

  #tell(text) {
    this.#at('channel-fault').textContent = text;
  }
}
