/**
 * A gRPC server over HTTP/2: unary methods and bidirectional streams, over encoded messages. http2-listener.ts has its
 * connections.
 *
 * Invariants: a fault in a call costs that call; a fault of a connection costs the calls on it; no peer can make the
 * server keep more of a message than its limit, or more of its own answers than a few while it does not read them.
 */
import {
  constants,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type ServerHttp2Stream,
} from 'node:http2';
import type { ListenOptions } from 'node:net';
import { type Frame, type FrameReader, readFrames } from './frames.ts';
import { type Http2Listener, listenHttp2, type ServerTls } from './http2-listener.ts';
import type {
  GrpcMethod,
  GrpcService,
  ServerStream,
  StreamHandler,
  StreamMethod,
  UnaryAnswer,
  UnaryMethod,
} from './service.ts';
import { encodeMessage, type Failure, INTERNAL_FAILURE, STATUS } from './status.ts';

export type Http2GrpcServer = Http2Listener;

export interface Http2GrpcOptions {
  readonly listen: ListenOptions;
  readonly services: readonly GrpcService[];
  /** Absent: none is spoken. */
  readonly tls?: ServerTls;
  /** With TLS: what a connection without it may call; absent: everything. */
  readonly openly?: readonly GrpcService[];
  /** Of one message that is received, in bytes. */
  readonly maxMessageBytes: number;
}

const { NGHTTP2_NO_ERROR } = constants;
const CONTENT_TYPE = 'application/grpc+proto';
const HEADERS: OutgoingHttpHeaders = { ':status': 200, 'content-type': CONTENT_TYPE };
const WITH_TRAILERS = { waitForTrailers: true, sendDate: false };
const WITHOUT_BODY = { endStream: true, sendDate: false };
const OK_TRAILERS: OutgoingHttpHeaders = { 'grpc-status': '0' };
const CUT_SHORT: Failure = { code: STATUS.internal, message: 'the last message is cut short' };
const NO_MESSAGE: Failure = { code: STATUS.unimplemented, message: 'there is no request message' };
const SECOND_MESSAGE: Failure = { code: STATUS.unimplemented, message: 'there is a second request message' };

const statusHeaders = ({ code, message }: Failure): OutgoingHttpHeaders => ({
  'grpc-status': String(code),
  'grpc-message': encodeMessage(message),
  ...(code === STATUS.unimplemented && { 'grpc-accept-encoding': 'identity' }),
});

/** `application/grpc`, `application/grpc+proto`, either with parameters. */
function isGrpc(contentType: string | undefined): boolean {
  if (contentType === CONTENT_TYPE || contentType === 'application/grpc') return true;
  const [type = ''] = (contentType ?? '').split(';', 1);
  return /^application\/grpc(\+proto)?$/i.test(type.trim());
}

/**
 * A call, and its handler's side of it. A class: a stream that is held is to be one small object, not a function for
 * each of these.
 */
class Call implements FrameReader, ServerStream {
  readonly stream: ServerHttp2Stream;
  readonly method: GrpcMethod;
  readonly maxMessageBytes: number;
  part: FrameReader['part'];
  /** Of a unary method. */
  request: Buffer | undefined;
  /** Of a stream. */
  handler: StreamHandler | undefined;
  trailers = OK_TRAILERS;
  /** Our side has ended: nothing is read or written any more. */
  done = false;
  /** The handler knows that it is over. */
  closed = false;
  /** The rest of what the peer sends is not wanted. */
  cut = false;

  constructor(stream: ServerHttp2Stream, method: GrpcMethod, maxMessageBytes: number) {
    this.stream = stream;
    this.method = method;
    this.maxMessageBytes = maxMessageBytes;
    this.part = undefined;
    this.request = undefined;
    this.handler = undefined;
  }

  write(frame: Frame, beyond?: readonly Uint8Array[]): void {
    write(this, frame, beyond);
  }

  end(failure?: Failure): void {
    finish(this, failure);
  }
}

/** Listeners are shared by all streams and find the call at the stream: a held stream is to be small. */
const CALL = Symbol('call');
interface CallStream extends ServerHttp2Stream {
  [CALL]: Call;
}

const isGone = ({ destroyed, closed }: ServerHttp2Stream): boolean => destroyed || closed;

function notifyClosed(call: Call): void {
  if (call.closed) return;
  call.closed = true;
  call.done = true;
  call.part = undefined;
  try {
    call.handler?.onClose();
  } catch {
    // The handler's own affair: there is nobody left to tell.
  }
}

/** Tells the peer to send no more. Not at once: the reset would overtake the answer. */
function stopReading(stream: ServerHttp2Stream): void {
  setImmediate(() => {
    if (!stream.destroyed) stream.close(NGHTTP2_NO_ERROR);
  });
}

/** Ends our side. The first end wins. */
function finish(call: Call, failure: Failure | undefined): void {
  const { stream } = call;
  if (call.done) return;
  call.done = true;
  call.part = undefined;
  if (isGone(stream)) return;
  if (stream.isPaused()) stream.resume();
  const trailers = failure === undefined ? OK_TRAILERS : statusHeaders(failure);
  if (stream.headersSent) {
    call.trailers = trailers;
    stream.on('wantTrailers', onWantTrailers);
    stream.end();
    return;
  }
  stream.respond({ ...HEADERS, ...trailers }, WITHOUT_BODY);
  if (call.cut) stopReading(stream);
  process.nextTick(notifyClosed, call);
}

/** The peer has broken the protocol, or wants more than it may: the rest of its message is not read. */
function refuse(call: Call, failure: Failure): void {
  call.cut = true;
  finish(call, failure);
}

