/**
 * The ext_proc edge of a sidecar: Envoy's messages to events of a request, and its answers back. It decides nothing.
 *
 * Envoy ends a stream by half-closing it and waits for our close (the runtime flag ext_proc_graceful_grpc_close); a
 * reset is the same to us.
 */
import type { DirectResponse, HeaderList, ResponseMode, SendOn } from '../admission/edge.ts';
import {
  clusterOfMirror,
  clusterOfPool,
  ENDPOINTS_METADATA_KEY,
  KEY_ID_HEADER,
  METADATA_NAMESPACE,
  MIRROR_HEADER,
  POOL_HEADER,
  RESPONSE_DETAILS_PREFIX,
  TENANT_HEADER,
} from '../domain/names.ts';
import type { StreamHandler } from '../grpc/service.ts';
import { STATUS } from '../grpc/status.ts';
import type { ProcessingRequest } from './codec.ts';
import { REMOVED, requestHead, responseHead } from './heads.ts';
import {
  encodeHold,
  encodeImmediate,
  encodeReplacement,
  encodeRequestBody,
  encodeRequestHeaders,
  encodeResponseHeaders,
  lengthOf,
  PASS,
} from './replies.ts';
import {
  type ExtProcService,
  type OpenStreams,
  RequestStream,
  type RequestStreamOptions,
  serviceOf,
} from './request-stream.ts';

/** While it drains, new streams are turned away, so that Envoy's failure mode decides. */
export type ExtProcOptions = RequestStreamOptions;

const NO_BYTES = new Uint8Array(0);

/** Of a stream that was turned away. */
const NOBODY: StreamHandler = {
  onMessage: () => undefined,
  onEnd: () => undefined,
  onClose: () => undefined,
};

class SidecarStream extends RequestStream<ExtProcOptions> {
  override readonly keepsBody = true;
  private isFirst = true;
  private hasBody = false;

  override passHeaders(): void {
    this.stream.write(PASS.requestHeaders);
  }

  override hold(forMs: number): void {
    this.stream.write(encodeHold(forMs));
  }

  override respond(response: DirectResponse): void {
    this.stream.write(encodeImmediate({ ...response, details: RESPONSE_DETAILS_PREFIX + response.details }));
  }

  override sendOn({ body, pool, addresses, mirrorTo, trace }: SendOn): void {
    const set: (readonly [string, string])[] = [[POOL_HEADER, clusterOfPool(pool)]];
    if (body !== undefined) set.push(['content-length', String(lengthOf(body))]);
    if (mirrorTo !== undefined) set.push([MIRROR_HEADER, clusterOfMirror(mirrorTo)]);
    if (trace !== undefined) set.push(...trace.set);
    const remove = trace === undefined ? REMOVED : [...REMOVED, ...trace.remove];
    const metadata = {
      namespace: METADATA_NAMESPACE,
      key: ENDPOINTS_METADATA_KEY,
      value: addresses.join(','),
    };
    if (!this.hasBody) {
      this.stream.write(encodeRequestHeaders({ set, remove, metadata }));
      return;
    }
    const frame = encodeRequestBody({ body, set, remove, metadata });
    this.stream.write(frame, body);
  }

  override passResponseHeaders(mode: ResponseMode, add: HeaderList): void {
    this.stream.write(encodeResponseHeaders(mode, add));
  }

  override passChunk(replacement: Uint8Array | undefined): void {
    this.stream.write(replacement === undefined ? PASS.responseBody : encodeReplacement(replacement));
  }

  protected override handle(message: ProcessingRequest): void {
    if (this.isFirst) {
      this.isFirst = false;
      const mode = message.requestBodyMode;
      if (message.kind === 'request_headers' && mode !== undefined && mode !== 'BUFFERED') {
        this.refuseMode(mode);
        return;
      }
    }
    const { request, options, stream } = this;
    const nowMs = options.now();
    switch (message.kind) {
      case 'request_headers':
        this.begin(requestHead(message, TENANT_HEADER, KEY_ID_HEADER), nowMs);
        break;
      case 'request_body':
        // BUFFERED sends one message. Another one is Envoy's mistake: it is passed, and changes nothing.
        if (this.hasBody) stream.write(PASS.requestBody);
        else {
          this.hasBody = true;
          request.body(message.body, nowMs);
        }
        break;
      case 'request_trailers':
        if (this.hasBody) stream.write(PASS.requestTrailers);
        else {
          // A request that ends without a body has an empty one, and is admitted by it or refused.
          this.hasBody = true;
          request.body(NO_BYTES, nowMs);
        }
        break;
      case 'response_headers':
        request.responseHeaders(responseHead(message, message.upstream), nowMs);
        break;
      case 'response_body':
        request.responseChunk(message.body, message.endOfStream, nowMs);
        break;
      case 'response_trailers':
        request.responseComplete(nowMs);
        stream.write(PASS.responseTrailers);
        break;
      case undefined:
      default:
        // A message of a newer Envoy. Unanswered it would hold the request until the timeout.
        options.onMisconfigured('unknown message');
        this.endStream();
    }
  }

  /** Envoy would send the body in pieces, or not at all. */
  private refuseMode(mode: string): void {
    this.options.onMisconfigured(`request_body_mode is ${mode}, must be BUFFERED`);
    this.endStream({
      code: STATUS.failedPrecondition,
      message: `Fairlane needs request_body_mode BUFFERED, the filter has ${mode}`,
    });
  }
}

export function createExtProcService(options: ExtProcOptions): ExtProcService {
  const streams: OpenStreams = new Set();
  return serviceOf(streams, (stream) => {
    if (!options.draining()) return new SidecarStream(options, streams, stream);
    stream.end({ code: STATUS.unavailable, message: 'Fairlane is draining' });
    return NOBODY;
  });
}
