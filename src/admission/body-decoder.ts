/**
 * Decodes the bodies of requests, each within a bound: gzip, deflate and Brotli on the threads of Node.js, and
 * Zstandard, which not every Node.js has, in the turns of the body queue.
 *
 * Invariants: `done` is called once, in a later turn; a thread makes CHUNK_BYTES at a time, so many bodies take turns;
 * of a body that is not wanted any more nothing is kept but the chunk that a thread makes.
 */
import {
  createBrotliDecompress,
  createGunzip,
  createInflate,
  createInflateRaw,
  type ZlibOptions,
} from 'node:zlib';
import type { BodyQueue, BodyReading } from './body-queue.ts';
import type { Coding, Decoded } from './content-coding.ts';
import { ZstdDecoder } from './zstd/decoder.ts';

const CHUNK_BYTES = 32_768;
const TOO_LARGE: Decoded = { kind: 'too-large' };
const BROKEN: Decoded = { kind: 'broken' };

type Stream = ReturnType<typeof createGunzip | typeof createBrotliDecompress>;

/** The name means zlib's format; some clients send the raw one. Zlib's first byte has 8 in its lower half. */
const isZlib = (bytes: Uint8Array): boolean => (bytes[0] ?? 0) % 16 === 8;

function streamOf(coding: Exclude<Coding, 'zstd'>, bytes: Uint8Array): Stream {
  const options: ZlibOptions = { chunkSize: CHUNK_BYTES };
  switch (coding) {
    case 'gzip':
      return createGunzip(options);
    case 'br':
      return createBrotliDecompress(options);
    case 'deflate':
      return isZlib(bytes) ? createInflate(options) : createInflateRaw(options);
  }
}

/** Life: decoding, then over, once: by its end, by a fault of the body, or cancelled. */
class Decoding implements BodyReading {
  private readonly stream: Stream;
  private readonly done: (result: Decoded) => void;
  private pieces: Buffer[] = [];
  private size = 0;
  private isOver = false;

  constructor(
    coding: Exclude<Coding, 'zstd'>,
    { bytes, most }: { readonly bytes: Uint8Array; readonly most: number },
    done: (result: Decoded) => void,
  ) {
    const stream = streamOf(coding, bytes);
    this.stream = stream;
    this.done = done;
    stream.on('data', (piece: Buffer) => this.take(piece, most));
    stream.on('error', () => this.end(BROKEN));
    // What stands behind the end has not been read.
    stream.on('end', () => this.end(stream.bytesWritten === bytes.length ? this.whole() : BROKEN));
    stream.end(bytes);
  }

  cancel(): void {
    this.isOver = true;
    this.pieces = [];
    this.stream.destroy();
  }

  private take(piece: Buffer, most: number): void {
    if (this.isOver) return;
    this.size += piece.length;
    if (this.size > most) this.end(TOO_LARGE);
    else this.pieces.push(piece);
  }

  /** Copied: a short one would keep a whole chunk while it waits. */
  private whole(): Decoded {
    return { kind: 'ok', bytes: Buffer.concat(this.pieces, this.size) };
  }

  private end(result: Decoded): void {
    if (this.isOver) return;
    this.cancel();
    this.done(result);
  }
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
    return new Decoding(coding, { bytes, most }, (result) => {
      try {
        done(result, now());
      } catch (bug) {
        onBug(bug);
      }
    });
  }
}
