/**
 * The ext_proc edge: Envoy's messages to events of a request's life, and its answers back. It decides nothing.
 *
 * One gRPC stream is one HTTP request. Envoy ends a stream by half-closing it and waits for our close (the runtime flag
 * ext_proc_graceful_grpc_close); a reset is the same to us.
 */
import type { DirectResponse, Edge, HeaderList, ResponseMode, SendOn } from '../admission/edge.ts';
import type { RequestLifecycle } from '../admission/request-lifecycle.ts';
import {
  clusterOfMirror,
  clusterOfPool,
  ENDPOINTS_METADATA_KEY,
  METADATA_NAMESPACE,
  MIRROR_HEADER,
  POOL_HEADER,
  RESPONSE_DETAILS_PREFIX,
  TENANT_HEADER,
} from '../domain/names.ts';
import { isMalformed } from '../grpc/protobuf.ts';
import type { GrpcService, ServerStream, StreamHandler, StreamMethod } from '../grpc/service.ts';
import { INTERNAL_FAILURE, MALFORMED_REQUEST, STATUS } from '../grpc/status.ts';
import {
  decodeProcessingRequest,
  encodeHold,
  encodeImmediate,
  encodeReplacement,
  encodeRequestBody,
  encodeResponseHeaders,
  lengthOf,
  PASS,
  type ProcessingRequest,
} from './codec.ts';
import { REMOVED, requestHead, responseHead } from './heads.ts';

export interface ExtProcOptions {
  readonly createLife: (edge: Edge) => RequestLifecycle;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  /** While true, new streams are turned away, so that Envoy's failure mode decides. */
  readonly draining: () => boolean;
  readonly onMisconfigured: (detail: string) => void;
  readonly onStreamError: (detail: string) => void;
}

export interface ExtProcService extends GrpcService {
  /** Streams that are open. */
  readonly open: () => number;
  /** Time has passed: for what no message tells of. Its cost grows with the open streams. */
  readonly tick: (nowMs: number) => void;
  /** Ends every stream that is open; Envoy goes on without the service. */
  readonly endAll: () => void;
}

const NO_BYTES = new Uint8Array(0);

/** Of a stream that was turned away. */
const NOBODY: StreamHandler = {
  onMessage: () => undefined,
  onEnd: () => undefined,
  onClose: () => undefined,
};

export const textOf = (error: unknown): string =>
  error instanceof Error ? (error.stack ?? error.message) : String(error);

type Streams = Map<ServerStream, RequestLifecycle>;

/**
 * Both sides of a stream: Envoy's messages and the life's answers. A class, because ten thousand requests may wait: one object
 * for each of them, where functions would be a dozen.
 */
class ProcessStream implements Edge, StreamHandler {
  readonly keepsBody = true;
  private readonly options: ExtProcOptions;
  private readonly streams: Streams;
  private readonly stream: ServerStream;
  private readonly life: RequestLifecycle;
  private gone = false;
  private isFirst = true;
  private bodySeen = false;

  constructor(options: ExtProcOptions, streams: Streams, stream: ServerStream) {
    this.options = options;
    this.streams = streams;
    this.stream = stream;
    this.life = options.createLife(this);
    streams.set(stream, this.life);
  }

  passHeaders(): void {
    this.stream.write(PASS.requestHeaders);
  }

  hold(forMs: number): void {
    this.stream.write(encodeHold(forMs));
  }

  respond(response: DirectResponse): void {
    this.stream.write(encodeImmediate({ ...response, details: RESPONSE_DETAILS_PREFIX + response.details }));
  }

  sendOn({ body, pool, addresses, mirrorTo: copyTo }: SendOn): void {
    const set: [string, string][] = [[POOL_HEADER, clusterOfPool(pool)]];
    if (body !== undefined) set.push(['content-length', String(lengthOf(body))]);
    if (copyTo !== undefined) set.push([MIRROR_HEADER, clusterOfMirror(copyTo)]);
    const frame = encodeRequestBody({
      ...(body !== undefined && { body }),
      set,
      remove: REMOVED,
      metadata: {
        namespace: METADATA_NAMESPACE,
        key: ENDPOINTS_METADATA_KEY,
        value: addresses.join(','),
      },
    });
    this.stream.write(frame, body);
  }

