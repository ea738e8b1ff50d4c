/**
 * HTTP/2 by hand: frames as they are told, literal HPACK without a table. node:http2 refuses most of what a hostile client
 * sends. Of an answer it reads the status, the body and how it ended.
 */
import { connect, type Socket } from 'node:net';
import { type Answer, type ConnectOptions, marked } from './h1.ts';

export const FRAME = {
  data: 0,
  headers: 1,
  priority: 2,
  rstStream: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;
export const FLAG = { endStream: 1, endHeaders: 4, padded: 8, priority: 32, ack: 1 } as const;

const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
/** Statuses of HPACK's static table, from index 8. */
const STATIC_STATUS = [200, 204, 206, 304, 400, 404, 500];
const DIGITS: ReadonlyMap<string, string> = new Map([
  ['00000', '0'],
  ['00001', '1'],
  ['00010', '2'],
  ['011001', '3'],
  ['011010', '4'],
  ['011011', '5'],
  ['011100', '6'],
  ['011101', '7'],
  ['011110', '8'],
  ['011111', '9'],
]);

export type Field = readonly [name: string, value: string];

function integer(value: number, prefixBits: number, first: number): Buffer {
  const most = 2 ** prefixBits - 1;
  if (value < most) return Buffer.from([first | value]);
  const bytes = [first | most];
  let rest = value - most;
  while (rest >= 128) {
    bytes.push((rest % 128) + 128);
    rest = Math.floor(rest / 128);
  }
  bytes.push(rest);
  return Buffer.from(bytes);
}

/** Every field literal, never indexed. Text is latin1: a test may send any byte. */
export function hpack(fields: readonly Field[]): Buffer {
  return Buffer.concat(
    fields.flatMap(([name, value]) => {
      const names = Buffer.from(name, 'latin1');
      const values = Buffer.from(value, 'latin1');
      return [Buffer.from([0x10]), integer(names.length, 7, 0), names, integer(values.length, 7, 0), values];
    }),
  );
}

function statusOf(block: Buffer): number {
  let at = 0;
  // A change of the table's size comes first.
  while (((block[at] ?? 0) & 0xe0) === 0x20) at += 1;
  const first = block[at] ?? 0;
  if ((first & 0x80) !== 0) return STATIC_STATUS[(first & 0x7f) - 8] ?? 0;
  const nameBits = (first & 0x40) !== 0 ? 0x3f : 0x0f;
  if ((first & nameBits) < 8 || (first & nameBits) > 14) return 0;
  const length = (block[at + 1] ?? 0) & 0x7f;
  const text = block.subarray(at + 2, at + 2 + length);
  if (((block[at + 1] ?? 0) & 0x80) === 0) return Number(text.toString('latin1'));
  let bits = [...text].map((byte) => byte.toString(2).padStart(8, '0')).join('');
  let digits = '';
  while (digits.length < 3) {
    const found = [5, 6].find((size) => DIGITS.has(bits.slice(0, size)));
    if (found === undefined) return 0;
    digits += DIGITS.get(bits.slice(0, found)) ?? '';
    bits = bits.slice(found);
  }
  return Number(digits);
}

interface StreamState {
  status: number;
  parts: Buffer[];
  ended: boolean;
  reset: number | undefined;
  atMs: number;
}

export interface H2Connection {
  readonly socket: Socket;
  frame(type: number, flags: number, stream: number, payload?: Buffer): void;
  headers(stream: number, fields: readonly Field[], flags?: number): void;
  data(stream: number, bytes: string | Buffer, flags?: number): void;
  reset(stream: number, code?: number): void;
  /** What was answered; status 0 when the stream or the connection ended before, or the time did. */
  answer(stream: number, withinMs?: number): Promise<Answer & { readonly reset: number | undefined }>;
  goaway(): boolean;
  closed(): boolean;
  close(): void;
}

export interface H2Options extends ConnectOptions {
  /** Of every stream; 0: nothing of an answer's body may be sent. */
  readonly window?: number;
}

export function openH2({ port, from, window = 2 ** 31 - 1 }: H2Options): Promise<H2Connection> {
  return new Promise((resolve, reject) => {
    const startMs = performance.now();
    const socket = connect({ port, host: '127.0.0.1', ...(from !== undefined && { localAddress: from }) });
    socket.setNoDelay(true);
    const streams = new Map<number, StreamState>();
    const waiting = new Set<() => void>();
    let closed = false;
    let goaway = false;
    let buffered: Buffer = Buffer.alloc(0);
    const stateOf = (id: number): StreamState => {
      let state = streams.get(id);
      if (state === undefined) {
        state = { status: 0, parts: [], ended: false, reset: undefined, atMs: 0 };
        streams.set(id, state);
      }
      return state;
    };
    const frame = (type: number, flags: number, stream: number, payload: Buffer = Buffer.alloc(0)): void => {
      if (closed || socket.destroyed) return;
      const head = Buffer.alloc(9);
      head.writeUIntBE(payload.length, 0, 3);
      head[3] = type;
      head[4] = flags;
      head.writeUInt32BE(stream, 5);
      socket.write(Buffer.concat([head, payload]));
    };
    const take = (type: number, flags: number, id: number, payload: Buffer): void => {
      if (type === FRAME.settings && (flags & FLAG.ack) === 0) frame(FRAME.settings, FLAG.ack, 0);
      else if (type === FRAME.ping && (flags & FLAG.ack) === 0) frame(FRAME.ping, FLAG.ack, 0, payload);
      else if (type === FRAME.goaway) goaway = true;
      if (id === 0) return;
      const state = stateOf(id);
      state.atMs = performance.now();
      if (type === FRAME.headers) {
        // Trailers come without a status.
        const status = statusOf(payload);
        if (status >= 200) state.status = status;
      } else if (type === FRAME.data) state.parts.push(payload);
      else if (type === FRAME.rstStream) {
        state.reset = payload.readUInt32BE(0);
        state.ended = true;
      }
      if ((type === FRAME.headers || type === FRAME.data) && (flags & FLAG.endStream) !== 0)
        state.ended = true;
    };
    socket.on('data', (part: Buffer) => {
      buffered = buffered.length === 0 ? part : Buffer.concat([buffered, part]);
      while (buffered.length >= 9) {
        const length = buffered.readUIntBE(0, 3);
        if (buffered.length < 9 + length) break;
        take(
          buffered[3] ?? 0,
          buffered[4] ?? 0,
          buffered.readUInt32BE(5) & 0x7fffffff,
          buffered.subarray(9, 9 + length),
        );
        buffered = buffered.subarray(9 + length);
      }
      for (const one of waiting) one();
    });
    const finish = (): void => {
      closed = true;
      for (const one of waiting) one();
    };
    socket.on('close', finish);
    socket.on('end', finish);
    socket.on('error', reject);
    socket.once('connect', () => {
      const settings = Buffer.alloc(12);
      settings.writeUInt16BE(1, 0); // no table for headers
      settings.writeUInt32BE(0, 2);
      settings.writeUInt16BE(4, 6); // window of a stream
      settings.writeUInt32BE(window, 8);
      socket.write(PREFACE);
      frame(FRAME.settings, 0, 0, settings);
      if (window > 0) {
        const more = Buffer.alloc(4);
        more.writeUInt32BE(2 ** 30);
        frame(FRAME.windowUpdate, 0, 0, more);
      }
      resolve({
        socket,
        frame,
        headers: (stream, fields, flags = FLAG.endHeaders) =>
          frame(
            FRAME.headers,
            flags,
            stream,
            hpack(fields.map(([name, value]): Field => [name, marked(value, from)])),
          ),
        data(stream, bytes, flags = 0) {
          const all = typeof bytes === 'string' ? Buffer.from(bytes) : bytes;
          const size = 16_384;
          for (let at = 0; at === 0 || at < all.length; at += size) {
            const last = at + size >= all.length;
            frame(FRAME.data, last ? flags : 0, stream, all.subarray(at, at + size));
          }
        },
        reset(stream, code = 8) {
          const payload = Buffer.alloc(4);
          payload.writeUInt32BE(code);
          frame(FRAME.rstStream, 0, stream, payload);
        },
        async answer(stream, withinMs = 15_000) {
          const deadline = performance.now() + withinMs;
          for (;;) {
            const state = stateOf(stream);
            const left = deadline - performance.now();
            if (state.ended || closed || left <= 0) {
              return {
                status: state.status,
                headers: [],
                body: Buffer.concat(state.parts),
                whole: state.ended && state.reset === undefined,
                ms: state.atMs - startMs,
                reset: state.reset,
              };
            }
            await new Promise<void>((done) => {
              const end = (): void => {
                clearTimeout(timer);
                waiting.delete(end);
                done();
              };
              const timer = setTimeout(end, left);
              waiting.add(end);
            });
          }
        },
        goaway: () => goaway,
        closed: () => closed,
        close: () => socket.destroy(),
      });
    });
  });
}
