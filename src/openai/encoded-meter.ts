/** Meters a compressed response: the bytes pass as they are, and are decoded for the meter when all have come. */
import { brotliDecompressSync, constants, gunzipSync, inflateRawSync, inflateSync } from 'node:zlib';
import { type MeterResult, NO_ITL, type ResponseMeter } from './response-meter.ts';

/** Compressed bytes that are kept; a larger response is not decoded. */
const MAX_ENCODED_BYTES = 1024 * 1024;
/** Bound of the decoded size: what a bomb may cost. */
const MAX_DECODED_BYTES = 16 * 1024 * 1024;

class EncodedMeter implements ResponseMeter {
  private readonly inner: ResponseMeter;
  private readonly decode: Decoder | undefined;
  /** As they came, while they can still be decoded. */
  private chunks: Uint8Array[] = [];
  private bytes = 0;
  private firstMs = 0;
  private lastMs = 0;
  private hasEnded = false;
  private isDecoded = false;

  constructor(inner: ResponseMeter, decode: Decoder | undefined) {
    this.inner = inner;
    this.decode = decode;
  }

  push(chunk: Uint8Array, nowMs: number): undefined {
    if (chunk.length === 0) return undefined;
    if (this.bytes === 0) this.firstMs = nowMs;
    this.lastMs = nowMs;
    this.bytes += chunk.length;
    if (this.decode === undefined || this.bytes > MAX_ENCODED_BYTES) this.chunks = [];
    else this.chunks.push(chunk);
    return undefined;
  }

  end(): undefined {
    if (this.hasEnded) return undefined;
    this.hasEnded = true;
    const { decode, bytes, inner } = this;
    if (decode === undefined || bytes > MAX_ENCODED_BYTES || bytes === 0) return undefined;
    const plain = decodeOrNothing(decode, Buffer.concat(this.chunks));
    this.chunks = [];
    if (plain !== undefined) {
      this.isDecoded = true;
      inner.push(plain, this.lastMs);
      inner.end();
    }
    return undefined;
  }

  finished(): boolean {
    return false;
  }

  tokenEvents(): number {
    return 0;
  }

  contentBytes(): number {
    return this.isDecoded ? this.inner.contentBytes() : 0;
  }

  result(): MeterResult {
    const { firstTokenMs: _first, lastTokenMs: _last, ...result } = this.inner.result();
    const { bytes, isDecoded } = this;
    return {
      ...result,
      // The inner meter sees everything at once: its times tell nothing.
      ...(bytes > 0 && { firstTokenMs: this.firstMs, lastTokenMs: this.lastMs }),
      itl: NO_ITL,
      finished: isDecoded ? result.finished : this.hasEnded,
      bytes: isDecoded ? result.bytes : bytes,
    };
  }
}

/**
 * Wraps a meter for a response with this `content-encoding`: gzip, deflate or br. With another encoding, broken data
 * or too much of it, only times and bytes are known. Replaces no bytes, so the inner meter should not either.
 */
export const createEncodedMeter = (inner: ResponseMeter, contentEncoding: string): ResponseMeter =>
  new EncodedMeter(inner, decoderOf(contentEncoding));

type Decoder = (data: Buffer) => Buffer;

/** A response that was cut off is decoded as far as it came. */
const ZLIB = { finishFlush: constants.Z_SYNC_FLUSH, maxOutputLength: MAX_DECODED_BYTES };
const BROTLI = { finishFlush: constants.BROTLI_OPERATION_FLUSH, maxOutputLength: MAX_DECODED_BYTES };

function decoderOf(contentEncoding: string): Decoder | undefined {
  switch (contentEncoding.trim().toLowerCase()) {
    case 'gzip':
    case 'x-gzip':
      return (data) => gunzipSync(data, ZLIB);
    case 'deflate':
      // The name means zlib's format; some servers send the raw one. Zlib's first byte has 8 in its lower half.
      return (data) => ((data[0] ?? 0) % 16 === 8 ? inflateSync(data, ZLIB) : inflateRawSync(data, ZLIB));
    case 'br':
      return (data) => brotliDecompressSync(data, BROTLI);
    default:
      return undefined;
  }
}

function decodeOrNothing(decode: Decoder, data: Buffer): Buffer | undefined {
  try {
    return decode(data);
  } catch {
    return undefined;
  }
}
