/** The text of JSON strings: from the bytes between the quotes to UTF-8. Whoever calls has checked that they are well-formed. */

export const QUOTE = 0x22;
export const BACKSLASH = 0x5c;
export const LOWER_U = 0x75;

/** 1 for each byte that is not simply itself in a string: control characters, the quote, the backslash. */
const SPECIAL = Uint8Array.from({ length: 256 }, (_, byte) =>
  byte < 0x20 || byte === QUOTE || byte === BACKSLASH ? 1 : 0,
);
/** Bytes that plainEnd() looks at together: two words. */
const STRIDE_BYTES = 8;

/**
 * Bytes of a word that are special have their highest bit set in the result, the first of them exactly; those behind it
 * may be set for nothing. As in "Determine if a word has a byte less than n" (S. E. Anderson, Bit Twiddling Hacks):
 * with its second bit turned, the quote comes to stand among the control characters.
 */
const specialIn = (word: number): number =>
  ((((word ^ 0x02020202) - 0x21212121) | ((word ^ 0x5c5c5c5c) - 0x01010101)) & ~word & 0x80808080) | 0;

/** Index of the byte of the lowest bit that is set. */
const lowestByte = (bits: number): number => (31 - Math.clz32(bits & -bits)) >> 3;

/**
 * Index of the first byte in [from, stop) that is special in a string; `stop` if there is none.
 *
 * @param view of the same bytes.
 */
export function plainEnd(bytes: Uint8Array, view: DataView, from: number, stop: number): number {
  let at = from;
  for (const last = stop - STRIDE_BYTES; at <= last; at += STRIDE_BYTES) {
    const first = specialIn(view.getInt32(at, true));
    const second = specialIn(view.getInt32(at + 4, true));
    if ((first | second) === 0) continue;
    return first !== 0 ? at + lowestByte(first) : at + 4 + lowestByte(second);
  }
  while (at < stop && SPECIAL[bytes[at] as number] === 0) at += 1;
  return at;
}

/** Of a hex digit; -1 for any other byte. */
const HEX = Int8Array.from({ length: 256 }, (_, byte) => {
  const digit = String.fromCharCode(byte);
  return /[\da-fA-F]/.test(digit) ? Number.parseInt(digit, 16) : -1;
});

/** UTF-16 unit of the four hex digits at `at`; negative if they are none. */
export function unitAt(bytes: Uint8Array, at: number): number {
  if (at + 4 > bytes.length) return -1;
  // Of a byte that is no digit all bits are set, and so is the sign of the whole.
  return (
    ((HEX[bytes[at] as number] as number) << 12) |
    ((HEX[bytes[at + 1] as number] as number) << 8) |
    ((HEX[bytes[at + 2] as number] as number) << 4) |
    (HEX[bytes[at + 3] as number] as number)
  );
}

const isHigh = (unit: number): boolean => unit >= 0xd800 && unit < 0xdc00;
export const isLow = (unit: number): boolean => unit >= 0xdc00 && unit < 0xe000;

/** The low surrogate whose escape begins at `at`; -1 if there is none. */
export function lowAt(bytes: Uint8Array, at: number): number {
  if (bytes[at] !== BACKSLASH || bytes[at + 1] !== LOWER_U) return -1;
  const unit = unitAt(bytes, at + 2);
  return isLow(unit) ? unit : -1;
}

/** By the byte behind a backslash: what it stands for. */
const UNESCAPED = Uint8Array.from({ length: 256 }, (_, byte) => byte);
for (const [letter, byte] of [
  ['b', 8],
  ['f', 12],
  ['n', 10],
  ['r', 13],
  ['t', 9],
] as const) {
  UNESCAPED[letter.charCodeAt(0)] = byte;
}

function putCodePoint(target: Uint8Array, at: number, code: number): number {
  if (code < 0x80) {
    target[at] = code;
    return at + 1;
  }
  if (code < 0x800) {
    target[at] = 0xc0 | (code >> 6);
    target[at + 1] = 0x80 | (code & 0x3f);
    return at + 2;
  }
  if (code < 0x10000) {
    target[at] = 0xe0 | (code >> 12);
    target[at + 1] = 0x80 | ((code >> 6) & 0x3f);
    target[at + 2] = 0x80 | (code & 0x3f);
    return at + 3;
  }
  target[at] = 0xf0 | (code >> 18);
  target[at + 1] = 0x80 | ((code >> 12) & 0x3f);
  target[at + 2] = 0x80 | ((code >> 6) & 0x3f);
  target[at + 3] = 0x80 | (code & 0x3f);
  return at + 4;
}

export interface Decoded {
  /** Where the text goes on. */
  readonly from: number;
  /** Where the target is full to. */
  readonly at: number;
}

/**
 * Decodes as much of `raw[from, end)` as there is room for; the last three bytes of the target may stay free.
 *
 * @param from not within an escape.
 * @param at where in the target.
 */
export function decodeInto(
  target: Uint8Array,
  at: number,
  raw: Uint8Array,
  from: number,
  end: number,
): Decoded {
  const most = target.length - 3;
  let to = at;
  let i = from;
  while (i < end && to < most) {
    const byte = raw[i] as number;
    if (byte !== BACKSLASH) {
      target[to] = byte;
      to += 1;
      i += 1;
      continue;
    }
    const next = raw[i + 1] as number;
    if (next !== LOWER_U) {
      target[to] = UNESCAPED[next] as number;
      to += 1;
      i += 2;
      continue;
    }
    const unit = unitAt(raw, i + 2);
    i += 6;
    const low = isHigh(unit) ? lowAt(raw, i) : -1;
    if (low >= 0) i += 6;
    to = putCodePoint(target, to, low >= 0 ? 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00) : unit);
  }
  return { from: i, at: to };
}

/** The UTF-8 of `raw[from, end)`, in bytes of its own. */
export function decoded(raw: Uint8Array, from: number, end: number): Buffer {
  const target = Buffer.allocUnsafe(end - from + 3);
  return target.subarray(0, decodeInto(target, 0, raw, from, end).at);
}
