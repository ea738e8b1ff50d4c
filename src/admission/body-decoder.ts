/**
 * Decodes the bodies of requests, each within a bound: gzip, deflate and Brotli on the threads of Node.js, and
 * Zstandard, which not every Node.js has, in the turns of the body queue.
 *
 * Invariants: `done` is called once, in a later turn; a thread makes CHUNK_BYTES at a time, so many bodies take turns.
 */
import { brotliDecompress, gunzip, inflate, inflateRaw, type ZlibOptions } from 'node:zlib';
import type { BodyQueue, BodyReading } from './body-queue.ts';
import type { Coding, Decoded } from './content-coding.ts';
import { ZstdDecoder } from './zstd/decoder.ts';

const CHUNK_BYTES = 32_768;
const TOO_LARGE: Decoded = { kind: 'too-large' };
const BROKEN: Decoded = { kind: 'broken' };

interface Informed {
  readonly buffer: Buffer;
  readonly engine: { readonly bytesWritten: number };
}

type Method = (
  bytes: Uint8Array,
  options: ZlibOptions,
  done: (error: Error | null, result: Buffer) => void,
) => void;

/** The name means zlib's format; some clients send the raw one. Zlib's first byte has 8 in its lower half. */
const isZlib = (bytes: Uint8Array): boolean => (bytes[0] ?? 0) % 16 === 8;

function methodOf(coding: Exclude<Coding, 'zstd'>, bytes: Uint8Array): Method {
  switch (coding) {
    case 'gzip':
      return gunzip;
    case 'br':
      return brotliDecompress;
    case 'deflate':
      return isZlib(bytes) ? inflate : inflateRaw;
  }
}

/** @param bytes that were to be decoded. */
function resultOf(error: Error | null, result: Buffer, bytes: Uint8Array): Decoded {
  if (error !== null) {
    return (error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE' ? TOO_LARGE : BROKEN;
  }
  // With `info` it is more than the types say.
  const { buffer, engine } = result as unknown as Informed;
  // What stands behind the end has not been read.
  if (engine.bytesWritten !== bytes.length) return BROKEN;
  // A short one would keep a whole chunk while it waits.
  return { kind: 'ok', bytes: buffer.length < CHUNK_BYTES / 2 ? new Uint8Array(buffer) : buffer };
}

export interface BodyDecoderOptions {
  /** Monotonic milliseconds. */
  readonly now: () => number;
  /** Whoever took a body failed. It costs that request. */
  readonly onBug: (error: unknown) => void;
}

export class BodyDecoder {
  private readonly queue: BodyQueue;
  private readonly options: BodyDecoderOptions;

  constructor(queue: BodyQueue, options: BodyDecoderOptions) {
    this.queue = queue;
    this.options = options;
  }

  /** @param most bytes that it may become. */
  decode(
    tenant: string,
    coding: Coding,
    { bytes, most }: { readonly bytes: Uint8Array; readonly most: number },
    done: (result: Decoded, nowMs: number) => void,
  ): BodyReading {
    if (coding === 'zstd') return this.queue.run(tenant, new ZstdDecoder(bytes, most), BROKEN, done);
    const { now, onBug } = this.options;
    let isWanted = true;
    const options = { chunkSize: CHUNK_BYTES, maxOutputLength: most, info: true };
    methodOf(coding, bytes)(bytes, options, (error, result) => {
      if (!isWanted) return;
      try {
        done(resultOf(error, result, bytes), now());
      } catch (bug) {
        onBug(bug);
      }
    });
    return {
      cancel() {
        isWanted = false;
      },
    };
  }
}
