/**
 * One gRPC stream of ext_proc is one HTTP request, at either edge: messages come in, answers go out, and the stream
 * ends. An edge extends RequestStream with what its messages mean; nothing here decides.
 *
 * A class, because ten thousand requests may wait: one object for each of them, where functions would be a dozen.
 */

import type {
  DirectResponse,
  Edge,
  HeaderList,
  RequestEvents,
  RequestHead,
  ResponseMode,
  SendOn,
} from '../admission/edge.ts';
import { textOf } from '../domain/text-of.ts';
import { isMalformed } from '../grpc/protobuf.ts';
import type { GrpcService, ServerStream, StreamHandler, StreamMethod } from '../grpc/service.ts';
import { INTERNAL_FAILURE, MALFORMED_REQUEST } from '../grpc/status.ts';
import { decodeProcessingRequest, type ProcessingRequest } from './codec.ts';

export interface RequestStreamOptions {
  readonly openRequest: (edge: Edge) => RequestEvents;
  /** Of a request that has a life cycle of its own; undefined for any other. Absent: there are none. */
  readonly openOther?: (edge: Edge, head: RequestHead) => RequestEvents | undefined;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  /** While true, new streams are turned away. */
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

/** Streams that are open. */
export type OpenStreams = Set<Pick<RequestStream<RequestStreamOptions>, 'tick' | 'endStream'>>;

export abstract class RequestStream<Options extends RequestStreamOptions> implements Edge, StreamHandler {
  abstract readonly keepsBody: boolean;
  protected readonly stream: ServerStream;
  protected request: RequestEvents;
  /** There is nobody left to answer. */
  protected isClosed = false;
  protected readonly options: Options;
  private readonly streams: OpenStreams;

  constructor(options: Options, streams: OpenStreams, stream: ServerStream) {
    this.stream = stream;
    this.options = options;
    this.streams = streams;
    this.request = options.openRequest(this);
    streams.add(this);
  }

  /** @param bytes the encoded message, for what only one edge reads in it. */
  protected abstract handle(message: ProcessingRequest, bytes: Buffer): void;

  abstract passHeaders(): void;
  abstract hold(forMs: number): void;
  abstract respond(response: DirectResponse): void;
  abstract sendOn(request: SendOn): void;
  abstract passResponseHeaders(mode: ResponseMode, add: HeaderList): void;
  abstract passChunk(replacement: Uint8Array | undefined): void;

  /** The headers say what kind of request it is. */
  protected begin(head: RequestHead, nowMs: number): void {
    this.request = this.options.openOther?.(this, head) ?? this.request;
    this.request.headers(head, nowMs);
  }

  onMessage(bytes: Buffer): void {
    if (this.isClosed) return;
    try {
      this.handle(decodeProcessingRequest(bytes), bytes);
    } catch (error) {
      const malformed = isMalformed(error);
      // A bug must cost one request, not the process: Envoy goes on by its failure mode.
      if (!malformed) this.tell(error);
      this.end(malformed ? MALFORMED_REQUEST : INTERNAL_FAILURE);
    }
  }

  onEnd(): void {
    this.end();
  }

  onClose(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.streams.delete(this);
    try {
      this.request.streamEnded(this.options.now());
    } catch (error) {
      this.tell(error);
    }
  }

  tick(nowMs: number): void {
    try {
      this.request.tick(nowMs);
    } catch (error) {
      // A bug costs one request, not those behind it.
      this.tell(error);
    }
  }

  /** Ends our side of the stream, and with it the request. */
  protected end(failure?: Parameters<ServerStream['end']>[0]): void {
    this.stream.end(failure);
    this.onClose();
  }

  /** Ends our side of the stream alone: the request ends when the gateway has closed its own. */
  endStream(failure?: Parameters<ServerStream['end']>[0]): void {
    this.stream.end(failure);
  }

  protected tell(error: unknown): void {
    this.options.onStreamError(textOf(error));
  }
}

/** The service over its open streams. */
export const serviceOf = (streams: OpenStreams, open: StreamMethod['open']): ExtProcService => ({
  name: 'envoy.service.ext_proc.v3.ExternalProcessor',
  methods: { Process: { kind: 'stream', open } },
  open: () => streams.size,
  tick(nowMs) {
    for (const stream of streams) stream.tick(nowMs);
  },
  endAll() {
    for (const stream of streams) stream.endStream();
  },
});
