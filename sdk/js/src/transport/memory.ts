// Owns the memory of which transport worked for a gateway, in a storage that may be missing.
// Never throws: a storage that fails is a storage that remembers nothing.

import { TRANSPORTS, type TransportName } from '../types.js';

/** As much of `localStorage` as the memory needs. */
export interface KeyValueStorage {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

const PREFIX = 'meridian.transport:';

export class TransportMemory {
  readonly #storage: KeyValueStorage;
  readonly #key: string;

  constructor(storage: KeyValueStorage, gateway: string) {
    this.#storage = storage;
    this.#key = PREFIX + gateway;
  }

  /** What worked last, unless that was too long ago to rely on. */
  recall(now: number): TransportName | null {
    try {
      const [name, until] = (this.#storage.getItem(this.#key) ?? '').split(' ');
      const transport = TRANSPORTS.find((known) => known === name);
      return transport !== undefined && Number(until) > now ? transport : null;
    } catch {
      return null;
    }
  }

  remember(transport: TransportName, until: number): void {
    try {
      this.#storage.setItem(this.#key, `${transport} ${until}`);
    } catch {
      // Full or forbidden: the next connect races again.
    }
  }

  forget(): void {
    try {
      this.#storage.removeItem(this.#key);
    } catch {
      // As above.
    }
  }
}

/** A storage that lives as long as the page or process. */
export function memoryStorage(): KeyValueStorage {
  const values = new Map<string, string>();
  return {
    getItem: (key) => values.get(key) ?? null,
    setItem: (key, value) => void values.set(key, value),
    removeItem: (key) => void values.delete(key),
  };
}

/** `localStorage` where it exists and may be used, else a memory of this process. */
export function defaultStorage(): KeyValueStorage {
  try {
    const storage = (globalThis as { localStorage?: KeyValueStorage }).localStorage;
    if (storage && typeof storage.getItem === 'function') return storage;
  } catch {
    // Access to localStorage throws where the page may not use it.
  }
  return memoryStorage();
}