function writeParts(stream: ServerHttp2Stream, frame: Frame, beyond: readonly Uint8Array[]): boolean {
  stream.cork();
  let goesOn = stream.write(frame);
  for (const part of beyond) goesOn = stream.write(part);
  stream.uncork();
  return goesOn;
}

function write(call: Call, frame: Frame, beyond: readonly Uint8Array[] | undefined): void {
  const { stream } = call;
  if (call.done || isGone(stream)) return;
  if (!stream.headersSent) stream.respond(HEADERS, WITH_TRAILERS);
  const goesOn = beyond === undefined ? stream.write(frame) : writeParts(stream, frame, beyond);
  if (goesOn || stream.isPaused()) return;
  // Who does not read our answers is not read from.
  stream.pause();
  stream.once('drain', resume);
}

function resume(this: ServerHttp2Stream): void {
  this.resume();
}

function answer(call: Call, result: UnaryAnswer): void {
  const { stream } = call;
  if (call.done || isGone(stream)) return;
  if (!Buffer.isBuffer(result)) {
    finish(call, result);
    return;
  }
  call.done = true;
  stream.respond(HEADERS, WITH_TRAILERS);
  stream.on('wantTrailers', onWantTrailers);
  stream.end(result);
}

function handleUnary(call: Call, method: UnaryMethod): void {
  const { request } = call;
  if (request === undefined) {
    finish(call, NO_MESSAGE);
    return;
  }
  call.request = undefined;
  try {
    const result = method.handle(request);
    if (result instanceof Promise) {
      result.then(
        (late) => answer(call, late),
        () => finish(call, INTERNAL_FAILURE),
      );
    } else answer(call, result);
  } catch {
    finish(call, INTERNAL_FAILURE);
  }
}

function takeMessage(call: Call, message: Buffer): void {
  if (call.done) return;
  if (call.method.kind === 'unary') {
    if (call.request === undefined) call.request = message;
    else refuse(call, SECOND_MESSAGE);
    return;
  }
  try {
    call.handler?.onMessage(message);
  } catch {
    finish(call, INTERNAL_FAILURE);
  }
}

function onData(this: CallStream, chunk: Buffer): void {
  const call = this[CALL];
  if (call.done) return;
  const failure = readFrames(call, chunk, call.maxMessageBytes, takeMessage);
  if (failure !== undefined) refuse(call, failure);
}

function onEnd(this: CallStream): void {
  const call = this[CALL];
  if (call.done) return;
  if (call.part !== undefined) finish(call, CUT_SHORT);
  else if (call.method.kind === 'unary') handleUnary(call, call.method);
  else {
    try {
      call.handler?.onEnd();
    } catch {
      finish(call, INTERNAL_FAILURE);
    }
  }
}

function onWantTrailers(this: CallStream): void {
  const call = this[CALL];
  this.sendTrailers(call.trailers);
  if (call.cut) stopReading(this);

  if (call.handler !== undefined) process.nextTick(notifyClosed, call);
}

function onClose(this: CallStream): void {
  notifyClosed(this[CALL]);
}

function ignore(): void {
  // A reset of the peer, a lost connection: `close` follows.
}

function openStream(call: Call, method: StreamMethod): void {
  try {
    call.handler = method.open(call);
  } catch {
    finish(call, INTERNAL_FAILURE);
  }
}

/** An answer to the headers: whatever the message is, it is not wanted. */
function refuseHeaders(stream: ServerHttp2Stream, headers: OutgoingHttpHeaders): void {
  stream.on('error', ignore);
  stream.respond(headers, WITHOUT_BODY);
  stopReading(stream);
}

/**
 * `grpc-timeout` is not looked at: Envoy resets a call whose time is over, unary methods are bounded in time
 * themselves, and a stream may be held for minutes.
 */
function accept(
  methods: ReadonlyMap<string, GrpcMethod>,
  maxMessageBytes: number,
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
): void {
  if (headers[':method'] !== 'POST') {
    refuseHeaders(stream, { ':status': 405, allow: 'POST' });
    return;
  }
  if (!isGrpc(headers['content-type'])) {
    refuseHeaders(stream, { ':status': 415 });
    return;
  }
  const path = headers[':path'] ?? '';
  const method = methods.get(path);
  if (method === undefined) {
    const failure: Failure = { code: STATUS.unimplemented, message: `there is no method ${path}` };
    refuseHeaders(stream, { ...HEADERS, ...statusHeaders(failure) });
    return;
  }
  const call = new Call(stream, method, maxMessageBytes);
  const callStream = stream as CallStream;
  callStream[CALL] = call;
  callStream.on('error', ignore);
  if (method.kind === 'stream') {
    callStream.on('close', onClose);
    openStream(call, method);
  }
  callStream.on('end', onEnd);
  callStream.on('data', onData);
}

const methodsOf = (services: readonly GrpcService[]): ReadonlyMap<string, GrpcMethod> =>
  new Map(
    services.flatMap(({ name, methods }) =>
      Object.entries(methods).map(([method, handler]): [string, GrpcMethod] => [
        `/${name}/${method}`,
        handler,
      ]),
    ),
  );

/** @throws when it cannot listen: the error of the socket. */
export function startHttp2GrpcServer(options: Http2GrpcOptions): Promise<Http2GrpcServer> {
  const methods = methodsOf(options.services);
  const { maxMessageBytes, tls } = options;
  const openly = options.openly === undefined ? methods : methodsOf(options.openly);
  return listenHttp2(
    { listen: options.listen, ...(tls !== undefined && { tls }) },
    (stream, headers, isEncrypted) =>
      accept(tls === undefined || isEncrypted ? methods : openly, maxMessageBytes, stream, headers),
  );
}
