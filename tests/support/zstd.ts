/** Zstandard without a compressor: Node.js 20 has none. */
const MAGIC = [0x28, 0xb5, 0x2f, 0xfd];
const MOST = 131_072;

const block = (type: 0 | 1, size: number, isLast: boolean): Buffer => {
  const head = Buffer.alloc(3);
  head.writeUIntLE((size << 3) | (type << 1) | (isLast ? 1 : 0), 0, 3);
  return head;
};

/** A frame that says how many bytes it has, unless `size` is undefined. */
const frameHead = (size: number | undefined): Buffer => {
  if (size === undefined) return Buffer.from([...MAGIC, 0, 0x50]);
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(size);
  return Buffer.from([...MAGIC, 0xa0, ...bytes]);
};

/** A frame that has the bytes as they are. */
export function zstdStored(bytes: Uint8Array, saysSize = true): Buffer {
  const parts: Buffer[] = [frameHead(saysSize ? bytes.length : undefined)];
  for (let at = 0; at === 0 || at < bytes.length; at += MOST) {
    const part = bytes.subarray(at, at + MOST);
    parts.push(block(0, part.length, at + MOST >= bytes.length), Buffer.from(part));
  }
  return Buffer.concat(parts);
}

/** A frame of one byte, again and again: four bytes for 128 KiB. */
export function zstdOfOneByte(byte: number, count: number, saysSize = true): Buffer {
  const parts: Buffer[] = [frameHead(saysSize ? count : undefined)];
  for (let at = 0; at === 0 || at < count; at += MOST) {
    parts.push(block(1, Math.min(MOST, count - at), at + MOST >= count), Buffer.from([byte]));
  }
  return Buffer.concat(parts);
}

/** Texts that tests/fixtures/zstd has as `zstd` wrote them. The same on every machine. */
export const ZSTD_TEXTS: Readonly<Record<string, Buffer>> = {
  chat: Buffer.from(
    JSON.stringify({ model: 'demo', messages: [{ role: 'user', content: 'Grüße, 世界! '.repeat(20) }] }),
  ),
  words: words(30_000),
  skewed: skewed(20_000),
};

function words(count: number): Buffer {
  let state = 12_345;
  const random = (): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return (state >>> 8) / 2 ** 24;
  };
  const known = Array.from({ length: 200 }, () =>
    Array.from({ length: 2 + Math.floor(random() * 8) }, () =>
      String.fromCharCode(97 + Math.floor(random() * 26)),
    ).join(''),
  );
  return Buffer.from(
    Array.from({ length: count }, () => known[Math.floor(random() ** 2 * known.length)]).join(' '),
  );
}

function skewed(count: number): Buffer {
  let state = 99;
  return Buffer.from(
    Array.from({ length: count }, () => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
      return Math.floor(((state >>> 8) / 2 ** 24) ** 8 * 256);
    }),
  );
}
