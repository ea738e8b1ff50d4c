/** The gRPC server with TLS: whom it lets in, what it says in plain text, and certificates that change under it. */
import * as http2 from 'node:http2';
import { connect as connectTcp } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { afterEach, describe, expect, it } from 'vitest';
import { type Frame, PREFIX_BYTES, sealFrame } from '../../src/grpc/frames.ts';
import { type Http2GrpcServer, startHttp2GrpcServer } from '../../src/grpc/http2-grpc-server.ts';
import { createSelfSigned } from '../../src/grpc/self-signed.ts';
import type { GrpcService } from '../../src/grpc/service.ts';
import { type Certificate, createAuthority } from '../support/certificates.ts';

const frameOf = (message: Uint8Array): Frame =>
  sealFrame(Buffer.concat([Buffer.alloc(PREFIX_BYTES), message]));
const echo = (name: string): GrpcService => ({
  name,
  methods: {
    Echo: { kind: 'unary', handle: (request) => frameOf(request) },
    Chat: {
      kind: 'stream',
      open: (side) => ({
        onMessage: (message) => side.write(frameOf(message)),
        onEnd: () => side.end(),
        onClose: () => undefined,
      }),
    },
  },
});

let server: Http2GrpcServer | undefined;
const clients = new Set<http2.ClientHttp2Session>();
afterEach(async () => {
  for (const client of clients) client.destroy();
  clients.clear();
  await server?.close(200);
  server = undefined;
});

async function start(
  tls: { cert: string; key: string; clientCa?: string } | undefined,
  openly?: readonly GrpcService[],
): Promise<number> {
  server = await startHttp2GrpcServer({
    listen: { host: '127.0.0.1', port: 0 },
    services: [echo('test.All'), echo('test.Open')],
    maxMessageBytes: 1024 * 1024,
    ...(tls !== undefined && { tls }),
    ...(openly !== undefined && { openly }),
  });
  return server.port;
}

const open = (scheme: 'http' | 'https', port: number, options: http2.SecureClientSessionOptions = {}) => {
  const client = http2.connect(`${scheme}://127.0.0.1:${port}`, { rejectUnauthorized: false, ...options });
  client.on('error', () => undefined);
  clients.add(client);
  return client;
};

/** The gRPC status of one call; undefined: there was no answer. */
const call = (client: http2.ClientHttp2Session, path = '/test.All/Echo'): Promise<string | undefined> =>
  new Promise((resolve) => {
    const stream = client.request({
      ':authority': 'picker',
      ':method': 'POST',
      ':path': path,
      'content-type': 'application/grpc+proto',
    });
    let status: string | undefined;
    const look = (headers: http2.IncomingHttpHeaders): void => {
      status = (headers['grpc-status'] as string | undefined) ?? status;
    };
    stream.on('response', look);
    stream.on('trailers', look);
    stream.on('error', () => undefined);
    stream.on('close', () => resolve(status));
    stream.resume();
    stream.end(frameOf(Buffer.from('hello')));
  });

const selfSigned = () => createSelfSigned('fairlane', Date.now());

describe('a gRPC server with TLS', () => {
  it('takes both on one port, TLS and plain text, where nothing else is said', async () => {
    const port = await start(selfSigned());
    expect(await call(open('https', port))).toBe('0');
    expect(await call(open('http', port))).toBe('0');
  });

  it('says in plain text only what may be said openly', async () => {
    const port = await start(selfSigned(), [echo('test.Open')]);
    expect(await call(open('https', port))).toBe('0');
    expect(await call(open('http', port))).toBe('12');
    expect(await call(open('http', port), '/test.Open/Echo')).toBe('0');
  });

  it('speaks HTTP/2 with whoever asks for no protocol, and not HTTP/1.1', async () => {
    const port = await start(selfSigned());
    const without = connectTls({ host: '127.0.0.1', port, rejectUnauthorized: false });
    await new Promise((resolve) => without.once('secureConnect', resolve));
    expect(without.alpnProtocol).toBe(false);
    const client = http2.connect('https://x', { createConnection: () => without });
    client.on('error', () => undefined);
    clients.add(client);
    expect(await call(client)).toBe('0');
    const other = connectTls({
      host: '127.0.0.1',
      port,
      rejectUnauthorized: false,
      ALPNProtocols: ['http/1.1'],
    });
    const refused = await new Promise<boolean>((resolve) => {
      other.once('error', () => resolve(true));
      other.once('close', () => resolve(true));
      other.once('secureConnect', () => resolve(false));
    });
    expect(refused).toBe(true);
  });

  it('speaks no TLS before 1.2', async () => {
    const port = await start(selfSigned());
    const old = connectTls({
      host: '127.0.0.1',
      port,
      rejectUnauthorized: false,
      minVersion: 'TLSv1',
      maxVersion: 'TLSv1.1',
      ciphers: 'DEFAULT@SECLEVEL=0',
    });
    const refused = await new Promise<boolean>((resolve) => {
      old.once('error', () => resolve(true));
      old.once('secureConnect', () => resolve(false));
    });
    expect(refused).toBe(true);
  });

  it('takes a server name that is none: Istio sends the name of its cluster', async () => {
    const port = await start(selfSigned());
    expect(await call(open('https', port, { servername: 'outbound|9002||epp.default.svc' }))).toBe('0');
  });

  it('lets in only who shows a certificate, where authorities of clients are named', async () => {
    const ours = createAuthority('clients');
    const theirs = createAuthority('others');
    const port = await start({ ...selfSigned(), clientCa: ours.ca }, []);
    const show = ({ cert, key }: Certificate) => ({ cert, key });
    expect(await call(open('https', port, show(ours.issue(['gateway']))))).toBe('0');
    expect(await call(open('https', port))).toBeUndefined();
    expect(await call(open('https', port, show(theirs.issue(['gateway']))))).toBeUndefined();
  });

  it('shows another certificate to new connections, while open ones go on', async () => {
    const authority = createAuthority();
    const [first, second] = [authority.issue(['a.test']), authority.issue(['b.test'])];
    const port = await start(first);
    const trusting = (servername: string) =>
      open('https', port, { ca: authority.ca, rejectUnauthorized: true, servername });
    const before = trusting('a.test');
    expect(await call(before)).toBe('0');
    const held = before.request({
      ':method': 'POST',
      ':path': '/test.All/Chat',
      'content-type': 'application/grpc',
    });
    server?.setTls(second);
    expect(await call(trusting('b.test'))).toBe('0');
    expect(await call(trusting('a.test'))).toBeUndefined();
    const answered = new Promise((resolve) => held.once('data', resolve));
    held.write(frameOf(Buffer.from('still there')));
    expect(String(await answered)).toContain('still there');
    held.close();
  });

  it('survives connections that say nothing, or nonsense, and closes with them', async () => {
    const port = await start(selfSigned());
    const sockets = ['', '\x16', '\x16\x03\x01garbage garbage', 'GET / HTTP/1.1\r\n\r\n', 'P'].map((text) => {
      const socket = connectTcp({ host: '127.0.0.1', port });
      socket.on('error', () => undefined);
      if (text !== '') socket.write(Buffer.from(text, 'latin1'));
      return socket;
    });
    expect(await call(open('https', port))).toBe('0');
    const beganMs = performance.now();
    await server?.close(200);
    expect(performance.now() - beganMs).toBeLessThan(2_000);
    for (const socket of sockets) socket.destroy();
  });

  it('does not start with a key of another certificate', async () => {
    await expect(start({ cert: selfSigned().cert, key: selfSigned().key })).rejects.toThrow();
  });
});
