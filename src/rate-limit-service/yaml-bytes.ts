/** A YAML file's bytes as text: UTF-8, or UTF-16 with a byte order mark, as the reference's reader takes them. */
import { isUtf8 } from 'node:buffer';
import { YamlFault } from './yaml-scalars.ts';

const BOM = /^\uFEFF/;

/** Where the first byte is that cannot be UTF-8, and what of it is wrong. */
function utf8Fault(bytes: Uint8Array): string {
  for (let at = 0; at < bytes.length; ) {
    const first = bytes[at] ?? 0;
    const length =
      first < 0x80 ? 1 : first < 0xc0 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf8 ? 4 : 0;
    if (length === 0) return `invalid leading UTF-8 octet at byte ${at}`;
    for (let i = 1; i < length; i += 1) {
      const next = bytes[at + i];
      if (next === undefined) return `incomplete UTF-8 octet sequence at byte ${at}`;
      if (next < 0x80 || next > 0xbf) return `invalid trailing UTF-8 octet at byte ${at + i}`;
    }
    if (!isUtf8(bytes.subarray(at, at + length))) return `invalid length of a UTF-8 sequence at byte ${at}`;
    at += length;
  }
  return 'invalid UTF-8';
}

/** @throws YamlFault for bytes that are no text. */
export function textOfBytes(bytes: Uint8Array): string {
  const [first, second] = bytes;
  const isLittle = first === 0xff && second === 0xfe;
  if (isLittle || (first === 0xfe && second === 0xff)) {
    try {
      return new TextDecoder(isLittle ? 'utf-16le' : 'utf-16be', { fatal: true }).decode(bytes);
    } catch {
      throw new YamlFault('invalid UTF-16');
    }
  }
  if (!isUtf8(bytes)) throw new YamlFault(utf8Fault(bytes));
  return new TextDecoder().decode(bytes);
}

/** A text without the mark that editors put in front. */
export const withoutMark = (text: string): string => text.replace(BOM, '');
