/** Text of server-sent events, from bytes that are complete. */

export function textOf(data: Uint8Array, from: number, to: number): string {
  return Buffer.from(data.buffer, data.byteOffset + from, to - from).toString('utf8');
}

export function bufferOf(data: Uint8Array, from: number, to: number): Buffer {
  return Buffer.from(data.buffer, data.byteOffset + from, to - from);
}

/** Of a byte order mark at `at`; 0 if there is none. */
export function bomBytes(data: Uint8Array, at: number, to: number): number {
  return at + 2 < to && data[at] === 0xef && data[at + 1] === 0xbb && data[at + 2] === 0xbf ? 3 : 0;
}

/** The values of an event's `data` lines. */
export function dataLines(event: string): readonly string[] {
  return event
    .split(/\r\n|\n|\r/)
    .filter((line) => line === 'data' || line.startsWith('data:'))
    .map((line) => line.slice(5).replace(/^ /, ''));
}

export function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
