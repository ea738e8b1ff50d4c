import type { ResponseOwner } from '../conversation/response-owners.ts';
import type { TraceHeaders } from '../usage/request-trace.ts';

/**
 * What a request's life cycle says to the wire. The edges implement it; nothing here knows ext_proc.
 *
 * `passHeaders`, `respond`, `hold` and `sendOn` answer the request's messages; the others answer the response's. After
 * `respond` the request asks for nothing more.
 */
export type HeaderList = readonly (readonly [name: string, value: string])[];

export interface DirectResponse {
  readonly status: number;
  readonly headers: HeaderList;
  readonly body: string;
  /** A stable word for Envoy's response code details. */
  readonly details: string;
  /** When to come again, also where the headers do not say: clients that wait so long are told not to. */
  readonly retryAfterMs?: number;
}

export interface SendOn {
  /** In parts. Undefined: as the client sent it; only where `keepsBody`. */
  readonly body: readonly Uint8Array[] | undefined;
  readonly pool: string;
  /** Ordered `ip:port`. */
  readonly addresses: readonly string[];
  /** Those of its trace, which replace the client's; absent: it is not traced, and has the client's own. */
  readonly trace?: TraceHeaders;
  /** Pool that gets a copy, whose answer nobody sees. */
  readonly mirrorTo?: string;
}

/** What of the response body is wanted. */
export type ResponseMode = 'stream' | 'none';

export interface Edge {
  /** The proxy has the request's body: what is not changed need not be sent back. */
  readonly keepsBody: boolean;
  passHeaders(): void;
  /** The answer will take longer: Envoy shall wait for up to `forMs`. */
  hold(forMs: number): void;
  respond(response: DirectResponse): void;
  sendOn(request: SendOn): void;
  passResponseHeaders(mode: ResponseMode, add: HeaderList): void;
  /** @param replacement bytes to send instead, or undefined to send the chunk as it came. */
  passChunk(replacement: Uint8Array | undefined): void;
}

export interface RequestHead {
  readonly method: string;
  /** With query. */
  readonly path: string;
  /** From Envoy's authentication; empty when Envoy sent none. */
  readonly tenant: string;
  /** Of the API key that the client has shown (`TenantKey.id`), from Envoy; absent: it came without one, or Envoy did not say; empty: the tenant is asked for, whatever the key. */
  readonly keyId?: string;
  readonly requestId: string;
  /** What the client calls it; empty or absent: nothing. */
  readonly clientRequestId?: string;
  /** Declared body length, or undefined. */
  readonly contentLength: number | undefined;
  /** There is no body. */
  readonly endOfStream: boolean;
  /** There are too many headers, or too large ones. */
  readonly oversized?: boolean;
  /** Value of a header by its lower-case name; empty when absent. */
  readonly header: (name: string) => string;
  /** `ip:port` of the endpoints that may serve it; absent: any. */
  readonly within?: ReadonlySet<string>;
  /** The model that a gateway wants to serve it, in place of the one that its body names; absent: that one. */
  readonly modelRewrite?: string;
  /** The stored response that it goes on with: only its endpoint may serve it. */
  readonly pinned?: ResponseOwner;
}

export interface ResponseHead {
  readonly status: number;
  /** Without parameters, lower case; empty when absent. */
  readonly contentType: string;
  /** Lower case; empty when absent. */
  readonly contentEncoding: string;
  /** `ip:port` of the endpoint that answered, or empty when Envoy did or did not say. */
  readonly upstream: string;
  /** Envoy's response code details; absent when it does not say. */
  readonly details?: string;
  readonly endOfStream: boolean;
}

/** What the wire says of a request: RequestLifecycle and StoredLifecycle take it. */
export interface RequestEvents {
  headers(head: RequestHead, nowMs: number): void;
  /** The whole body. */
  body(bytes: Uint8Array, nowMs: number): void;
  responseHeaders(head: ResponseHead, nowMs: number): void;
  responseChunk(bytes: Uint8Array, endOfStream: boolean, nowMs: number): void;
  /** Trailers, or anything else that proves that the answer was complete. */
  responseComplete(nowMs: number): void;
  tick(nowMs: number): void;
  /** The stream is gone, for whatever reason. */
  streamEnded(nowMs: number): void;
}
