/**
 * The Endpoint Picker Protocol (Gateway API Inference Extension, proposal 004) as an edge of a request's life: a gateway streams
 * both bodies through the picker, and goes to the endpoints that it names. It decides nothing.
 *
 * A gateway gets an answer to everything, never a gRPC error: 503 where there is nothing to choose, 429 for what is shed.
 */
import type { DirectResponse, Edge, HeaderList, RequestHead } from '../admission/edge.ts';
import type { RequestLifecycle } from '../admission/request-lifecycle.ts';
import { RESPONSE_DETAILS_PREFIX } from '../domain/names.ts';
import { routeOf } from '../domain/routes.ts';
import type { Frame } from '../grpc/frames.ts';
import { isMalformed } from '../grpc/protobuf.ts';
import type { ServerStream, StreamHandler } from '../grpc/service.ts';
import { INTERNAL_FAILURE, MALFORMED_REQUEST } from '../grpc/status.ts';
import { BodyBuffer } from './body-buffer.ts';
import { decodeProcessingRequest, encodeImmediate, lengthOf, PASS, type ProcessingRequest } from './codec.ts';
import { type ExtProcService, serviceOf, textOf } from './grpc-ext-proc.ts';
import { REMOVED, requestHead, responseHead } from './heads.ts';
import {
  decodeGatewayMetadata,
  encodeAnswerHeaders,
  encodeBody,
  encodeDestination,
  encodeParts,
} from './picker-codec.ts';

export interface EndpointPickerOptions {
  readonly createLife: (edge: Edge) => RequestLifecycle;
  /** The tenant of a fairness id, which is empty when the gateway sends none. */
  readonly tenantOf: (fairnessId: string) => string;
  readonly fairnessHeader: string;
  /** Endpoints for a request that has no body to look into, in order; empty: none is ready. */
  readonly pickAny: (subset: ReadonlySet<string> | undefined) => readonly string[];
  /** The answers of what never becomes a life. */
  readonly answers: {
    readonly noEndpoint: DirectResponse;
    readonly draining: DirectResponse;
    readonly bodyTooLarge: DirectResponse;
  };
  readonly maxBodyBytes: number;
  /** Calls back in a later turn of the event loop. */
  readonly later: (callback: () => void) => void;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  readonly draining: () => boolean;
  readonly onMisconfigured: (detail: string) => void;
  readonly onStreamError: (detail: string) => void;
}

/** Of 62,000 bytes: two megabytes, of which copies are made. */
const FRAMES_PER_TURN = 32;

const immediate = (response: DirectResponse) =>
  encodeImmediate({ ...response, details: RESPONSE_DETAILS_PREFIX + response.details });

