// Owns checked access to the members of a decoded message. Throws `bad_frame` and nothing else.

import { badFrame } from './errors.js';

export type Members = Readonly<Record<string, unknown>>;

export function members(value: unknown, what: string): Members {
  if (typeof value !== 'object' || value === null || Array.isArray(value) || value instanceof Uint8Array) {
    throw badFrame(`${what} is no object`);
  }
  return value as Members;
}

export function text(body: Members, name: string): string {
  const value = body[name];
  if (typeof value !== 'string') throw badFrame(`${name} is no string`);
  return value;
}

export function maybeText(body: Members, name: string): string | undefined {
  return body[name] === undefined || body[name] === null ? undefined : text(body, name);
}

/** A whole number below 2^53 in size. */
export function number(body: Members, name: string): number {
  const value = body[name];
  if (!Number.isSafeInteger(value)) throw badFrame(`${name} is no whole number`);
  return value as number;
}

export function maybeNumber(body: Members, name: string): number | undefined {
  return body[name] === undefined || body[name] === null ? undefined : number(body, name);
}

export function list(body: Members, name: string): readonly unknown[] {
  const value = body[name];
  if (!Array.isArray(value)) throw badFrame(`${name} is no array`);
  return value;
}
