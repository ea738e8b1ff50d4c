/** The gRPC server under every service: with grpc-js's client, with HTTP/2 by hand, and with bytes that are neither. */
import { mkdtempSync, rmSync } from 'node:fs';
import * as http2 from 'node:http2';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as grpc from '@grpc/grpc-js';
import * as protoLoader from '@grpc/proto-loader';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Frame, PREFIX_BYTES, sealFrame } from '../../src/grpc/frames.ts';
import { createHealth, type Health } from '../../src/grpc/health.ts';
import { type Http2GrpcServer, startHttp2GrpcServer } from '../../src/grpc/http2-grpc-server.ts';
import type { GrpcService, ServerStream } from '../../src/grpc/service.ts';
import { eventually } from '../support/eventually.ts';

const MAX_MESSAGE = 8 * 1024 * 1024;
const { NGHTTP2_CANCEL, NGHTTP2_NO_ERROR } = http2.constants;

const frameOf = (message: Uint8Array | string): Frame =>
  sealFrame(Buffer.concat([Buffer.alloc(PREFIX_BYTES), Buffer.from(message)]));
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

interface Seen {
  messages: number;
  closes: number;
  readonly open: Set<ServerStream>;
}

/** Each method does what its name says. */
function testService(seen: Seen): GrpcService {
  const stream = (
    onMessage: (stream: ServerStream, message: Buffer) => void,
  ): GrpcService['methods'][string] => ({
    kind: 'stream',
    open(side) {
      seen.open.add(side);
      return {
        onMessage(message) {
          seen.messages += 1;
          onMessage(side, message);
        },
        onEnd: () => side.end(),
        onClose() {
          seen.closes += 1;
          seen.open.delete(side);
        },
      };
    },
  });
  return {
    name: 'test.Test',
    methods: {
      Echo: { kind: 'unary', handle: (request) => frameOf(request) },
      Late: { kind: 'unary', handle: (request) => sleep(20).then(() => frameOf(request)) },
      Fail: { kind: 'unary', handle: () => ({ code: 9, message: '100 % wröng\n' }) },
      Throw: {
        kind: 'unary',
        handle() {
          throw new Error('a bug');
        },
      },
      Reject: { kind: 'unary', handle: () => Promise.reject(new Error('a bug')) },
      Chat: stream((side, message) => side.write(frameOf(message))),
      Blow: stream((side) => side.write(frameOf(Buffer.alloc(64 * 1024, 'x')))),
      EndAfterOne: stream((side, message) => {
        side.write(frameOf(message));
        side.end();
        side.write(frameOf('too late'));
        side.end({ code: 9, message: 'too late' });
      }),
      ThrowOnMessage: stream(() => {
        throw new Error('a bug');
      }),
    },
  };
}

interface Ended {
  readonly status: number;
  readonly headers: http2.IncomingHttpHeaders;
  readonly trailers: http2.IncomingHttpHeaders;
  readonly body: Buffer;
  readonly rstCode: number | undefined;
}

/** Everything about one HTTP/2 request until it is closed. */
function ended(request: http2.ClientHttp2Stream): Promise<Ended> {
  return new Promise((resolve) => {
    let headers: http2.IncomingHttpHeaders = {};
    let trailers: http2.IncomingHttpHeaders = {};
    const body: Buffer[] = [];
    request.on('response', (received) => {
      headers = received;
    });
    request.on('trailers', (received) => {
      trailers = received;
    });
    request.on('data', (chunk: Buffer) => body.push(chunk));
    request.on('error', () => undefined);
    request.on('close', () =>
      resolve({
        status: Number(headers[':status']),
        headers,
        trailers,
        body: Buffer.concat(body),
        rstCode: request.rstCode,
      }),
    );
  });
}

const grpcStatus = ({ headers, trailers }: Ended): string | undefined =>
  String(trailers['grpc-status'] ?? headers['grpc-status']);

