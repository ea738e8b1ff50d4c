/**
 * The ext_proc edge: Envoy's messages to events of a request's life, and its answers back. It decides nothing.
 *
 * One gRPC stream is one HTTP request. Envoy ends a stream by half-closing it and waits for our close (the runtime flag
 * ext_proc_graceful_grpc_close); a reset is the same to us.
 */
import { fileURLToPath } from 'node:url';
import * as grpc from '@grpc/grpc-js';
import * as protoLoader from '@grpc/proto-loader';
import type { DirectResponse, Edge, HeaderList, RequestHead, ResponseHead } from '../admission/edge.ts';
import type { RequestLife } from '../admission/request-life.ts';
import {
  clusterOfPool,
  ENDPOINTS_METADATA_KEY,
  METADATA_NAMESPACE,
  POOL_HEADER,
  RESPONSE_DETAILS_PREFIX,
  TENANT_HEADER,
} from '../domain/names.ts';

export interface ExtProcOptions {
  readonly createLife: (edge: Edge) => RequestLife;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  /** While true, new streams are turned away, so that Envoy's failure mode decides. */
  readonly draining: () => boolean;
  readonly onMisconfigured: (detail: string) => void;
  readonly onStreamError: (detail: string) => void;
}

export interface ExtProcService {
  readonly definition: grpc.ServiceDefinition;
  readonly implementation: grpc.UntypedServiceImplementation;
  /** Streams that are open. */
  readonly open: () => number;
  /** Time has passed: for what no message tells of. Its cost grows with the open streams. */
  readonly tick: (nowMs: number) => void;
  /** Ends every stream that is open; Envoy goes on without the service. */
  readonly endAll: () => void;
}

interface WireHeader {
  readonly key: string;
  readonly raw_value?: Buffer;
}
interface WireHeaders {
  readonly headers?: { readonly headers?: readonly WireHeader[] } | null;
  readonly end_of_stream?: boolean;
}
interface WireBody {
  readonly body?: Buffer;
  readonly end_of_stream?: boolean;
}
interface WireValue {
  readonly stringValue?: string;
}
interface WireRequest {
  readonly request?: string;
  readonly request_headers?: WireHeaders;
  readonly response_headers?: WireHeaders;
  readonly request_body?: WireBody;
  readonly response_body?: WireBody;
  readonly attributes?: Readonly<Record<string, { readonly fields?: Readonly<Record<string, WireValue>> }>>;
  readonly protocol_config?: { readonly request_body_mode?: string } | null;
}
type WireStream = grpc.ServerDuplexStream<WireRequest, object>;

const PROTO_ROOT = fileURLToPath(new URL('../../proto/', import.meta.url));
const ATTRIBUTES = 'envoy.filters.http.ext_proc';
const OVERWRITE = 'OVERWRITE_IF_EXISTS_OR_ADD';

function loadService(): grpc.ServiceDefinition {
  const definition = protoLoader.loadSync('envoy/service/ext_proc/v3/external_processor.proto', {
    includeDirs: [PROTO_ROOT],
    keepCase: true,
    longs: Number,
    enums: String,
    defaults: false,
    oneofs: true,
  });
  return definition['envoy.service.ext_proc.v3.ExternalProcessor'] as grpc.ServiceDefinition;
}

const setHeader = (key: string, value: string): object => ({
  header: { key, raw_value: Buffer.from(value) },
  append_action: OVERWRITE,
});
const setHeaders = (headers: HeaderList): readonly object[] =>
  headers.map(([key, value]) => setHeader(key, value));

/** `text/event-stream; charset=utf-8` → `text/event-stream` */
const mediaType = (value: string): string => (value.split(';', 1)[0] ?? '').trim().toLowerCase();

function headerReader(headers: WireHeaders): (name: string) => string {
  const list = headers.headers?.headers ?? [];
  return (name) => {
    for (const header of list) if (header.key === name) return header.raw_value?.toString('latin1') ?? '';
    return '';
  };
}

function requestHead(headers: WireHeaders): RequestHead {
  const header = headerReader(headers);
  const length = Number.parseInt(header('content-length'), 10);
  return {
    method: header(':method'),
    path: header(':path'),
    tenant: header(TENANT_HEADER),
    requestId: header('x-request-id'),
    contentLength: Number.isFinite(length) ? length : undefined,
    endOfStream: headers.end_of_stream === true,
    header,
  };
}

function responseHead(message: WireRequest, headers: WireHeaders): ResponseHead {
  const header = headerReader(headers);
  const attributes = message.attributes?.[ATTRIBUTES]?.fields;
  return {
    status: Number.parseInt(header(':status'), 10) || 0,
    contentType: mediaType(header('content-type')),
    contentEncoding: header('content-encoding').trim().toLowerCase(),
    upstream: attributes?.['upstream.address']?.stringValue ?? '',
    endOfStream: headers.end_of_stream === true,
  };
}

const immediateResponse = (response: DirectResponse): object => ({
  immediate_response: {
    status: { code: response.status },
    headers: { set_headers: setHeaders(response.headers) },
    body: Buffer.from(response.body),
    details: RESPONSE_DETAILS_PREFIX + response.details,
  },
});

