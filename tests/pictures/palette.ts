/** Makes PNG files smaller: of the colours of a picture the 256 that it has most. */
import { crc32, deflateSync, inflateSync } from 'node:zlib';

const SIGNATURE = Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]);
const COLOURS = 256;
const CHANNELS: Readonly<Record<number, number>> = { 2: 3, 6: 4 };

interface Pixels {
  readonly width: number;
  readonly height: number;
  /** A colour a pixel: 0xrrggbb. */
  readonly colours: Uint32Array;
}

/** Of a PNG of 8 bits a channel, not interlaced, as browsers write it. */
function pixelsOf(png: Buffer): Pixels {
  const data: Buffer[] = [];
  let [width, height, channels] = [0, 0, 0];
  for (let at = SIGNATURE.length; at < png.length; ) {
    const length = png.readUInt32BE(at);
    const kind = png.toString('latin1', at + 4, at + 8);
    const body = png.subarray(at + 8, at + 8 + length);
    if (kind === 'IHDR') {
      width = body.readUInt32BE(0);
      height = body.readUInt32BE(4);
      channels = CHANNELS[body[9] ?? 0] ?? 0;
      if (channels === 0 || body[8] !== 8 || body[12] !== 0) throw new Error('a PNG of another kind');
    }
    if (kind === 'IDAT') data.push(body);
    at += length + 12;
  }
  const row = width * channels;
  const bytes = unfiltered(inflateSync(Buffer.concat(data)), row, channels);
  const colours = new Uint32Array(width * height);
  for (let i = 0; i < colours.length; i += 1) colours[i] = bytes.readUIntBE(i * channels, 3);
  return { width, height, colours };
}

function paeth(left: number, up: number, corner: number): number {
  const guess = left + up - corner;
  const [toLeft, toUp, toCorner] = [Math.abs(guess - left), Math.abs(guess - up), Math.abs(guess - corner)];
  if (toLeft <= toUp && toLeft <= toCorner) return left;
  return toUp <= toCorner ? up : corner;
}

/** PNG (third edition), section 9: each row begins with the kind of its filter. */
function unfiltered(raw: Buffer, row: number, step: number): Buffer {
  const out = Buffer.alloc((raw.length / (row + 1)) * row);
  for (let y = 0, from = 0, to = 0; from < raw.length; y += 1) {
    const filter = raw[from++];
    for (let x = 0; x < row; x += 1, from += 1, to += 1) {
      const left = x < step ? 0 : (out[to - step] ?? 0);
      const up = y === 0 ? 0 : (out[to - row] ?? 0);
      const corner = x < step || y === 0 ? 0 : (out[to - row - step] ?? 0);
      const guess = [0, left, up, (left + up) >> 1, paeth(left, up, corner)][filter ?? 0] ?? 0;
      out[to] = ((raw[from] ?? 0) + guess) & 0xff;
    }
  }
  return out;
}

function distance(a: number, b: number): number {
  const [red, green, blue] = [
    (a >> 16) - (b >> 16),
    ((a >> 8) & 255) - ((b >> 8) & 255),
    (a & 255) - (b & 255),
  ];
  return red * red + green * green + blue * blue;
}

function chunk(kind: string, body: Buffer): Buffer {
  const named = Buffer.concat([Buffer.from(kind, 'latin1'), body]);
  const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(body.length);
  sum.writeUInt32BE(crc32(named));
  return Buffer.concat([length, named, sum]);
}

/** @returns a PNG of the same picture, with a palette. */
export function paletted(png: Buffer): Buffer {
  const { width, height, colours } = pixelsOf(png);
  const counts = new Map<number, number>();
  for (const colour of colours) counts.set(colour, (counts.get(colour) ?? 0) + 1);
  const palette = [...counts]
    .sort(([, a], [, b]) => b - a)
    .slice(0, COLOURS)
    .map(([colour]) => colour);
  const nearest = new Map<number, number>();
  for (const colour of counts.keys()) {
    let best = 0;
    for (let i = 1; i < palette.length; i += 1) {
      if (distance(colour, palette[i] ?? 0) < distance(colour, palette[best] ?? 0)) best = i;
    }
    nearest.set(colour, best);
  }
  const rows = Buffer.alloc((width + 1) * height);
  colours.forEach((colour, i) => {
    rows[i + Math.floor(i / width) + 1] = nearest.get(colour) ?? 0;
  });
  const head = Buffer.alloc(13);
  head.writeUInt32BE(width, 0);
  head.writeUInt32BE(height, 4);
  head.set([8, 3, 0, 0, 0], 8);
  const table = Buffer.alloc(palette.length * 3);
  palette.forEach((colour, i) => table.writeUIntBE(colour, i * 3, 3));
  return Buffer.concat([
    SIGNATURE,
    chunk('IHDR', head),
    chunk('PLTE', table),
    chunk('IDAT', deflateSync(rows, { level: 9 })),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}