/** Whether this Node.js lets a server say how many resets it takes: asked of a plain server. */
async function nodeKnowsResetLimits(): Promise<boolean> {
  const options = { streamResetBurst: 1_000_000, streamResetRate: 1_000_000, settings: {} };
  const server = http2.createServer(options);
  server.on('stream', (stream) => {
    stream.on('error', () => undefined);
    stream.respond({ ':status': 200 });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const session = http2.connect(
    `http://127.0.0.1:${address !== null && typeof address === 'object' ? address.port : 0}`,
  );
  session.on('error', () => undefined);
  const survived = await resets(session, '/', 1_500).catch(() => false);
  session.destroy();
  server.close();
  return survived;
}

/** Opens streams and resets each after its first sign of life. True when the connection is still good. */
async function resets(session: http2.ClientHttp2Session, path: string, count: number): Promise<boolean> {
  for (let i = 0; i < count && !session.destroyed; i += 50) {
    await Promise.all(
      Array.from({ length: 50 }, () => {
        const request = session.request(POST(path));
        request.on('error', () => undefined);
        request.write(frameOf('x'));
        request.on('response', () => request.close(NGHTTP2_CANCEL));
        return new Promise((resolve) => request.on('close', resolve));
      }),
    );
  }
  await sleep(50);
  return !session.destroyed && !session.closed;
}

const GOAWAY = 7;
/** Of whole frames. */
function hasGoaway(frames: Buffer): boolean {
  for (let at = 0; at + 9 <= frames.length; at += 9 + frames.readUIntBE(at, 3)) {
    if (frames[at + 3] === GOAWAY) return true;
  }
  return false;
}

const POST = (path: string, more: http2.OutgoingHttpHeaders = {}): http2.OutgoingHttpHeaders => ({
  ':method': 'POST',
  ':path': path,
  'content-type': 'application/grpc',
  te: 'trailers',
  ...more,
});

describe.each(['unix', 'tcp'] as const)('the gRPC server on %s', (kind) => {
  const folder = mkdtempSync(join(tmpdir(), 'fairlane-grpc-'));
  const path = join(folder, 's');
  let seen: Seen;
  let health: Health;
  let server: Http2GrpcServer;
  let client: grpc.Client;
  let session: http2.ClientHttp2Session;

  const target = (): string => (kind === 'unix' ? `unix:${path}` : `127.0.0.1:${server.port}`);
  const dial = (): Socket => (kind === 'unix' ? connect(path) : connect(server.port, '127.0.0.1'));
  const newSession = (): http2.ClientHttp2Session => {
    const made = http2.connect('http://localhost', { createConnection: dial });
    made.on('error', () => undefined);
    return made;
  };
  const same = (bytes: Buffer): Buffer => bytes;
  const unary = (method: string, message: string | Buffer): Promise<Buffer> =>
    new Promise((resolve, reject) => {
      client.makeUnaryRequest(`/test.Test/${method}`, same, same, Buffer.from(message), (error, answer) => {
        if (error === null && answer !== undefined) resolve(answer);
        else reject(error);
      });
    });
  const bidi = (method: string): grpc.ClientDuplexStream<Buffer, Buffer> =>
    client.makeBidiStreamRequest(`/test.Test/${method}`, same, same).on('error', () => undefined);
  /** A request by hand: the chunks are DATA frames as they are. */
  const raw = async (
    method: string,
    chunks: readonly Buffer[],
    options: { readonly headers?: http2.OutgoingHttpHeaders; readonly open?: boolean } = {},
  ): Promise<Ended> => {
    const request = session.request({ ...POST(`/test.Test/${method}`), ...options.headers });
    const end = ended(request);
    for (const chunk of chunks) {
      await new Promise<void>((resolve) => request.write(chunk, () => resolve()));
    }
    if (options.open !== true) request.end();
    return end;
  };

  beforeAll(async () => {
    seen = { messages: 0, closes: 0, open: new Set() };
    health = createHealth(['', 'test.Test']);
    server = await startHttp2GrpcServer({
      listen: kind === 'unix' ? { path } : { host: '127.0.0.1', port: 0 },
      services: [testService(seen), health.service],
      maxMessageBytes: MAX_MESSAGE,
    });
    client = new grpc.Client(target(), grpc.credentials.createInsecure(), {
      'grpc.max_receive_message_length': -1,
      'grpc.max_send_message_length': -1,
    });
  });
  beforeEach(() => {
    session = newSession();
  });
  afterEach(async () => {
    session.destroy();
    await eventually(
      () => seen.open.size,
      (count) => count === 0,
    );
  });
  afterAll(async () => {
    client.close();
    await server.close(100);
    rmSync(folder, { recursive: true, force: true });
  });

  describe('calls', () => {
    it('are answered, at once or later, small or large', async () => {
      expect(String(await unary('Echo', 'hello'))).toBe('hello');
      expect(String(await unary('Late', 'hello'))).toBe('hello');
      expect(await unary('Echo', '')).toHaveLength(0);
      const large = Buffer.alloc(MAX_MESSAGE, 'abcdefg');
      expect((await unary('Echo', large)).equals(large)).toBe(true);
    });

    it('fail with the status and the message of the service, whatever is in it', async () => {
      await expect(unary('Fail', 'x')).rejects.toMatchObject({ code: 9, details: '100 % wröng\n' });
    });

    it('cost themselves when the service has a bug', async () => {
      await expect(unary('Throw', 'x')).rejects.toMatchObject({ code: 13 });
      await expect(unary('Reject', 'x')).rejects.toMatchObject({ code: 13 });
      expect(String(await unary('Echo', 'y'))).toBe('y');
    });

    it('to nobody are UNIMPLEMENTED, in headers alone', async () => {
      await expect(unary('Nothing', 'x')).rejects.toMatchObject({ code: 12 });
      const end = await raw('Nothing', [frameOf('x')]);
      expect(end.status).toBe(200);
      expect(end.headers['grpc-status']).toBe('12');
      expect(end.headers['content-type']).toBe('application/grpc+proto');
      expect(end.trailers).toEqual({});
    });

    it('have one message, and all of it', async () => {
      expect(grpcStatus(await raw('Echo', []))).toBe('12');
      expect(grpcStatus(await raw('Echo', [frameOf('a'), frameOf('b')]))).toBe('12');
      expect(grpcStatus(await raw('Echo', [frameOf('abc').subarray(0, 7)]))).toBe('13');
      expect(grpcStatus(await raw('Chat', [frameOf('abc').subarray(0, 3)]))).toBe('13');
    });
  });

  describe('what is no gRPC', () => {
    it('is told so in HTTP', async () => {
      const status = async (headers: http2.OutgoingHttpHeaders): Promise<number> =>
        (await raw('Echo', [frameOf('x')], { headers })).status;
      expect(await status({ ':method': 'PUT' })).toBe(405);
      const ofTypes = (...types: string[]): Promise<number[]> =>
        Promise.all(types.map((type) => status({ 'content-type': type })));
      expect(
        await ofTypes('application/json', 'application/grpc-web', 'application/grpc+json', 'grpc', ''),
      ).toEqual([415, 415, 415, 415, 415]);
      expect(
        await ofTypes('application/grpc', 'application/grpc+proto', 'application/grpc; charset=utf-8'),
      ).toEqual([200, 200, 200]);
      const get = session.request({ ':method': 'GET', ':path': '/test.Test/Echo' });
      get.end();
      expect((await ended(get)).status).toBe(405);
    });
  });

  describe('messages', () => {
    it('may be cut at any byte, and be several in one frame', async () => {
      const bytes = Buffer.concat([frameOf('one'), frameOf(''), frameOf('three')]);
      const single = await raw(
        'Chat',
        [...bytes].map((byte) => Buffer.from([byte])),
      );
      const together = await raw('Chat', [bytes]);
      for (const end of [single, together]) {
        expect(end.body.equals(bytes)).toBe(true);
        expect(end.trailers['grpc-status']).toBe('0');
      }
    });

    it('larger than the limit are refused by their prefix, and the peer is told to send no more', async () => {
      const prefix = Buffer.from([0, 0, 0x80, 0, 1]);
      for (const method of ['Echo', 'Chat']) {
        const end = await raw(method, [prefix, Buffer.alloc(100)], { open: true });
        expect([method, grpcStatus(end), end.rstCode]).toEqual([method, '8', NGHTTP2_NO_ERROR]);
      }
      const after = await raw('Chat', [frameOf('first'), prefix], { open: true });
      expect(after.trailers['grpc-status']).toBe('8');
      await expect(unary('Echo', Buffer.alloc(MAX_MESSAGE + 1))).rejects.toMatchObject({ code: 8 });
    });

    it('that are compressed are UNIMPLEMENTED, and the peer is told what is not', async () => {
      const compressed = frameOf('x');
      compressed[0] = 1;
      const end = await raw('Echo', [compressed], { headers: { 'grpc-encoding': 'gzip' } });
      expect(grpcStatus(end)).toBe('12');
      expect(end.headers['grpc-accept-encoding']).toBe('identity');
    });

    it('whose headers are many and long are taken', async () => {
      const headers = Object.fromEntries(
        Array.from({ length: 400 }, (_, i) => [`x-header-${i}`, 'v'.repeat(100)]),
      );
      expect((await raw('Echo', [frameOf('x')], { headers })).trailers['grpc-status']).toBe('0');
    });
  });

  describe('streams', () => {
    it('go back and forth until the client has said all', async () => {
      const call = bidi('Chat');
      const got: string[] = [];
      call.on('data', (message: Buffer) => {
        got.push(String(message));
        if (got.length < 5) call.write(Buffer.from(`${got.length}`));
        else call.end();
      });
      call.write(Buffer.from('0'));
      const status = await new Promise<grpc.StatusObject>((resolve) => call.on('status', resolve));
      expect(got).toEqual(['0', '1', '2', '3', '4']);
      expect(status.code).toBe(0);
    });

    it('are ended by the service once, whatever it says after', async () => {
      const end = await raw('EndAfterOne', [frameOf('x')], { open: false });
      expect(end.body.equals(frameOf('x'))).toBe(true);
      expect(end.trailers['grpc-status']).toBe('0');
    });

    it('that the service has ended are over for it, even while the client keeps its side open', async () => {
      const { closes } = seen;
      const request = session.request(POST('/test.Test/EndAfterOne'));
      request.resume();
      request.write(frameOf('x'));
      await eventually(
        () => seen.closes,
        (count) => count === closes + 1,
      );
      request.close();
      await sleep(20);
      expect(seen.closes).toBe(closes + 1);
    });

    it('cost themselves when the service has a bug', async () => {
      const good = bidi('Chat');
      const end = await raw('ThrowOnMessage', [frameOf('x')]);
      expect(grpcStatus(end)).toBe('13');
      const echo = new Promise((resolve) => good.once('data', resolve));
      good.write(Buffer.from('still there'));
      expect(String(await echo)).toBe('still there');
      good.end();
    });

    it('that are cancelled, or lost with their connection, are closed once', async () => {
      const { closes } = seen;
      const call = bidi('Chat');
      call.write(Buffer.from('x'));
      await new Promise((resolve) => call.once('data', resolve));
      call.cancel();
      await eventually(
        () => seen.closes,
        (count) => count === closes + 1,
      );
      const lost = newSession();
      const requests = Array.from({ length: 20 }, () => lost.request(POST('/test.Test/Chat')));
      for (const request of requests) {
        request.on('error', () => undefined);
        request.write(frameOf('x'));
      }
      await Promise.all(
        requests.map((request) => new Promise((resolve) => request.once('response', resolve))),
      );
      lost.destroy();
      await eventually(
        () => seen.closes,
        (count) => count === closes + 21,
      );
      await sleep(20);
      expect(seen.closes).toBe(closes + 21);
      expect(seen.open.size).toBe(0);
    });

    it('are not read while their answers are not, and go on when they are', async () => {
      const before = seen.messages;
      const sent = 2_000;
      const request = session.request(POST('/test.Test/Blow'));
      request.pause();
      // Answers of 64 KB: 125 MB if all were given at once.
      for (let i = 0; i < sent; i += 1) request.write(frameOf(Buffer.alloc(2_000)));
      request.end();
      await sleep(300);
      expect(seen.messages - before).toBeLessThan(sent / 4);
      let received = 0;
      request.on('data', (chunk: Buffer) => {
        received += chunk.length;
      });
      request.resume();
      await new Promise((resolve) => request.on('close', resolve));
      expect(received).toBe(sent * (64 * 1024 + PREFIX_BYTES));
      expect(seen.messages - before).toBe(sent);
    });

    it('may be two thousand at once on one connection', async () => {
      const requests = Array.from({ length: 2_000 }, () => session.request(POST('/test.Test/Chat')));
      const ends = requests.map(ended);
      for (const request of requests) request.write(frameOf('x'));
      await eventually(
        () => seen.open.size,
        (count) => count === 2_000,
      );
      for (const request of requests) request.end();
      const statuses = (await Promise.all(ends)).map(({ trailers }) => trailers['grpc-status']);
      expect(statuses.filter((status) => status === '0')).toHaveLength(2_000);
    });
  });

  describe('connections', () => {
    it('are alive: a ping is answered', async () => {
      await new Promise((resolve) => session.once('connect', resolve));
      const tookMs = await new Promise((resolve, reject) => {
        session.ping((error, duration) => (error === null ? resolve(duration) : reject(error)));
      });
      expect(tookMs).toBeGreaterThanOrEqual(0);
    });

    it('keep a long stream while thousands of others are ended as Envoy ends them when asked to', async () => {
      const long = session.request(POST('/test.Test/Chat'));
      for (let i = 0; i < 60; i += 1) {
        await Promise.all(
          Array.from({ length: 50 }, () => {
            const request = session.request(POST('/test.Test/Chat'));
            request.end(frameOf('x'));
            return ended(request);
          }),
        );
      }
      const answer = new Promise((resolve) => long.once('data', resolve));
      long.write(frameOf('still there'));
      expect(String(await answer)).toContain('still there');
      long.end();
    });

    it('keep a long stream through thousands of resets, where Node.js can; elsewhere the next one is served', async () => {
      const long = session.request(POST('/test.Test/Chat'));
      long.on('error', () => undefined);
      const survived = await resets(session, '/test.Test/Chat', 4_000);
      if (await nodeKnowsResetLimits()) {
        expect(survived).toBe(true);
        const answer = new Promise((resolve) => long.once('data', resolve));
        long.write(frameOf('still there'));
        expect(String(await answer)).toContain('still there');
      }
      session.destroy();
      session = newSession();
      expect((await raw('Echo', [frameOf('x')])).trailers['grpc-status']).toBe('0');
      await eventually(
        () => seen.open.size,
        (count) => count === 0,
      );
    });

    it('that speak no HTTP/2 are closed or told to go, and cost nobody else anything', async () => {
      const good = bidi('Chat');
      const preface = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
      const settings = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]);
      const garbage: readonly (readonly [string, Buffer])[] = [
        ['HTTP/1.1', Buffer.from('GET / HTTP/1.1\r\nhost: a\r\n\r\n')],
        ['noise', Buffer.from(Array.from({ length: 300 }, (_, i) => (i * 7) % 256))],
        [
          'DATA on stream 0',
          Buffer.concat([Buffer.from(preface), settings, Buffer.from([0, 0, 1, 0, 0, 0, 0, 0, 0, 1])]),
        ],
        [
          'headers that are no HPACK',
          Buffer.concat([
            Buffer.from(preface),
            settings,
            Buffer.from([0, 0, 4, 1, 4, 0, 0, 0, 1, 255, 255, 255, 255]),
          ]),
        ],
      ];
      for (const [what, bytes] of garbage) {
        const socket = dial();
        socket.on('error', () => undefined);
        const over = new Promise((resolve) => {
          socket.on('close', () => resolve('over'));
          socket.on('data', (received) => {
            if (hasGoaway(received)) resolve('over');
          });
        });
        socket.write(bytes);
        expect([what, await Promise.race([over, sleep(5_000)])]).toEqual([what, 'over']);
        socket.destroy();
      }
      const answer = new Promise((resolve) => good.once('data', resolve));
      good.write(Buffer.from('still there'));
      expect(String(await answer)).toBe('still there');
      good.end();
    });

    it('that vanish within a frame leave nothing behind', async () => {
      const socket = dial();
      socket.on('error', () => undefined);
      const lost = http2.connect('http://localhost', { createConnection: () => socket });
      lost.on('error', () => undefined);
      const request = lost.request(POST('/test.Test/Chat'));
      request.on('error', () => undefined);
      request.write(frameOf('abcdef').subarray(0, 8));
      await eventually(
        () => seen.open.size,
        (count) => count === 1,
      );
      const { closes } = seen;
      socket.destroy();
      await eventually(
        () => seen.open.size,
        (count) => count === 0,
      );
      expect(seen.closes).toBe(closes + 1);
    });
  });

  describe('health', () => {
    const loaded = grpc.loadPackageDefinition(
      protoLoader.loadSync('grpc/health/v1/health.proto', {
        includeDirs: [fileURLToPath(new URL('../../proto', import.meta.url))],
        keepCase: true,
        enums: String,
      }),
    ) as unknown as Record<string, any>; // oxlint-disable-line no-explicit-any -- grpc-js's own dynamic clients
    const { Health: HealthClient } = loaded['grpc'].health.v1;

    it('is checked, and watched from the first answer to the last change', async () => {
      const asked = new HealthClient(target(), grpc.credentials.createInsecure());
      const check = (service: string): Promise<string> =>
        new Promise((resolve, reject) => {
          asked.Check({ service }, (error: Error | null, reply: { readonly status: string }) =>
            error === null ? resolve(reply.status) : reject(error),
          );
        });
      const watch = (service: string) => {
        const said: string[] = [];
        const call = asked.Watch({ service });
        call.on('data', ({ status }: { readonly status: string }) => said.push(status));
        call.on('error', () => undefined);
        return { said, call };
      };
      const whole = watch('');
      const nobody = watch('somebody.else');
      expect(await check('')).toBe('SERVING');
      expect(await check('test.Test')).toBe('SERVING');
      await expect(check('somebody.else')).rejects.toMatchObject({ code: 5 });
      await eventually(
        () => whole.said.length,
        (count) => count === 1,
      );
      health.setServing(false);
      expect(await check('')).toBe('NOT_SERVING');
      health.setServing(true);
      await eventually(
        () => [whole.said.length, nobody.said.length],
        ([ofWhole, ofNobody]) => ofWhole === 3 && ofNobody === 1,
      );
      expect(whole.said).toEqual(['SERVING', 'NOT_SERVING', 'SERVING']);
      expect(nobody.said).toEqual(['SERVICE_UNKNOWN']);
      whole.call.cancel();
      nobody.call.cancel();
      asked.close();
    });
  });
});

