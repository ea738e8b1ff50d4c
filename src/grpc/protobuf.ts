/**
 * Primitives of protobuf's wire format. Decoders read with a cursor that never leaves its bytes; encoders write from
 * the end to the beginning, so that the length of a nested message is known when it is written.
 */
import { type Frame, PREFIX_BYTES, sealFrame } from './frames.ts';

export const WIRE = { varint: 0, fixed64: 1, bytes: 2, groupStart: 3, groupEnd: 4, fixed32: 5 } as const;

const WIRE_BITS = 3;
const WIRE_MASK = 7;
const MAX_VARINT_BYTES = 10;
const MAX_GROUPS = 100;
const CONTINUES = 0x80;
const BITS = 0x7f;
const TWO_32 = 0x1_0000_0000;

/** A position in bytes. @throws Malformed all functions that read, on bytes that are no message. */
export interface Reader {
  readonly bytes: Buffer;
  at: number;
  readonly end: number;
}

const MALFORMED = 'malformed message';
/** True for what the functions that read throw. */
export const isMalformed = (error: unknown): boolean =>
  error instanceof RangeError && error.message.startsWith(MALFORMED);
const malformed = (why: string): RangeError => new RangeError(`${MALFORMED}: ${why}`);

export const readerOf = (bytes: Buffer, from = 0, end = bytes.length): Reader => ({ bytes, at: from, end });

export const hasMore = (reader: Reader): boolean => reader.at < reader.end;

/** The tag of a field: its number and its wire type in one. */
export const tagOf = (field: number, wire: number): number => ((field << WIRE_BITS) | wire) >>> 0;
export const wireOf = (tag: number): number => tag & WIRE_MASK;
export const fieldOf = (tag: number): number => tag >>> WIRE_BITS;

/** The low and the high half of a varint, as two unsigned numbers of 32 bits; the high half is in `high`. */
let high = 0;
function readLow(reader: Reader): number {
  const { bytes, end } = reader;
  let { at } = reader;
  let low = 0;
  high = 0;
  for (let i = 0; i < MAX_VARINT_BYTES; i += 1) {
    if (at >= end) throw malformed('a number is cut short');
    const byte = bytes[at] ?? 0;
    at += 1;
    const bits = byte & BITS;
    if (i < 4) low |= bits << (7 * i);
    else if (i === 4) {
      low |= bits << 28;
      high = bits >>> 4;
    } else if (i < 9) high |= bits << (7 * i - 32);
    else high |= (bits & 1) << 31;
    if (byte < CONTINUES) {
      reader.at = at;
      high >>>= 0;
      return low >>> 0;
    }
  }
  throw malformed('a number has more than ten bytes');
}

/** uint32, and an enum that has no negative values: the lowest 32 bits, as protobuf has it. */
export function readUint32(reader: Reader): number {
  const byte = reader.at < reader.end ? (reader.bytes[reader.at] ?? 0) : CONTINUES;
  if (byte < CONTINUES) {
    reader.at += 1;
    return byte;
  }
  return readLow(reader);
}

/** uint64. Above 2^53 the nearest number that a double can hold. */
export function readUint64(reader: Reader): number {
  const low = readLow(reader);
  return high * TWO_32 + low;
}

export function readBool(reader: Reader): boolean {
  const low = readLow(reader);
  return low !== 0 || high !== 0;
}

export function readTag(reader: Reader): number {
  const tag = readUint32(reader);
  if (fieldOf(tag) === 0) throw malformed('a field has the number 0');
  return tag;
}

/** The length of what follows, all of which is there. */
export function readLength(reader: Reader): number {
  const length = readUint32(reader);
  if (length > reader.end - reader.at) throw malformed('a field is longer than its message');
  return length;
}

/** A view, not a copy. */
export function readBytes(reader: Reader): Buffer {
  const length = readLength(reader);
  const from = reader.at;
  reader.at += length;
  return reader.bytes.subarray(from, reader.at);
}

/** A cursor over the nested message; this one goes on behind it. */
export function readMessage(reader: Reader): Reader {
  const length = readLength(reader);
  const from = reader.at;
  reader.at += length;
  return { bytes: reader.bytes, at: from, end: reader.at };
}

/** Bytes that are no UTF-8 become U+FFFD. */
export function readString(reader: Reader): string {
  const length = readLength(reader);
  const from = reader.at;
  reader.at += length;
  return reader.bytes.toString('utf8', from, reader.at);
}

function skipBytes(reader: Reader, count: number): void {
  if (count > reader.end - reader.at) throw malformed('a field is cut short');
  reader.at += count;
}

function skipGroup(reader: Reader, field: number): void {
  const open = [field];
  while (open.length > 0) {
    const tag = readTag(reader);
    const wire = wireOf(tag);
    if (wire === WIRE.groupStart) {
      if (open.length === MAX_GROUPS) throw malformed('groups are nested too deeply');
      open.push(fieldOf(tag));
    } else if (wire === WIRE.groupEnd) {
      if (open.pop() !== fieldOf(tag)) throw malformed('a group ends that has not begun');
    } else skipField(reader, tag);
  }
}

/** Goes past the value of a field that is not known, or not of the type it should have. */
export function skipField(reader: Reader, tag: number): void {
  switch (wireOf(tag)) {
    case WIRE.varint:
      readLow(reader);
      return;
    case WIRE.fixed64:
      skipBytes(reader, 8);
      return;
    case WIRE.bytes:
      skipBytes(reader, readLength(reader));
      return;
    case WIRE.fixed32:
      skipBytes(reader, 4);
      return;
    case WIRE.groupStart:
      skipGroup(reader, fieldOf(tag));
      return;
    default:
      throw malformed(`wire type ${wireOf(tag)}`);
  }
}

