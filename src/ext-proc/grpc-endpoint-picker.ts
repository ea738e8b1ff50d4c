/**
 * The Endpoint Picker Protocol (Gateway API Inference Extension, proposal 004) as an edge of a request: a gateway
 * streams both bodies through the picker, and goes to the endpoints that it names. It decides nothing.
 *
 * A gateway gets an answer to everything, never a gRPC error: 503 where there is nothing to choose, 429 for what is
 * shed.
 */
import type {
  DirectResponse,
  HeaderList,
  RequestHead,
  ResponseHead,
  ResponseMode,
  SendOn,
} from '../admission/edge.ts';
import { PICKER, RESPONSE_DETAILS_PREFIX } from '../domain/names.ts';
import { entriesOf, namedEndpoints } from '../domain/picker-endpoints.ts';
import { pickerPathOf } from '../domain/picker-paths.ts';
import type { CustomRoutes } from '../domain/routes.ts';
import type { Frame } from '../grpc/frames.ts';
import type { ServerStream, StreamHandler } from '../grpc/service.ts';
import { INTERNAL_FAILURE } from '../grpc/status.ts';
import { BodyBuffer } from './body-buffer.ts';
import type { ProcessingRequest } from './codec.ts';
import { REMOVED, requestHead, responseHead } from './heads.ts';
import {
  decodeGatewayMetadata,
  encodeAnswerHeaders,
  encodeBody,
  encodeDestination,
  encodeParts,
} from './picker-codec.ts';
import { encodeImmediate, lengthOf, PASS } from './replies.ts';
import {
  type ExtProcService,
  type OpenStreams,
  RequestStream,
  type RequestStreamOptions,
  serviceOf,
} from './request-stream.ts';

export interface EndpointPickerOptions extends RequestStreamOptions {
  /** The tenant of a fairness id, which is empty when the gateway sends none. */
  readonly tenantOf: (fairnessId: string) => string;
  readonly fairnessHeader: string;
  /** Why a tenant's request may not go past admission; undefined: it may. Absent: everybody's may. */
  readonly refusalOf?: (tenant: string) => DirectResponse | undefined;
  /** Tests may choose endpoints, and are told who served them. */
  readonly conformance?: boolean;
  /** All endpoints, `ip:port`: for lists that name IP addresses alone. Absent: there are no such lists. */
  readonly addresses?: () => readonly string[];
  /** That the configuration adds; absent: none. */
  readonly routes?: () => CustomRoutes | undefined;
  /** Endpoints for a request that there is nothing to understand of, in order; empty: none is ready. */
  readonly pickAny: (subset: ReadonlySet<string> | undefined) => readonly string[];
  /** The answers of what never becomes a request's life cycle. */
  readonly answers: {
    readonly noEndpoint: DirectResponse;
    readonly draining: DirectResponse;
    readonly bodyTooLarge: DirectResponse;
    readonly unsizedTooLarge: DirectResponse;
  };
  readonly maxBodyBytes: number;
  /** Of one that does not say how long it is. */
  readonly maxUnsizedBodyBytes: number;
  /** Calls back in a later turn of the event loop. */
  readonly later: (callback: () => void) => void;
}

/** Of 62,000 bytes: two megabytes, of which copies are made. */
const FRAMES_PER_TURN = 32;

const NO_ADDRESSES = (): readonly string[] => [];
/** Envoy's word for an answer that is not its own. */
const FROM_UPSTREAM = 'via_upstream';
/** What a gateway answers when an endpoint cannot be reached. */
const GATEWAY_STATUSES: ReadonlySet<number> = new Set([502, 503, 504]);

const immediate = (response: DirectResponse) =>
  encodeImmediate({ ...response, details: RESPONSE_DETAILS_PREFIX + response.details });

class PickerStream extends RequestStream<EndpointPickerOptions> {
  /** Both bodies are streamed: what is not sent back is gone. */
  override readonly keepsBody = false;
  private isFirst = true;

  // The request, until nothing of it is read any more: it has been answered, or it goes past
  private isSettled = false;
  private received: BodyBuffer | undefined = undefined;
  private isSized = true;
  private hasBody = false;
  private hasTrailers = false;
  /** By the picker itself. */
  private isAnswered = false;
  /** Its body goes on as it comes. */
  private goesPast = false;
  /** That the gateway was told, `ip:port`. */
  private destination: readonly string[] = [];

