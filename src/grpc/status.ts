/** gRPC status codes, as far as they are used, and how a status is written into HTTP/2 headers. */
export const STATUS = {
  ok: 0,
  unknown: 2,
  notFound: 5,
  resourceExhausted: 8,
  failedPrecondition: 9,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
} as const;

export interface Failure {
  readonly code: Exclude<(typeof STATUS)[keyof typeof STATUS], 0>;
  readonly message: string;
}

/** What a bug tells the caller; the log has the rest. */
export const INTERNAL_FAILURE: Failure = { code: STATUS.internal, message: 'internal error' };
export const MALFORMED_REQUEST: Failure = { code: STATUS.internal, message: 'the request cannot be decoded' };

const FIRST_PLAIN = 0x20;
const LAST_PLAIN = 0x7e;
const PERCENT = 0x25;

/** `grpc-message`: UTF-8, with everything but printable ASCII, and `%` itself, as %XX. */
export function encodeMessage(text: string): string {
  let encoded = '';
  for (const byte of Buffer.from(text)) {
    encoded +=
      byte < FIRST_PLAIN || byte > LAST_PLAIN || byte === PERCENT
        ? `%${byte.toString(16).toUpperCase().padStart(2, '0')}`
        : String.fromCharCode(byte);
  }
  return encoded;
}