describe.each(['unix', 'tcp'] as const)('closing the server on %s', (kind) => {
  const folder = mkdtempSync(join(tmpdir(), 'fairlane-grpc-'));
  const path = join(folder, 's');
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const started = async () => {
    const seen: Seen = { messages: 0, closes: 0, open: new Set() };
    const server = await startHttp2GrpcServer({
      listen: kind === 'unix' ? { path } : { host: '127.0.0.1', port: 0 },
      services: [testService(seen)],
      maxMessageBytes: MAX_MESSAGE,
    });
    const dial = (): Socket => (kind === 'unix' ? connect(path) : connect(server.port, '127.0.0.1'));
    const session = http2.connect('http://localhost', { createConnection: dial });
    session.on('error', () => undefined);
    return { seen, server, dial, session };
  };
  const closingMs = async (server: Http2GrpcServer, deadlineMs: number): Promise<number> => {
    const startedMs = performance.now();
    await server.close(deadlineMs);
    return performance.now() - startedMs;
  };

  it('takes no time while its connections are idle', async () => {
    const { server, session } = await started();
    const request = session.request(POST('/test.Test/Echo'));
    request.end(frameOf('x'));
    await ended(request);
    expect(await closingMs(server, 5_000)).toBeLessThan(1_000);
  });

  it('waits for a stream that is open, and takes no other', async () => {
    const { seen, server, dial, session } = await started();
    const request = session.request(POST('/test.Test/Chat'));
    const end = ended(request);
    request.write(frameOf('x'));
    await eventually(
      () => seen.open.size,
      (count) => count === 1,
    );
    const told = new Promise((resolve) => session.once('goaway', resolve));
    const closing = closingMs(server, 5_000);
    expect(await told).toBe(NGHTTP2_NO_ERROR);
    const refused = new Promise((resolve) => dial().on('error', resolve));
    expect(await refused).toMatchObject({ code: expect.stringMatching(/ECONNREFUSED|ENOENT/) });
    request.end(frameOf('y'));
    expect((await end).trailers['grpc-status']).toBe('0');
    expect(await closing).toBeLessThan(2_000);
  });

  it('cuts what is left at the deadline, and a connection that never said a word', async () => {
    const { seen, server, dial, session } = await started();
    const request = session.request(POST('/test.Test/Chat'));
    const end = ended(request);
    request.write(frameOf('x'));
    const silent = dial();
    silent.on('error', () => undefined);
    await eventually(
      () => seen.open.size,
      (count) => count === 1,
    );
    const tookMs = await closingMs(server, 200);
    expect(tookMs).toBeGreaterThan(150);
    expect(tookMs).toBeLessThan(2_000);
    await end;
    expect(seen.closes).toBe(1);
    expect(seen.open.size).toBe(0);
    silent.destroy();
  });
});

describe('a place that is taken', () => {
  it('is an error', async () => {
    const options = { listen: { host: '127.0.0.1', port: 0 }, services: [], maxMessageBytes: 1 };
    const first = await startHttp2GrpcServer(options);
    await expect(
      startHttp2GrpcServer({ ...options, listen: { host: '127.0.0.1', port: first.port } }),
    ).rejects.toThrow(/EADDRINUSE/);
    await first.close(0);
  });
});