  // The response
  /** That the gateway says it is from; empty: it does not say. */
  private served = '';
  /** The part that is being answered. */
  private part: { readonly bytes: Buffer; readonly endOfStream: boolean } | undefined = undefined;

  // --- What the request says ---

  /** The gateway goes on by itself: in this mode it sends the body without being told to. */
  override passHeaders(): void {}

  override hold(): void {}

  /** The gateway has its answer: nothing more may be said of this request. */
  override respond(response: DirectResponse): void {
    this.settle();
    this.isAnswered = true;
    this.stream.write(immediate(response));
    this.endStream();
  }

  override sendOn({ body, addresses, trace }: SendOn): void {
    if (body === undefined && this.hasBody) throw new Error('the body has to be sent on from here');
    this.settle();
    this.destination = addresses;
    const traced: HeaderList = trace?.set ?? [];
    const remove = trace === undefined ? REMOVED : [...REMOVED, ...trace.remove];
    if (body === undefined) {
      this.stream.write(encodeDestination(addresses, traced, remove));
      return;
    }
    const set: HeaderList = [['content-length', String(lengthOf(body))], ...traced];
    this.stream.write(encodeDestination(addresses, set, remove));
    this.sendSome(encodeBody('request', body, !this.hasTrailers));
  }

  override passResponseHeaders(_mode: ResponseMode, add: HeaderList): void {
    this.stream.write(
      encodeAnswerHeaders(this.options.conformance === true ? [...add, ...this.testHeaders()] : add),
    );
  }

  override passChunk(replacement: Uint8Array | undefined): void {
    const { part } = this;
    if (part === undefined) return;
    this.part = undefined;
    for (const frame of encodeParts('response', replacement ?? part.bytes, part.endOfStream)) {
      this.stream.write(frame);
    }
  }

  /** Sends as much in a turn as takes well under a millisecond or two. */
  private sendSome(frames: Iterator<Frame>): void {
    for (let count = 0; count < FRAMES_PER_TURN; count += 1) {
      const next = frames.next();
      if (next.done === true) {
        if (this.hasTrailers) this.stream.write(PASS.requestTrailers);
        return;
      }
      this.stream.write(next.value);
    }
    this.options.later(() => {
      if (this.isClosed) return;
      try {
        this.sendSome(frames);
      } catch (error) {
        this.tell(error);
        this.endStream(INTERNAL_FAILURE);
      }
    });
  }

  private testHeaders(): HeaderList {
    // As the reference picker says it.
    const served = this.served || 'fail: missing destination endpoint served metadata';
    return [
      [PICKER.testServed, served],
      [PICKER.testSelected, this.destination.join(',')],
    ];
  }

  private settle(): void {
    this.isSettled = true;
    this.received = undefined;
  }

  // --- What the gateway says ---

  protected override handle(message: ProcessingRequest, bytes: Buffer): void {
    if (this.isAnswered) return;
    const { request, options } = this;
    this.checkMode(message);
    const nowMs = options.now();
    switch (message.kind) {
      case 'request_headers':
        this.headers(message, bytes, nowMs);
        break;
      case 'request_body':
        this.body(message, nowMs);
        break;
      case 'request_trailers':
        if (this.isSettled) this.stream.write(PASS.requestTrailers);
        else {
          this.hasTrailers = true;
          this.bodyEnds(nowMs);
        }
        break;
      case 'response_headers':
        this.served = decodeGatewayMetadata(bytes).served;
        request.responseHeaders(this.responseHead(message), nowMs);
        break;
      case 'response_body':
        this.part = { bytes: message.body, endOfStream: message.endOfStream };
        request.responseChunk(message.body, message.endOfStream, nowMs);
        break;
      case 'response_trailers':
        request.responseComplete(nowMs);
        this.stream.write(PASS.responseTrailers);
        break;
      case undefined:
      default:
        options.onMisconfigured('unknown message');
        this.endStream();
    }
  }

  private checkMode({ requestBodyMode: mode }: ProcessingRequest): void {
    if (this.isFirst && mode !== undefined && mode !== 'FULL_DUPLEX_STREAMED') {
      this.options.onMisconfigured(`request_body_mode is ${mode}, must be FULL_DUPLEX_STREAMED`);
    }
    this.isFirst = false;
  }

