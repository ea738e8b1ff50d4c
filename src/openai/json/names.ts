/**
 * Names of members that Fairlane looks for, as small numbers: the reader tells them when it meets a key, so that nobody makes a
 * string of a key to find out what it is.
 *
 * The hash is keyed with words of this process, and mixes after each byte: a client cannot aim at collisions, neither of known
 * names nor of those in its own objects.
 */
import { randomFillSync } from 'node:crypto';

const [SEED = 0, FACTOR = 0] = randomFillSync(new Uint32Array(2));
/** Odd, or bits would be lost; with high bits, or they would spread slowly. */
const MULTIPLIER = FACTOR | 0x80000001;

/** 32 bits of `bytes[from, to)`. */
export function hashOf(bytes: Uint8Array, from: number, to: number): number {
  let h = SEED | 0;
  for (let i = from; i < to; i += 1) {
    h = Math.imul(h ^ (bytes[i] as number), MULTIPLIER);
    h ^= h >>> 15;
  }
  return h;
}

/** Of a name that is not in the table. */
export const UNKNOWN_NAME = 0;

interface Known {
  readonly number: number;
  readonly bytes: Buffer;
}

/** Numbers of known names, 1 to 65,535. */
export class NameTable {
  private readonly numbers = new Map<string, number>();
  private readonly byHash = new Map<number, Known[]>();
  private longest = 0;

  constructor(names: Iterable<string>) {
    for (const name of names) {
      if (this.numbers.has(name)) continue;
      const bytes = Buffer.from(name);
      const number = this.numbers.size + 1;
      const hash = hashOf(bytes, 0, bytes.length);
      this.numbers.set(name, number);
      this.byHash.set(hash, [...(this.byHash.get(hash) ?? []), { number, bytes }]);
      this.longest = Math.max(this.longest, bytes.length);
    }
  }

  /** UNKNOWN_NAME when the table does not have it. */
  get(name: string): number {
    return this.numbers.get(name) ?? UNKNOWN_NAME;
  }

  /** @throws when the table does not have it: a mistake of ours. */
  numberOf(name: string): number {
    const number = this.numbers.get(name);
    if (number === undefined) throw new Error(`no such name: ${name}`);
    return number;
  }

  /** @param hash of `bytes[from, to)` */
  find(hash: number, bytes: Buffer, from: number, to: number): number {
    if (to - from > this.longest) return UNKNOWN_NAME;
    const known = this.byHash.get(hash);
    if (known === undefined) return UNKNOWN_NAME;
    for (const one of known) if (isSame(one.bytes, bytes, from, to)) return one.number;
    return UNKNOWN_NAME;
  }
}

/** Names are short: a call of Buffer's costs more. */
function isSame(name: Buffer, bytes: Buffer, from: number, to: number): boolean {
  const { length } = name;
  if (length !== to - from) return false;
  for (let i = 0; i < length; i += 1) if (name[i] !== bytes[from + i]) return false;
  return true;
}
