/**
 * The keys of a body's objects, to find one that an object has twice. Keys are numbered from 1 in the order in which they come.
 *
 * A hash table with open addressing: `table` holds numbers of keys, `keys` holds for each number the key's place on the
 * tape, its object's place, and the hash of both. Look-ups are counted: hashes are keyed (names.ts), so that a body that needs
 * more steps than chance ever does was made to.
 */
import { decodeInto } from './text.ts';

/** What came of a key. */
export const KEY = { added: 0, repeated: 1, costly: 2 } as const;
export type KeyResult = (typeof KEY)[keyof typeof KEY];

const FIRST_KEYS = 64;
/** Steps of a look-up for each key, on average, that chance never needs. */
const PROBES_PER_KEY = 32;

/** A copy with twice the room. */
export const grown = (array: Int32Array): Int32Array<ArrayBuffer> => {
  const larger = new Int32Array(2 * array.length);
  larger.set(array);
  return larger;
};

export class KeyIndex {
  private table: Int32Array = new Int32Array(2 * FIRST_KEYS);
  private keys: Int32Array = new Int32Array(3 * FIRST_KEYS);
  private probes = 0;

  /** It has not grown: worth keeping for the next body. */
  isSmall(): boolean {
    return this.table.length === 2 * FIRST_KEYS && this.keys.length === 3 * FIRST_KEYS;
  }

  clear(): void {
    this.table.fill(0);
    this.probes = 0;
  }

  /**
   * Adds a key, unless its object has it.
   *
   * @param number of the key: one more than that of the last.
   * @param object and `key`: places on the tape.
   * @param text has the key's decoded text in [from, to); `bytes` is the body.
   */
  add(
    number: number,
    object: number,
    key: number,
    hash: number,
    tape: Int32Array,
    bytes: Buffer,
    text: Buffer,
    from: number,
    to: number,
  ): KeyResult {
    const mixed = Math.imul(hash ^ Math.imul(object + 1, 0x9e3779b1), 0x85ebca6b);
    if (3 * number + 2 >= this.keys.length) this.keys = grown(this.keys);
    if (2 * number > this.table.length) this.enlargeTable(number);
    const { table, keys } = this;
    const mask = table.length - 1;
    let slot = (mixed ^ (mixed >>> 15)) & mask;
    for (;;) {
      const other = table[slot] as number;
      if (other === 0) break;
      this.probes += 1;
      if (keys[3 * other + 2] === mixed && keys[3 * other + 1] === object) {
        if (isSame(keys[3 * other] as number, tape, bytes, text, from, to)) return KEY.repeated;
      }
      slot = (slot + 1) & mask;
    }
    if (this.probes > PROBES_PER_KEY * (number + FIRST_KEYS)) return KEY.costly;
    table[slot] = number;
    keys[3 * number] = key;
    keys[3 * number + 1] = object;
    keys[3 * number + 2] = mixed;
    return KEY.added;
  }

  /** @param number of keys that it has to hold: those before it are in it. */
  private enlargeTable(number: number): void {
    const table = new Int32Array(2 * this.table.length);
    const mask = table.length - 1;
    for (let known = 1; known < number; known += 1) {
      const mixed = this.keys[3 * known + 2] as number;
      let slot = (mixed ^ (mixed >>> 15)) & mask;
      while (table[slot] !== 0) slot = (slot + 1) & mask;
      table[slot] = known;
    }
    this.table = table;
  }
}

function isSame(
  key: number,
  tape: Int32Array,
  bytes: Buffer,
  text: Buffer,
  from: number,
  to: number,
): boolean {
  if (tape[key + 3] !== to - from) return false;
  const [start, end] = [tape[key + 1] as number, tape[key + 2] as number];
  if (end - start === to - from) return text.compare(bytes, start, end, from, to) === 0;
  // Written with escapes; `text` may be in the scratch itself.
  const other = Buffer.allocUnsafe(to - from + 3);
  decodeInto(other, 0, bytes, start, end);
  return text.compare(other, 0, to - from, from, to) === 0;
}
