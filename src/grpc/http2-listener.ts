/**
 * Where HTTP/2 connections come from: a Unix socket or a TCP port, in plain text, or with TLS.
 *
 * A port with TLS takes both: the first byte of a connection tells a handshake (RFC 8446, section 5.1: 22) from HTTP/2's
 * preface (RFC 9113, section 3.4: `P`). What a connection in plain text may ask is said by whoever serves it.
 */
import {
  createServer as createHttp2Server,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
  type ServerOptions,
} from 'node:http2';
import { createServer, type ListenOptions, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, type TLSSocket, type Server as TlsServer } from 'node:tls';

/** PEM. */
export interface ServerTls {
  readonly cert: string;
  readonly key: string;
  /** Of clients: each must show a certificate from one of these authorities. */
  readonly clientCa?: string;
}

export interface Http2Listener {
  /** As bound; 0 for a Unix socket. */
  readonly port: number;
  /** For new connections; open ones go on. Whether clients show certificates stays as it was. Without TLS: nothing. */
  setTls(tls: ServerTls): void;
  /**
   * Takes no new connections and no new streams, waits for open streams until the deadline, then cuts what is left.
   * Connections without streams are closed at once.
   */
  close(deadlineMs: number): Promise<void>;
}

export type OnStream = (
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  isEncrypted: boolean,
) => void;

/** A stream per HTTP request in flight: far above what any Envoy holds. */
const MAX_STREAMS = 1_000_000;
/** What a peer may send on a stream before we have read it: a prompt in one go. */
const STREAM_WINDOW_BYTES = 1024 * 1024;
/** The same for a connection, over all of its streams. */
const CONNECTION_WINDOW_BYTES = 16 * 1024 * 1024;
const MAX_HEADER_LIST_BYTES = 256 * 1024;
const MAX_HEADER_PAIRS = 2_000;
/** In MB, of a connection: the streams themselves are bounded by MAX_STREAMS, and what they hold by their windows. */
const MAX_SESSION_MEMORY = Number.MAX_SAFE_INTEGER;
/** Envoy ends streams by reset unless it is told otherwise: as many as it likes. Older Node.js does not know these. */
const STREAM_RESETS = { streamResetBurst: 1_000_000, streamResetRate: 1_000_000 };
const KEEP_ALIVE_MS = 60_000;
/** Of a connection: for its first byte, and for its handshake. */
const BEGIN_MS = 10_000;
const HANDSHAKE = 22;

const OPTIONS: ServerOptions & typeof STREAM_RESETS = {
  maxSessionMemory: MAX_SESSION_MEMORY,
  maxHeaderListPairs: MAX_HEADER_PAIRS,
  settings: {
    maxConcurrentStreams: MAX_STREAMS,
    initialWindowSize: STREAM_WINDOW_BYTES,
    maxHeaderListSize: MAX_HEADER_LIST_BYTES,
    enablePush: false,
  },
  ...STREAM_RESETS,
};

function ignore(): void {
  // A connection's own affair: `close` follows.
}

const contextOf = ({ cert, key, clientCa }: ServerTls) => ({
  cert,
  key,
  minVersion: 'TLSv1.2' as const,
  ...(clientCa !== undefined && { ca: clientCa }),
});

/** Hands its connections to `http2`. */
function createTls(tls: ServerTls, http2: Http2Server): TlsServer {
  const server = createTlsServer({
    ...contextOf(tls),
    ALPNProtocols: ['h2'],
    requestCert: tls.clientCa !== undefined,
    rejectUnauthorized: tls.clientCa !== undefined,
    handshakeTimeout: BEGIN_MS,
  });
  server.on('secureConnection', (socket: TLSSocket) => {
    // Some gateways ask for no protocol, as they know that they speak HTTP/2.
    if (socket.alpnProtocol === false) socket.alpnProtocol = 'h2';
    http2.emit('connection', socket);
  });
  // Of a handshake that failed: its connection is closed.
  server.on('tlsClientError', ignore);
  return server;
}

/** Tells TLS from plain text by the first byte. */
function createFront(encrypted: TlsServer, plain: Http2Server): Server {
  return createServer((socket) => {
    socket.on('error', ignore);
    const timer = setTimeout(() => socket.destroy(), BEGIN_MS);
    socket.once('close', () => clearTimeout(timer));
    const begin = (): void => {
      const bytes: unknown = socket.read();
      if (!Buffer.isBuffer(bytes)) {
        if (!socket.destroyed && !socket.readableEnded) socket.once('readable', begin);
        return;
      }
      clearTimeout(timer);
      socket.unshift(bytes);
      (bytes[0] === HANDSHAKE ? encrypted : plain).emit('connection', socket);
    };
    socket.once('readable', begin);
  });
}

/** @throws when it cannot listen: the error of the socket; when certificate and key are no pair. */
export async function listenHttp2(
  { listen, tls }: { readonly listen: ListenOptions; readonly tls?: ServerTls },
  onStream: OnStream,
): Promise<Http2Listener> {
  const http2 = createHttp2Server(OPTIONS);
  const encrypted = tls === undefined ? undefined : createTls(tls, http2);
  const server: Server = encrypted === undefined ? http2 : createFront(encrypted, http2);
  const sessions = new Set<ServerHttp2Session>();
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEP_ALIVE_MS);
  });
  http2.on('session', (session) => {
    sessions.add(session);
    session.once('close', () => sessions.delete(session));
    session.setLocalWindowSize(CONNECTION_WINDOW_BYTES);
  });
  http2.on('stream', (stream, headers) =>
    onStream(stream, headers, encrypted !== undefined && stream.session?.encrypted === true),
  );

  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(listen, () => {
      server.off('error', reject);
      // A connection that could not be accepted, as with too many open files: the others go on.
      server.on('error', ignore);
      resolve();
    });
  });
  const address = server.address();
  return {
    port: address !== null && typeof address === 'object' ? address.port : 0,
    setTls: (next) => encrypted?.setSecureContext(contextOf(next)),
    async close(deadlineMs) {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const session of sessions) session.close();
      const timer = setTimeout(() => {
        // A session that is destroyed waits for its peer to close, too.
        for (const session of sessions) session.destroy();
        for (const socket of sockets) socket.destroy();
      }, deadlineMs);
      await closed;
      clearTimeout(timer);
    },
  };
}
