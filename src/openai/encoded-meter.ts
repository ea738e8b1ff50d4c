/** Meters a compressed response: the bytes pass as they are, and are decoded for the meter when all have come. */
import { brotliDecompressSync, constants, gunzipSync, inflateRawSync, inflateSync } from 'node:zlib';
import { type MeterResult, NO_ITL, type ResponseMeter } from './response-meter.ts';

/** Compressed bytes that are kept; a larger response is not decoded. */
const MAX_ENCODED_BYTES = 1024 * 1024;
/** Bound of the decoded size: what a bomb may cost. */
const MAX_DECODED_BYTES = 16 * 1024 * 1024;

/**
 * Wraps a meter for a response with this `content-encoding`: gzip, deflate or br. With another encoding, broken data
 * or too much of it, only times and bytes are known. Replaces no bytes, so the inner meter should not either.
 */
export function createEncodedMeter(inner: ResponseMeter, contentEncoding: string): ResponseMeter {
  const decode = decoderOf(contentEncoding);
  let chunks: Uint8Array[] = [];
  let bytes = 0;
  let firstMs = 0;
  let lastMs = 0;
  let ended = false;
  let decoded = false;

  return {
    push(chunk, nowMs) {
      if (chunk.length === 0) return undefined;
      if (bytes === 0) firstMs = nowMs;
      lastMs = nowMs;
      bytes += chunk.length;
      if (decode === undefined || bytes > MAX_ENCODED_BYTES) chunks = [];
      else chunks.push(chunk);
      return undefined;
    },
    end() {
      if (ended) return undefined;
      ended = true;
      if (decode === undefined || bytes > MAX_ENCODED_BYTES || bytes === 0) return undefined;
      const plain = decodeOrNothing(decode, Buffer.concat(chunks));
      chunks = [];
      if (plain !== undefined) {
        decoded = true;
        inner.push(plain, lastMs);
        inner.end();
      }
      return undefined;
    },
    finished: () => false,
    tokenEvents: () => 0,
    contentBytes: () => (decoded ? inner.contentBytes() : 0),

    result(): MeterResult {
      const { firstTokenMs: _first, lastTokenMs: _last, ...result } = inner.result();
      return {
        ...result,
        // The inner meter sees everything at once: its times tell nothing.
        ...(bytes > 0 && { firstTokenMs: firstMs, lastTokenMs: lastMs }),
        itl: NO_ITL,
        finished: decoded ? result.finished : ended,
        bytes: decoded ? result.bytes : bytes,
      };
    },
  };
}

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
