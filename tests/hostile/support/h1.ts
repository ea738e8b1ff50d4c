/** HTTP/1.1 by hand: what is written is what is sent, and every answer on the connection is read. */
import { connect, type Socket } from 'node:net';

export interface Answer {
  /** 0: none. */
  readonly status: number;
  /** In their order; HTTP/2 answers have none here. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: Buffer;
  /** It arrived to its end. */
  readonly whole: boolean;
  readonly ms: number;
}

export const NO_ANSWER: Answer = { status: 0, headers: [], body: Buffer.alloc(0), whole: false, ms: 0 };

export const answerHeader = (answer: Answer, name: string): string | undefined =>
  answer.headers.find(([own]) => own.toLowerCase() === name)?.[1];

interface Read {
  readonly answer: Omit<Answer, 'ms'>;
  /** Where the next one begins; undefined: it goes on to the connection's end. */
  readonly next: number | undefined;
}

function chunked(bytes: Buffer, from: number): { body: Buffer; next: number | undefined } {
  const parts: Buffer[] = [];
  let at = from;
  for (;;) {
    const line = bytes.indexOf('\r\n', at);
    if (line < 0) return { body: Buffer.concat(parts), next: undefined };
    const size = Number.parseInt(bytes.toString('latin1', at, line), 16);
    at = line + 2;
    if (!(size > 0)) {
      const end = bytes.indexOf('\r\n', at);
      return { body: Buffer.concat(parts), next: end < 0 ? undefined : end + 2 };
    }
    if (bytes.length < at + size + 2) return { body: Buffer.concat(parts), next: undefined };
    parts.push(bytes.subarray(at, at + size));
    at += size + 2;
  }
}

function readAnswer(bytes: Buffer, from: number, closed: boolean): Read | undefined {
  const headEnd = bytes.indexOf('\r\n\r\n', from);
  if (headEnd < 0) return undefined;
  const [first = '', ...lines] = bytes.toString('latin1', from, headEnd).split('\r\n');
  const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(first)?.[1] ?? 0);
  const headers = lines.map((line): [string, string] => {
    const colon = line.indexOf(':');
    return [line.slice(0, colon), line.slice(colon + 1).trim()];
  });
  const value = (name: string): string | undefined =>
    headers.find(([own]) => own.toLowerCase() === name)?.[1];
  const start = headEnd + 4;
  if (status < 200 || status === 204 || status === 304) {
    return { answer: { status, headers, body: Buffer.alloc(0), whole: true }, next: start };
  }
  if (value('transfer-encoding') === 'chunked') {
    const { body, next } = chunked(bytes, start);
    return { answer: { status, headers, body, whole: next !== undefined }, next };
  }
  const length = value('content-length');
  if (length !== undefined) {
    const end = start + Number(length);
    const whole = bytes.length >= end;
    return {
      answer: { status, headers, body: bytes.subarray(start, end), whole },
      next: whole ? end : undefined,
    };
  }
  return { answer: { status, headers, body: bytes.subarray(start), whole: closed }, next: undefined };
}

/** Every final answer in what was read. */
function answersIn(bytes: Buffer, closed: boolean, ms: number): readonly Answer[] {
  const answers: Answer[] = [];
  let at: number | undefined = 0;
  while (at !== undefined && at < bytes.length) {
    const read = readAnswer(bytes, at, closed);
    if (read === undefined) break;
    if (read.answer.status >= 200 || read.answer.status === 0) answers.push({ ...read.answer, ms });
    at = read.next;
  }
  return answers;
}

export interface Connection {
  readonly socket: Socket;
  write(bytes: string | Buffer): Promise<void>;
  /** What has come so far. */
  received(): Buffer;
  closed(): boolean;
  answers(): readonly Answer[];
  /** The first `count` answers, or fewer when the connection ends or the time does. */
  until(count: number, withinMs?: number): Promise<readonly Answer[]>;
  /** Whatever comes until it closes or is still for so long. */
  rest(stillMs: number, withinMs?: number): Promise<readonly Answer[]>;
  close(): void;
}

export interface ConnectOptions {
  readonly port: number;
  /** An address of the loopback network. */
  readonly from?: string | undefined;
  /** Nothing is read. */
  readonly deaf?: boolean;
}

/** Stands for the client's address in what is sent: the engines' records are told apart by it. */
export const FROM = '%FROM%';
export const marked = (text: string, from: string | undefined): string => text.replaceAll(FROM, from ?? '');

export function openH1({ port, from, deaf = false }: ConnectOptions): Promise<Connection> {
  return new Promise((resolve, reject) => {
    const startMs = performance.now();
    const socket = connect({ port, host: '127.0.0.1', ...(from !== undefined && { localAddress: from }) });
    const parts: Buffer[] = [];
    let closed = false;
    let lastMs = startMs;
    const waiting = new Set<() => void>();
    const wake = (): void => {
      for (const one of waiting) one();
    };
    if (deaf) socket.pause();
    else {
      socket.on('data', (part: Buffer) => {
        parts.push(part);
        lastMs = performance.now();
        wake();
      });
    }
    socket.on('close', () => {
      closed = true;
      wake();
    });
    socket.on('end', () => {
      closed = true;
      wake();
    });
    socket.setNoDelay(true);
    // Each write waits for the end too.
    socket.setMaxListeners(0);
    const bytes = (): Buffer => Buffer.concat(parts);
    const answers = (): readonly Answer[] => answersIn(bytes(), closed, lastMs - startMs);
    /** Until something happens, or so long. */
    const change = (ms: number): Promise<void> =>
      new Promise((done) => {
        const finish = (): void => {
          clearTimeout(timer);
          waiting.delete(finish);
          done();
        };
        const timer = setTimeout(finish, ms);
        waiting.add(finish);
      });
    // Nobody there: it is known by now whether somebody was.
    socket.on('error', reject);
    socket.once('connect', () => {
      resolve({
        socket,
        write: (what) =>
          new Promise((done) => {
            if (closed || socket.destroyed) done();
            else {
              socket.once('close', () => done());
              socket.write(typeof what === 'string' ? Buffer.from(marked(what, from), 'utf8') : what, () =>
                done(),
              );
            }
          }),
        received: bytes,
        closed: () => closed,
        answers,
        async until(count, withinMs = 15_000) {
          const deadline = performance.now() + withinMs;
          for (;;) {
            const now = answers();
            const left = deadline - performance.now();
            if (now.filter(({ whole }) => whole).length >= count || closed || left <= 0) return now;
            await change(left);
          }
        },
        async rest(stillMs, withinMs = 15_000) {
          const deadline = performance.now() + withinMs;
          for (;;) {
            const still = performance.now() - lastMs;
            const left = deadline - performance.now();
            if (closed || left <= 0 || (still >= stillMs && parts.length > 0)) return answers();
            await change(Math.min(left, Math.max(1, parts.length > 0 ? stillMs - still : left)));
          }
        },
        close: () => socket.destroy(),
      });
    });
  });
}