  private headers(message: ProcessingRequest, bytes: Buffer, nowMs: number): void {
    const { options } = this;
    const known = requestHead(message, options.fairnessHeader);
    const within = this.within(known, decodeGatewayMetadata(bytes).subset);
    const modelRewrite = rewriteOf(known);
    this.isSized = known.contentLength !== undefined;
    this.received = new BodyBuffer(this.isSized ? options.maxBodyBytes : options.maxUnsizedBodyBytes);
    const head: RequestHead = {
      ...known,
      tenant: options.tenantOf(known.tenant),
      ...(within !== undefined && { within }),
      ...(modelRewrite !== '' && { modelRewrite }),
    };
    // A request of the API that ends here has an empty body, and is refused as one: no engine sees it. Stored responses have owners.
    const found = pickerPathOf(options.routes?.(), head);
    if (found.kind === 'api')
      this.begin(found.path === head.path ? head : { ...head, path: found.path }, nowMs);
    else this.goPast(head);
  }

  /** Nothing to understand and nothing to meter: the gateway's routes let it pass. */
  private goPast({ tenant, within, endOfStream }: RequestHead): void {
    const { options } = this;
    const refusal = options.refusalOf?.(tenant);
    if (refusal !== undefined) {
      this.respond(refusal);
      return;
    }
    const addresses = options.pickAny(within);
    if (addresses.length === 0) {
      this.respond(options.answers.noEndpoint);
      return;
    }
    this.settle();
    this.goesPast = !endOfStream;
    this.destination = addresses;
    this.stream.write(encodeDestination(addresses, [], []));
  }

  /** What there is to choose from. */
  private within(
    { header }: RequestHead,
    subset: ReadonlySet<string> | undefined,
  ): ReadonlySet<string> | undefined {
    const { addresses = NO_ADDRESSES, conformance = false } = this.options;
    const within = subset && namedEndpoints(subset, addresses);
    const wanted = conformance ? entriesOf(header(PICKER.testSelection)) : undefined;
    if (wanted === undefined || wanted.size === 0) return within;
    const named = namedEndpoints(wanted, addresses);
    return within === undefined ? named : new Set([...named].filter((address) => within.has(address)));
  }

  /**
   * A gateway of before the protocol's 1.0 does not say who has answered. It was the endpoint that it was sent to first, as far as is
   * known, unless the gateway says that it has answered itself, or that an endpoint could not be reached: those are its own words.
   */
  private responseHead(message: ProcessingRequest): ResponseHead {
    const head = responseHead(message, this.served || message.upstream);
    const { upstream, details, status } = head;
    const [first] = this.destination;
    const isItsOwn = details === undefined ? GATEWAY_STATUSES.has(status) : details !== FROM_UPSTREAM;
    return upstream !== '' || first === undefined || isItsOwn ? head : { ...head, upstream: first };
  }

  private body({ body, endOfStream }: ProcessingRequest, nowMs: number): void {
    if (this.goesPast) {
      for (const frame of encodeParts('request', body, endOfStream)) this.stream.write(frame);
      return;
    }
    if (this.isSettled || this.hasBody) return;
    if (this.received?.add(body) === false) {
      const { bodyTooLarge, unsizedTooLarge } = this.options.answers;
      this.respond(this.isSized ? bodyTooLarge : unsizedTooLarge);
      this.request.streamEnded(nowMs);
      return;
    }
    if (endOfStream) this.bodyEnds(nowMs);
  }

  private bodyEnds(nowMs: number): void {
    if (this.hasBody) return;
    this.hasBody = true;
    const whole = this.received?.take();
    this.received = undefined;
    if (whole !== undefined) this.request.body(whole, nowMs);
  }
}

/** A header's bytes are those of a name in UTF-8. */
const rewriteOf = ({ header }: RequestHead): string => {
  const name = PICKER.modelRewrites.map(header).find((value) => value !== '') ?? '';
  return Buffer.from(name, 'latin1').toString('utf8').trim();
};

/** A gateway is answered while the service drains, too: once. */
function turnAway(stream: ServerStream, answer: DirectResponse): StreamHandler {
  let isAnswered = false;
  return {
    onMessage() {
      if (isAnswered) return;
      isAnswered = true;
      stream.write(immediate(answer));
      stream.end();
    },
    onEnd: () => stream.end(),
    onClose: () => undefined,
  };
}

export function createEndpointPickerService(options: EndpointPickerOptions): ExtProcService {
  const streams: OpenStreams = new Set();
  return serviceOf(streams, (stream) =>
    options.draining()
      ? turnAway(stream, options.answers.draining)
      : new PickerStream(options, streams, stream),
  );
}
