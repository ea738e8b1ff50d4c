/** Keys that Fairlane makes. One is shown once; what is kept of it is its SHA-256. */
import { createHash, randomInt } from 'node:crypto';

/** By which a key of ours is known. */
const KEY_PREFIX = 'fl_';
const DIGITS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
/** 238 bits: with the prefix 43 bytes, which one block of SHA-256 holds. */
const KEY_DIGITS = 40;
const ID_DIGITS = 16;

const randomDigits = (count: number): string =>
  Array.from({ length: count }, () => DIGITS[randomInt(DIGITS.length)]).join('');

export interface MadeKey {
  readonly id: string;
  /** Itself. */
  readonly key: string;
  readonly digest: string;
}

const digestOf = (key: string): string => createHash('sha256').update(key).digest('hex');

export function makeKey(): MadeKey {
  const key = `${KEY_PREFIX}${randomDigits(KEY_DIGITS)}`;
  // Of its own: nothing of the key can be told from it.
  return { id: `key_${randomDigits(ID_DIGITS)}`, key, digest: digestOf(key) };
}
