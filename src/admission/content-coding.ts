/**
 * What a `content-encoding` says, and how large a body may become by it. A body has one coding at most: what is coded
 * twice is an attack sooner than a client.
 */
export const CODINGS = ['gzip', 'br', 'zstd', 'deflate'] as const;
export type Coding = (typeof CODINGS)[number];

/**
 * More is no text that somebody wrote. Models' prompts, repetitive ones too, reach 5 to 50; gzip of zeros a thousand,
 * Brotli and Zstandard of zeros more than ten thousand.
 */
export const MOST_GROWTH = 100;
/** A body that becomes no larger costs nothing, whatever its ratio is. */
const FREE_BYTES = 262_144;

/** @returns undefined: it is not taken. */
export function codingOf(contentEncoding: string): Coding | 'identity' | undefined {
  const name = contentEncoding.trim().toLowerCase();
  switch (name) {
    case '':
    case 'identity':
      return 'identity';
    case 'x-gzip':
      return 'gzip';
    case 'gzip':
    case 'br':
    case 'zstd':
    case 'deflate':
      return name;
    default:
      return undefined;
  }
}

/** Most bytes that a body of so many encoded bytes may become. */
export const mostDecoded = (encodedBytes: number, maxBodyBytes: number): number =>
  Math.min(maxBodyBytes, Math.max(FREE_BYTES, MOST_GROWTH * encodedBytes));

/** Most bytes that are held for a body of so many encoded bytes: those, and what they become. */
export const mostHeld = (encodedBytes: number, maxBodyBytes: number): number =>
  encodedBytes + mostDecoded(encodedBytes, maxBodyBytes);

export type Decoded =
  | { readonly kind: 'ok'; readonly bytes: Uint8Array }
  /** It would be larger than it may become. */
  | { readonly kind: 'too-large' }
  /** It is not of this coding, is cut off, or goes on after its end. */
  | { readonly kind: 'broken' };
