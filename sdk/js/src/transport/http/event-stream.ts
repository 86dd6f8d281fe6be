// Owns the text of an event stream: chunks to blocks. Never reads a socket, and keeps no `id`: the
// client goes on from the cursors of what it got.

import { badFrame } from '../../errors.js';

/** No block of a gateway is larger; more is no event stream. */
const BLOCK_CHARACTERS_MOST = 16 * 1_048_576;

export class BlockReader {
  readonly #decoder = new TextDecoder();
  #rest = '';
  #data: string[] = [];
  #held = 0;

  /** The data of the blocks that `bytes` complete. Throws `bad_frame` where a block never ends. */
  push(bytes: Uint8Array): string[] {
    const lines = (this.#rest + this.#decoder.decode(bytes, { stream: true })).split('\n');
    this.#rest = lines.pop() ?? '';
    const blocks: string[] = [];
    for (const line of lines) {
      const block = this.#line(line.endsWith('\r') ? line.slice(0, -1) : line);
      if (block !== null) blocks.push(block);
    }
    if (this.#held + this.#rest.length > BLOCK_CHARACTERS_MOST) throw badFrame('a block that does not end');
    return blocks;
  }

  #line(line: string): string | null {
    if (line !== '') {
      if (line.startsWith('data:')) {
        this.#data.push(line.slice(line.startsWith('data: ') ? 6 : 5));
        this.#held += line.length;
      }
      return null;
    }
    const block = this.#data.length > 0 ? this.#data.join('\n') : null;
    this.#data = [];
    this.#held = 0;
    return block;
  }
}
