// Owns writing MessagePack values into a growing buffer.
// Never writes extensions, and leaves out members that are undefined, as JSON does.

const encoder = new TextEncoder();

export class MsgpackWriter {
  #bytes = new Uint8Array(256);
  #view = new DataView(this.#bytes.buffer);
  #at = 0;

  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#at);
  }

  value(value: unknown): void {
    if (value === null || value === undefined) this.#byte(0xc0);
    else if (typeof value === 'boolean') this.#byte(value ? 0xc3 : 0xc2);
    else if (typeof value === 'number') this.#number(value);
    else if (typeof value === 'string') this.#string(value);
    else if (value instanceof Uint8Array) this.#binary(value);
    else if (Array.isArray(value)) {
      this.arrayHeader(value.length);
      for (const item of value) this.value(item);
    } else if (typeof value === 'object') this.#map(value as Record<string, unknown>);
    else throw new TypeError(`cannot encode a ${typeof value}`);
  }

  arrayHeader(length: number): void {
    if (length < 16) this.#byte(0x90 | length);
    else this.#sized(length, null, 0xdc, 0xdd);
  }

  raw(bytes: Uint8Array): void {
    this.#room(bytes.length);
    this.#bytes.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  #map(value: Record<string, unknown>): void {
    const entries = Object.entries(value).filter(([, member]) => member !== undefined);
    if (entries.length < 16) this.#byte(0x80 | entries.length);
    else this.#sized(entries.length, null, 0xde, 0xdf);
    for (const [key, member] of entries) {
      this.#string(key);
      this.value(member);
    }
  }

  #string(value: string): void {
    const bytes = encoder.encode(value);
    if (bytes.length < 32) this.#byte(0xa0 | bytes.length);
    else this.#sized(bytes.length, 0xd9, 0xda, 0xdb);
    this.raw(bytes);
  }

  #binary(bytes: Uint8Array): void {
    this.#sized(bytes.length, 0xc4, 0xc5, 0xc6);
    this.raw(bytes);
  }

  #number(value: number): void {
    if (!Number.isSafeInteger(value) || Object.is(value, -0)) {
      this.#byte(0xcb);
      this.#room(8);
      this.#view.setFloat64(this.#at, value);
      this.#at += 8;
    } else if (value >= 0) this.#unsigned(value);
    else this.#negative(value);
  }

  #unsigned(value: number): void {
    if (value < 0x80) this.#byte(value);
    else if (value < 2 ** 32) this.#sized(value, 0xcc, 0xcd, 0xce);
    else this.#wide(0xcf, BigInt(value));
  }

  #negative(value: number): void {
    if (value >= -32) this.#byte(0x100 + value);
    else if (value >= -(2 ** 31)) {
      this.#byte(0xd2);
      this.#room(4);
      this.#view.setInt32(this.#at, value);
      this.#at += 4;
    } else this.#wide(0xd3, BigInt(value));
  }

  #wide(tag: number, value: bigint): void {
    this.#byte(tag);
    this.#room(8);
    this.#view.setBigInt64(this.#at, value);
    this.#at += 8;
  }

  #sized(size: number, tag8: number | null, tag16: number, tag32: number): void {
    if (tag8 !== null && size < 0x100) {
      this.#byte(tag8);
      this.#byte(size);
    } else if (size < 0x10000) {
      this.#byte(tag16);
      this.#room(2);
      this.#view.setUint16(this.#at, size);
      this.#at += 2;
    } else {
      this.#byte(tag32);
      this.#room(4);
      this.#view.setUint32(this.#at, size);
      this.#at += 4;
    }
  }

  #byte(value: number): void {
    this.#room(1);
    this.#bytes[this.#at++] = value;
  }

  #room(more: number): void {
    if (this.#at + more <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.#at + more));
    grown.set(this.#bytes.subarray(0, this.#at));
    this.#bytes = grown;
    this.#view = new DataView(grown.buffer);
  }
}