const FIRST_BYTES = 16 * 1024;
/** More than this is not kept for the next message. */
const KEPT_BYTES = 256 * 1024;
const DOUBLE_BYTES = 8;
/** Longer text is left to Buffer. */
const SHORT_TEXT = 32;

/** What is written grows downwards: the message is `bytes` from `at` to the end, and what is sent behind them. */
export interface Writer {
  bytes: Buffer;
  at: number;
  /** Bytes that end the message, and are not copied into it. */
  beyond: number;
}

const shared: Writer = { bytes: Buffer.allocUnsafeSlow(FIRST_BYTES), at: FIRST_BYTES, beyond: 0 };

/** One message at a time: what the writer held before is gone. */
export function startMessage(): Writer {
  if (shared.bytes.length > KEPT_BYTES) shared.bytes = Buffer.allocUnsafeSlow(FIRST_BYTES);
  shared.at = shared.bytes.length;
  shared.beyond = 0;
  return shared;
}

/** A copy of what was written, with gRPC's prefix; what is beyond has to be sent behind it. */
export function finishFrame(writer: Writer): Frame {
  const frame = Buffer.allocUnsafe(PREFIX_BYTES + writer.bytes.length - writer.at);
  writer.bytes.copy(frame, PREFIX_BYTES, writer.at);
  return sealFrame(frame, writer.beyond);
}

function reserve(writer: Writer, count: number): void {
  if (writer.at >= count) return;
  const used = writer.bytes.length - writer.at;
  const larger = Buffer.allocUnsafeSlow(Math.max(2 * writer.bytes.length, used + count + FIRST_BYTES));
  writer.bytes.copy(larger, larger.length - used, writer.at);
  writer.bytes = larger;
  writer.at = larger.length - used;
}

/** @param value a whole number, at least 0 and below 2^53. */
function putVarint(writer: Writer, value: number): void {
  reserve(writer, MAX_VARINT_BYTES);
  const { bytes } = writer;
  if (value < CONTINUES) {
    writer.at -= 1;
    bytes[writer.at] = value;
    return;
  }
  let count = 1;
  for (let rest = value; rest >= CONTINUES; rest = Math.floor(rest / CONTINUES)) count += 1;
  writer.at -= count;
  let rest = value;
  for (let i = 0; i < count; i += 1) {
    bytes[writer.at + i] = (rest % CONTINUES) | (i < count - 1 ? CONTINUES : 0);
    rest = Math.floor(rest / CONTINUES);
  }
}

/** Where a nested message ends: what is written after this goes into it, until `endMessage`. */
export const beginMessage = ({ bytes, at, beyond }: Writer): number => bytes.length - at + beyond;

export function endMessage(writer: Writer, field: number, begun: number): void {
  putVarint(writer, beginMessage(writer) - begun);
  putVarint(writer, tagOf(field, WIRE.bytes));
}

/**
 * A number of any type of varint, or true as 1; 0 is the default and is left out. Fractions are cut off, and negative
 * is 0.
 */
export function putNumber(writer: Writer, field: number, value: number): void {
  const whole = Math.min(Math.floor(value), Number.MAX_SAFE_INTEGER);
  if (!(whole > 0)) return;
  putVarint(writer, whole);
  putVarint(writer, tagOf(field, WIRE.varint));
}

/** Written even when it is the default: a member of a oneof. */
export function putBool(writer: Writer, field: number, value: boolean): void {
  putVarint(writer, value ? 1 : 0);
  putVarint(writer, tagOf(field, WIRE.varint));
}

/** Written even when it is the default: a member of a oneof. */
export function putDouble(writer: Writer, field: number, value: number): void {
  reserve(writer, DOUBLE_BYTES);
  writer.at -= DOUBLE_BYTES;
  writer.bytes.writeDoubleLE(value, writer.at);
  putVarint(writer, tagOf(field, WIRE.fixed64));
}

export function putBytes(writer: Writer, field: number, value: Uint8Array): void {
  reserve(writer, value.length);
  writer.at -= value.length;
  writer.bytes.set(value, writer.at);
  putVarint(writer, value.length);
  putVarint(writer, tagOf(field, WIRE.bytes));
}

/** The first to be written, so the last of the message: so many bytes that are sent behind its frame. */
export function putBeyond(writer: Writer, field: number, count: number): void {
  if (writer.at !== writer.bytes.length) throw new Error('what is beyond the message has to be its end');
  writer.beyond = count;
  putVarint(writer, count);
  putVarint(writer, tagOf(field, WIRE.bytes));
}

/** Written even when it is empty: an element of a list, or a member of a oneof. */
export function putString(writer: Writer, field: number, value: string): void {
  const { length } = value;
  let isPlain = length <= SHORT_TEXT;
  if (isPlain) {
    reserve(writer, length);
    const { bytes } = writer;
    const from = writer.at - length;
    for (let i = 0; i < length; i += 1) {
      const code = value.charCodeAt(i);
      if (code >= CONTINUES) {
        isPlain = false;
        break;
      }
      bytes[from + i] = code;
    }
  }
  const count = isPlain ? length : Buffer.byteLength(value);
  reserve(writer, count);
  writer.at -= count;
  if (!isPlain) writer.bytes.write(value, writer.at, count, 'utf8');
  putVarint(writer, count);
  putVarint(writer, tagOf(field, WIRE.bytes));
}
