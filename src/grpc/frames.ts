/**
 * gRPC's framing: a byte of flags, the length in four bytes, the message. Messages arrive cut at any byte and several
 * in one chunk. A message that is whole in its chunk is a view of the chunk; only cut ones are put together.
 */
import { type Failure, STATUS } from './status.ts';

export const PREFIX_BYTES = 5;
/** What is set aside for a cut message at first. It grows with what arrives: a length alone costs nothing. */
const FIRST_PART_BYTES = 64 * 1024;
const GROWTH = 4;
/**
 * From so many bytes on that have arrived, there is room for all of it: what is set aside and not written costs no
 * memory, a copy does.
 */
const TRUSTED_BYTES = 1024 * 1024;
const NOTHING = Buffer.alloc(0);

declare const framed: unique symbol;
/** A message with its prefix, or its beginning. */
export type Frame = Buffer & { readonly [framed]: true };

/**
 * Writes the prefix into the first bytes of a buffer that holds the message behind them.
 *
 * @param beyond bytes of the message that are sent behind the buffer.
 */
export function sealFrame(buffer: Buffer, beyond = 0): Frame {
  buffer[0] = 0;
  buffer.writeUInt32BE(buffer.length - PREFIX_BYTES + beyond, 1);
  return buffer as Frame;
}

/** What is left of a chunk that ended within a message: prefix included. */
interface Part {
  bytes: Buffer;
  have: number;
}

export interface FrameReader {
  /** Undefined between messages. */
  part: Part | undefined;
}

const lengthAt = (bytes: Buffer, at: number): number => bytes.readUInt32BE(at + 1);

function refusal(bytes: Buffer, at: number, maxBytes: number): Failure | undefined {
  // A peer compresses only what it was told may be compressed, and nothing is.
  if (bytes[at] !== 0)
    return { code: STATUS.unimplemented, message: 'compressed messages are not supported' };
  const length = lengthAt(bytes, at);
  if (length > maxBytes) {
    return {
      code: STATUS.resourceExhausted,
      message: `a message of ${length} bytes is larger than the limit of ${maxBytes}`,
    };
  }
  return undefined;
}

function append(part: Part, chunk: Buffer, from: number, count: number, whole: number): void {
  const need = part.have + count;
  if (need > part.bytes.length) {
    const next = need > TRUSTED_BYTES ? whole : Math.max(need, part.bytes.length * GROWTH);
    const size = Math.min(next, Math.max(whole, need));
    const larger = Buffer.allocUnsafeSlow(size);
    part.bytes.copy(larger, 0, 0, part.have);
    part.bytes = larger;
  }
  chunk.copy(part.bytes, part.have, from, from + count);
  part.have = need;
}

/**
 * Gives every message that the chunk completes to `onMessage`. A message larger than the limit is refused by its
 * prefix, before any of it is kept. After a failure the reader must not be used again.
 */
export function readFrames<Reader extends FrameReader>(
  reader: Reader,
  chunk: Buffer,
  maxBytes: number,
  onMessage: (reader: Reader, message: Buffer) => void,
): Failure | undefined {
  let at = 0;
  while (at < chunk.length) {
    const { part } = reader;
    const left = chunk.length - at;
    if (part === undefined) {
      if (left >= PREFIX_BYTES) {
        const refused = refusal(chunk, at, maxBytes);
        if (refused !== undefined) return refused;
        const whole = PREFIX_BYTES + lengthAt(chunk, at);
        if (left >= whole) {
          const message = chunk.subarray(at + PREFIX_BYTES, at + whole);
          at += whole;
          onMessage(reader, message);
          continue;
        }
        reader.part = { bytes: Buffer.allocUnsafeSlow(Math.min(whole, FIRST_PART_BYTES)), have: 0 };
      } else reader.part = { bytes: Buffer.allocUnsafeSlow(PREFIX_BYTES), have: 0 };
      continue;
    }
    if (part.have < PREFIX_BYTES) {
      const count = Math.min(PREFIX_BYTES - part.have, left);
      append(part, chunk, at, count, PREFIX_BYTES);
      at += count;
      if (part.have < PREFIX_BYTES) return undefined;
      const refused = refusal(part.bytes, 0, maxBytes);
      if (refused !== undefined) return refused;
      if (lengthAt(part.bytes, 0) === 0) {
        reader.part = undefined;
        onMessage(reader, NOTHING);
      }
      continue;
    }
    const whole = PREFIX_BYTES + lengthAt(part.bytes, 0);
    const count = Math.min(whole - part.have, left);
    append(part, chunk, at, count, whole);
    at += count;
    if (part.have < whole) return undefined;
    reader.part = undefined;
    onMessage(reader, part.bytes.subarray(PREFIX_BYTES, whole));
  }
  return undefined;
}