  passResponseHeaders(mode: ResponseMode, add: HeaderList): void {
    this.stream.write(encodeResponseHeaders(mode, add));
  }

  passChunk(replacement: Uint8Array | undefined): void {
    this.stream.write(replacement === undefined ? PASS.responseBody : encodeReplacement(replacement));
  }

  onMessage(bytes: Buffer): void {
    if (this.gone) return;
    try {
      this.handle(decodeProcessingRequest(bytes));
    } catch (error) {
      const malformed = isMalformed(error);
      // A bug must cost one request, not the process: Envoy goes on by its failure mode.
      if (!malformed) this.options.onStreamError(textOf(error));
      this.stream.end(malformed ? MALFORMED_REQUEST : INTERNAL_FAILURE);
      this.onClose();
    }
  }

  onEnd(): void {
    this.stream.end();
    this.onClose();
  }

  onClose(): void {
    if (this.gone) return;
    this.gone = true;
    this.streams.delete(this.stream);
    try {
      this.life.streamEnded(this.options.now());
    } catch (error) {
      this.options.onStreamError(textOf(error));
    }
  }

  private handle(message: ProcessingRequest): void {
    const { life, options, stream } = this;
    if (this.isFirst) {
      this.isFirst = false;
      const mode = message.requestBodyMode;
      if (message.kind === 'request_headers' && mode !== undefined && mode !== 'BUFFERED') {
        options.onMisconfigured(`request_body_mode is ${mode}, must be BUFFERED`);
        stream.end({
          code: STATUS.failedPrecondition,
          message: `Fairlane needs request_body_mode BUFFERED, the filter has ${mode}`,
        });
        return;
      }
    }
    const nowMs = options.now();
    switch (message.kind) {
      case 'request_headers':
        life.headers(requestHead(message, TENANT_HEADER), nowMs);
        break;
      case 'request_body':
        // BUFFERED sends one message. Another one is Envoy's mistake: it is passed, and changes nothing.
        if (this.bodySeen) stream.write(PASS.requestBody);
        else {
          this.bodySeen = true;
          life.body(message.body, nowMs);
        }
        break;
      case 'request_trailers':
        if (this.bodySeen) stream.write(PASS.requestTrailers);
        else {
          // A request that ends without a body has an empty one, and is admitted by it or refused.
          this.bodySeen = true;
          life.body(NO_BYTES, nowMs);
        }
        break;
      case 'response_headers':
        life.responseHeaders(responseHead(message, message.upstream), nowMs);
        break;
      case 'response_body':
        life.responseChunk(message.body, message.endOfStream, nowMs);
        break;
      case 'response_trailers':
        life.responseComplete(nowMs);
        stream.write(PASS.responseTrailers);
        break;
      case undefined:
      default:
        // A message of a newer Envoy. Unanswered it would hold the request until the timeout.
        options.onMisconfigured('unknown message');
        stream.end();
    }
  }
}

/** The service over its open streams, by whichever edge. */
export const serviceOf = (
  streams: ReadonlyMap<ServerStream, RequestLifecycle>,
  open: StreamMethod['open'],
  onStreamError: (detail: string) => void,
): ExtProcService => ({
  name: 'envoy.service.ext_proc.v3.ExternalProcessor',
  methods: { Process: { kind: 'stream', open } },
  open: () => streams.size,
  tick(nowMs) {
    for (const life of streams.values()) {
      try {
        life.tick(nowMs);
      } catch (error) {
        // A bug costs one request, not those behind it.
        onStreamError(textOf(error));
      }
    }
  },
  endAll() {
    for (const stream of streams.keys()) stream.end();
  },
});

export function createExtProcService(options: ExtProcOptions): ExtProcService {
  const streams: Streams = new Map();
  const open = (stream: ServerStream): StreamHandler => {
    if (!options.draining()) return new ProcessStream(options, streams, stream);
    stream.end({ code: STATUS.unavailable, message: 'Fairlane is draining' });
    return NOBODY;
  };
  return serviceOf(streams, open, options.onStreamError);
}
