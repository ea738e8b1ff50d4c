/** Names of keys: short, and no two keys alike, also those that UTF-8 cannot tell apart. */
import { createHash } from 'node:crypto';

const LONGEST_KEY = 256;
const LONE_SURROGATE = /\p{Surrogate}/u;

/** Gives a key as it is named in memory and in Redis: itself, or its hash where it is long or ambiguous. */
export const idOf = (key: string): string =>
  key.length > LONGEST_KEY || key.startsWith('#') || LONE_SURROGATE.test(key)
    ? `#${createHash('sha256').update(Buffer.from(key, 'utf16le')).digest('hex')}`
    : key;
