/** HTTP as no library sends it: byte by byte over HTTP/1.1, frame by frame over HTTP/2. */
import { connect } from 'node:net';

const PATIENCE_MS = 12_000;

/** What came back, and that the connection has ended or the time is over. */
export interface RawAnswer {
  readonly text: string;
  /** Of the first answer; 0: none. Informational ones do not count. */
  readonly status: number;
}

interface Talk {
  readonly port: number;
  /** Written one after another, with a pause between them. */
  readonly writes: readonly Buffer[];
  /** All has come that is waited for. */
  readonly isDone: (received: Buffer) => boolean;
  /** After the last write: the sending side is closed, or the connection is reset. */
  readonly atEnd?: 'half-close' | 'reset' | undefined;
}

const PAUSE_MS = 30;

function talk({ port, writes, isDone, atEnd }: Talk): Promise<Buffer> {
  return new Promise((resolve) => {
    const parts: Buffer[] = [];
    const socket = connect(port, '127.0.0.1');
    const finish = (): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(Buffer.concat(parts));
    };
    const timer = setTimeout(finish, PATIENCE_MS);
    socket.on('data', (part) => {
      parts.push(part);
      if (isDone(Buffer.concat(parts))) finish();
    });
    socket.on('close', finish);
    socket.on('error', finish);
    socket.on('connect', () => {
      void (async () => {
        for (const bytes of writes) {
          if (socket.destroyed) return;
          socket.write(bytes);
          await new Promise((go) => setTimeout(go, PAUSE_MS));
        }
        if (atEnd === 'half-close') socket.end();
        else if (atEnd === 'reset') socket.resetAndDestroy();
      })();
    });
  });
}

/** An answer of HTTP/1.1 is whole: by its length, or by its last chunk. */
function isWholeHttp1(received: Buffer): boolean {
  const text = received
    .toString('latin1')
    .replace(/^(?:HTTP\/1\.1 1\d\d [^\r]*\r\n(?:[^\r]+\r\n)*\r\n)+/, '');
  const end = text.indexOf('\r\n\r\n');
  if (end < 0) return false;
  const length = /^content-length: (\d+)\r$/im.exec(text.slice(0, end + 1))?.[1];
  if (length !== undefined) return text.length >= end + 4 + Number(length);
  return /^transfer-encoding: chunked\r$/im.test(text.slice(0, end + 1)) && text.endsWith('0\r\n\r\n');
}

/** One request of HTTP/1.1, as it stands, in one write or several. */
export async function sendHttp1(
  port: number,
  writes: readonly string[],
  atEnd?: Talk['atEnd'],
): Promise<RawAnswer> {
  const text = (
    await talk({ port, writes: writes.map((one) => Buffer.from(one, 'latin1')), isDone: isWholeHttp1, atEnd })
  ).toString('latin1');
  const statuses = [...text.matchAll(/HTTP\/1\.[01] (\d{3})/g)].map(([, status]) => Number(status));
  return { text, status: statuses.find((status) => status >= 200) ?? 0 };
}

const FRAME = { data: 0, headers: 1, reset: 3, settings: 4, ping: 6, goAway: 7 } as const;
const END_STREAM = 1;
const END_HEADERS = 4;
const ACK = 1;

function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** A number of HPACK with a prefix of 7 bits. */
function prefixed(value: number): Buffer {
  if (value < 127) return Buffer.from([value]);
  const bytes = [127];
  let rest = value - 127;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
  return Buffer.from([...bytes, rest]);
}

/** Literals that are not indexed: any name, any value. */
const block = (headers: readonly (readonly [string, string])[]): Buffer =>
  Buffer.concat(
    headers.flatMap(([name, value]) => [
      Buffer.from([0]),
      prefixed(Buffer.byteLength(name, 'latin1')),
      Buffer.from(name, 'latin1'),
      prefixed(Buffer.byteLength(value, 'latin1')),
      Buffer.from(value, 'latin1'),
    ]),
  );

export type Http2Part =
  | {
      readonly kind: 'headers';
      readonly headers: readonly (readonly [string, string])[];
      readonly end?: true;
    }
  | { readonly kind: 'data'; readonly text: string; readonly end?: true }
  | { readonly kind: 'reset' };

const STREAM = 1;
const encoded = (part: Http2Part): Buffer => {
  if (part.kind === 'reset') return frame(FRAME.reset, 0, STREAM, Buffer.from([0, 0, 0, 8]));
  const end = part.end === true ? END_STREAM : 0;
  return part.kind === 'headers'
    ? frame(FRAME.headers, END_HEADERS + end, STREAM, block(part.headers))
    : frame(FRAME.data, end, STREAM, Buffer.from(part.text));
};

interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

function framesOf(received: Buffer): readonly Frame[] {
  const frames: Frame[] = [];
  for (let at = 0; at + 9 <= received.length; ) {
    const size = received.readUIntBE(at, 3);
    if (at + 9 + size > received.length) break;
    frames.push({
      type: received.readUInt8(at + 3),
      flags: received.readUInt8(at + 4),
      stream: received.readUInt32BE(at + 5),
      payload: received.subarray(at + 9, at + 9 + size),
    });
    at += 9 + size;
  }
  return frames;
}

export interface Http2Answer {
  /** Of DATA. */
  readonly text: string;
  /** How it ended: with an answer, by a reset of the stream, by the connection's end, or not at all. */
  readonly ended: 'answer' | 'reset' | 'connection' | 'no';
}

/** One stream of HTTP/2 as it stands. A pause is between the parts, so that each is read by itself. */
export async function sendHttp2(port: number, parts: readonly Http2Part[]): Promise<Http2Answer> {
  const ofStream = (received: Buffer) => framesOf(received).filter(({ stream }) => stream === STREAM);
  const isEnd = ({ type, flags }: Frame): boolean =>
    type === FRAME.reset || ((type === FRAME.data || type === FRAME.headers) && (flags & END_STREAM) !== 0);
  const isGoAway = ({ type }: Frame): boolean => type === FRAME.goAway;
  const preface = Buffer.concat([
    Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
    frame(FRAME.settings, 0, 0, Buffer.alloc(0)),
    frame(FRAME.settings, ACK, 0, Buffer.alloc(0)),
  ]);
  const received = await talk({
    port,
    writes: [preface, ...parts.map(encoded)],
    isDone: (bytes) => ofStream(bytes).some(isEnd) || framesOf(bytes).some(isGoAway),
    ...(parts.at(-1)?.kind === 'reset' && { atEnd: 'half-close' }),
  });
  const frames = ofStream(received);
  const last = frames.find(isEnd);
  const text = Buffer.concat(
    frames.filter(({ type }) => type === FRAME.data).map(({ payload }) => payload),
  ).toString();
  if (last !== undefined) return { text, ended: last.type === FRAME.reset ? 'reset' : 'answer' };
  return { text, ended: framesOf(received).some(isGoAway) ? 'connection' : 'no' };
}