export function createExtProcService(options: ExtProcOptions): ExtProcService {
  const loaded = loadService();
  const process = loaded['Process'];
  if (process === undefined) throw new Error('proto/ lacks ExternalProcessor.Process');
  const encode = process.responseSerialize as (message: object) => Buffer;
  /** The answer to nearly every chunk, encoded once. */
  const passChunk = encode({ response_body: { response: {} } });
  const passTrailers = encode({ response_trailers: {} });
  const definition: grpc.ServiceDefinition = {
    Process: {
      ...process,
      responseSerialize: (message: object) => (Buffer.isBuffer(message) ? message : encode(message)),
    },
  };
  const streams = new Map<WireStream, RequestLife>();

  const serve = (stream: WireStream): void => {
    if (options.draining()) {
      stream.emit('error', { code: grpc.status.UNAVAILABLE, details: 'Fairlane is draining' });
      return;
    }
    let gone = false;
    const write = (message: object): void => {
      if (!gone) stream.write(message);
    };
    const edge: Edge = {
      passHeaders: () => write({ request_headers: { response: {} } }),
      hold: (forMs) =>
        write({
          override_message_timeout: {
            seconds: Math.floor(forMs / 1_000),
            nanos: (forMs % 1_000) * 1_000_000,
          },
        }),
      respond: (response) => write(immediateResponse(response)),
      sendOn: ({ body, pool, addresses }) =>
        write({
          request_body: {
            response: {
              header_mutation: {
                set_headers: setHeaders([
                  [POOL_HEADER, clusterOfPool(pool)],
                  ['content-length', String(body.length)],
                ]),
                // A compressed answer could not be metered as it streams.
                remove_headers: ['accept-encoding'],
              },
              body_mutation: { body },
              clear_route_cache: true,
            },
          },
          dynamic_metadata: {
            fields: {
              [METADATA_NAMESPACE]: {
                structValue: {
                  fields: { [ENDPOINTS_METADATA_KEY]: { stringValue: addresses.join(',') } },
                },
              },
            },
          },
        }),
      passResponseHeaders: (mode, add) =>
        write({
          response_headers: {
            response: add.length === 0 ? {} : { header_mutation: { set_headers: setHeaders(add) } },
          },
          mode_override: {
            response_header_mode: 'SEND',
            response_body_mode: mode === 'stream' ? 'STREAMED' : 'NONE',
            response_trailer_mode: 'SEND',
          },
        }),
      passChunk: (replacement) =>
        write(
          replacement === undefined
            ? passChunk
            : {
                response_body: {
                  response: {
                    body_mutation: replacement.length === 0 ? { clear_body: true } : { body: replacement },
                  },
                },
              },
        ),
    };
    const life = options.createLife(edge);
    streams.set(stream, life);
    let first = true;
    let bodySeen = false;

    const handle = (message: WireRequest): void => {
      if (first) {
        first = false;
        const mode = message.protocol_config?.request_body_mode;
        if (message.request === 'request_headers' && mode !== undefined && mode !== 'BUFFERED') {
          options.onMisconfigured(`request_body_mode is ${mode}, must be BUFFERED`);
          stream.emit('error', {
            code: grpc.status.FAILED_PRECONDITION,
            details: `Fairlane needs request_body_mode BUFFERED, the filter has ${mode}`,
          });
          return;
        }
      }
      const nowMs = options.now();
      switch (message.request) {
        case 'request_headers':
          life.headers(requestHead(message.request_headers ?? {}), nowMs);
          break;
        case 'request_body':
          // BUFFERED sends one message. Another one is Envoy's mistake: it is passed, and changes nothing.
          if (bodySeen) write({ request_body: { response: {} } });
          else {
            bodySeen = true;
            life.body(message.request_body?.body ?? Buffer.alloc(0), nowMs);
          }
          break;
        case 'request_trailers':
          write({ request_trailers: {} });
          break;
        case 'response_headers':
          life.responseHeaders(responseHead(message, message.response_headers ?? {}), nowMs);
          break;
        case 'response_body': {
          const chunk = message.response_body;
          life.responseChunk(chunk?.body ?? Buffer.alloc(0), chunk?.end_of_stream === true, nowMs);
          break;
        }
        case 'response_trailers':
          life.responseComplete(nowMs);
          write(passTrailers);
          break;
        case undefined:
        default:
          // A message of a newer Envoy. Unanswered it would hold the request until the timeout.
          options.onMisconfigured(`unknown message ${message.request ?? '(empty)'}`);
          stream.end();
      }
    };

    const finish = (): void => {
      if (gone) return;
      gone = true;
      streams.delete(stream);
      life.streamEnded(options.now());
    };

    stream.on('data', (message: WireRequest) => {
      if (gone) return;
      try {
        handle(message);
      } catch (error) {
        // A bug must cost one request, not the process: Envoy goes on by its failure mode.
        options.onStreamError(error instanceof Error ? (error.stack ?? error.message) : String(error));
        finish();
        stream.emit('error', { code: grpc.status.INTERNAL, details: 'internal error' });
      }
    });
    stream.on('end', () => {
      finish();
      stream.end();
    });
    stream.on('cancelled', finish);
    stream.on('close', finish);
    stream.on('error', finish);
  };

  return {
    definition,
    implementation: { Process: serve as grpc.UntypedHandleCall },
    open: () => streams.size,
    tick(nowMs) {
      for (const life of streams.values()) life.tick(nowMs);
    },
    endAll() {
      for (const stream of streams.keys()) stream.end();
    },
  };
}