/** One HTTP request. */
function createExchange(stream: ServerStream, options: EndpointPickerOptions) {
  let subset: ReadonlySet<string> | undefined;
  /** The request as it arrives. */
  const received = new BodyBuffer(options.maxBodyBytes);
  let bodyEnded = false;
  let withTrailers = false;
  /** Nothing is read of the request any more: it has been answered, or it goes past. */
  let settled = false;
  /** There is nobody left to send to. */
  let isClosed = false;
  /** The part of the response that is being answered. */
  let part: { readonly bytes: Buffer; readonly endOfStream: boolean } | undefined;

  /** As much in a turn as takes well under a millisecond or two. */
  const sendSome = (frames: Iterator<Frame>): void => {
    for (let count = 0; count < FRAMES_PER_TURN; count += 1) {
      const next = frames.next();
      if (next.done === true) {
        if (withTrailers) stream.write(PASS.requestTrailers);
        return;
      }
      stream.write(next.value);
    }
    options.later(() => {
      if (isClosed) return;
      try {
        sendSome(frames);
      } catch (error) {
        options.onStreamError(textOf(error));
        stream.end(INTERNAL_FAILURE);
      }
    });
  };

  const edge: Edge = {
    // Both bodies are streamed: what is not sent back is gone.
    keepsBody: false,
    // The gateway goes on by itself: in this mode it sends the body without being told to.
    passHeaders: () => undefined,
    hold: () => undefined,
    respond(response) {
      settled = true;
      stream.write(immediate(response));
    },
    sendOn({ body, addresses }) {
      if (body === undefined) throw new Error('the body has to be sent on from here');
      settled = true;
      const set: HeaderList = [['content-length', String(lengthOf(body))]];
      stream.write(encodeDestination(addresses, set, REMOVED));
      sendSome(encodeBody('request', body, !withTrailers));
    },
    passResponseHeaders: (_mode, add) => stream.write(encodeAnswerHeaders(add)),
    passChunk(replacement) {
      if (part === undefined) return;
      const { bytes, endOfStream } = part;
      part = undefined;
      for (const frame of encodeParts('response', replacement ?? bytes, endOfStream)) stream.write(frame);
    },
  };
  const life = options.createLife(edge);

  const headOf = (message: ProcessingRequest): RequestHead => {
    const head = requestHead(message, options.fairnessHeader);
    return {
      ...head,
      tenant: options.tenantOf(head.tenant),
      ...(subset !== undefined && { within: subset }),
    };
  };

  const onRequestHeaders = (message: ProcessingRequest, bytes: Buffer, nowMs: number): void => {
    ({ subset } = decodeGatewayMetadata(bytes));
    const head = headOf(message);
    // A request of the API that ends here has an empty body, and is refused as one: no engine sees it.
    if (!head.endOfStream || routeOf(head.method, head.path) !== undefined) {
      life.headers(head, nowMs);
      return;
    }
    // Nothing to understand and nothing to meter: the gateway's routes let it pass.
    settled = true;
    const addresses = options.pickAny(subset);
    stream.write(
      addresses.length === 0 ? immediate(options.answers.noEndpoint) : encodeDestination(addresses, [], []),
    );
  };

  const onBodyEnd = (nowMs: number): void => {
    if (bodyEnded) return;
    bodyEnded = true;
    if (settled) return;
    life.body(received.take(), nowMs);
  };

  const onRequestBody = ({ body, endOfStream }: ProcessingRequest, nowMs: number): void => {
    if (settled || bodyEnded) return;
    if (!received.add(body)) {
      edge.respond(options.answers.bodyTooLarge);
      life.streamEnded(nowMs);
      return;
    }
    if (endOfStream) onBodyEnd(nowMs);
  };

  return {
    life,
    closed(): void {
      isClosed = true;
    },
    message(message: ProcessingRequest, bytes: Buffer, nowMs: number): void {
      switch (message.kind) {
        case 'request_headers':
          onRequestHeaders(message, bytes, nowMs);
          break;
        case 'request_body':
          onRequestBody(message, nowMs);
          break;
        case 'request_trailers':
          if (settled) stream.write(PASS.requestTrailers);
          else {
            withTrailers = true;
            onBodyEnd(nowMs);
          }
          break;
        case 'response_headers':
          life.responseHeaders(responseHead(message, decodeGatewayMetadata(bytes).served), nowMs);
          break;
        case 'response_body':
          part = { bytes: message.body, endOfStream: message.endOfStream };
          life.responseChunk(message.body, message.endOfStream, nowMs);
          break;
        case 'response_trailers':
          life.responseComplete(nowMs);
          stream.write(PASS.responseTrailers);
          break;
        case undefined:
        default:
          options.onMisconfigured('unknown message');
          stream.end();
      }
    },
  };
}

export function createEndpointPickerService(options: EndpointPickerOptions): ExtProcService {
  const streams = new Map<ServerStream, RequestLifecycle>();

  const turnAway = (stream: ServerStream): StreamHandler => ({
    onMessage: () => stream.write(immediate(options.answers.draining)),
    onEnd: () => stream.end(),
    onClose: () => undefined,
  });

  const open = (stream: ServerStream): StreamHandler => {
    if (options.draining()) return turnAway(stream);
    const exchange = createExchange(stream, options);
    const { life } = exchange;
    streams.set(stream, life);
    let gone = false;
    let first = true;
    const tell = (error: unknown): void => options.onStreamError(textOf(error));
    const finish = (): void => {
      if (gone) return;
      gone = true;
      streams.delete(stream);
      exchange.closed();
      try {
        life.streamEnded(options.now());
      } catch (error) {
        tell(error);
      }
    };
    return {
      onMessage(bytes) {
        if (gone) return;
        try {
          const message = decodeProcessingRequest(bytes);
          const { requestBodyMode } = message;
          if (first && requestBodyMode !== undefined && requestBodyMode !== 'FULL_DUPLEX_STREAMED') {
            options.onMisconfigured(`request_body_mode is ${requestBodyMode}, must be FULL_DUPLEX_STREAMED`);
          }
          first = false;
          exchange.message(message, bytes, options.now());
        } catch (error) {
          const malformed = isMalformed(error);
          if (!malformed) tell(error);
          stream.end(malformed ? MALFORMED_REQUEST : INTERNAL_FAILURE);
          finish();
        }
      },
      onEnd() {
        stream.end();
        finish();
      },
      onClose: finish,
    };
  };

  return serviceOf(streams, open, options.onStreamError);
}
