/**
 * What the end of a request says of the endpoint that had it, and of the model there.
 *
 * Nothing is said by what a client or a tenant can do alone: a 4xx of the engine's validation, a 5xx whose body names the
 * request (llama.cpp answers bad JSON with 500), a 429, a client that hung up, an answer that broke off after its first byte
 * because the client did.
 */

/** How the endpoint ended a request, as far as the service saw it. */
export interface AttemptResult {
  /** Status that the endpoint answered with; undefined: none came. */
  readonly status?: number;
  /** OpenAI's `error.code` or `error.type` of the answer, where it was read. */
  readonly errorCode?: string;
  /** Why there was no answer, or none to its end. */
  readonly broken?: /** No connection: Envoy's response flags UF, UC before anything was sent, or the retry on another endpoint. */
    | 'connect'
    /** The endpoint closed or reset the connection. */
    | 'reset'
    /** No first byte in the time that it should have taken. */
    | 'timeout'
    /** The client hung up. */
    | 'client';
  /** Envoy tried this endpoint and served the request elsewhere. */
  readonly passedOver?: boolean;
}

export type EndpointSign =
  | 'success'
  /** No request can cause it. */
  | 'connect-failure'
  /** A request might have caused it. */
  | 'reset'
  | 'server-error'
  | 'timeout';

export type ModelSign =
  | 'success'
  /** No request can cause it: the engine does not have the model, or fails without a word on the request. */
  | 'fault'
  /** A request might have caused it. */
  | 'doubtful';

/** Codes and types by which engines say that the request is wrong, whatever the status. */
const BLAMES_REQUEST =
  /bad_?request|invalid|validation|context_(length|size)|unprocessable|too_(long|large)/i;

const saysNothing = ({ status, errorCode, broken }: AttemptResult): boolean =>
  broken === 'client' || status === 429 || (errorCode !== undefined && BLAMES_REQUEST.test(errorCode));

/** For outlier.ts; undefined: it says nothing. */
export function endpointSignOf(ending: AttemptResult): EndpointSign | undefined {
  if (saysNothing(ending)) return undefined;
  if (ending.broken === 'connect') return 'connect-failure';
  if (ending.broken === 'reset' || ending.passedOver === true) return 'reset';
  if (ending.broken === 'timeout') return 'timeout';
  if (ending.status === undefined) return undefined;
  if (ending.status >= 500) return 'server-error';
  // A 4xx is neither: tenants could hide failures behind it.
  return ending.status < 400 ? 'success' : undefined;
}

/** For breaker.ts; undefined: it says nothing. */
export function modelSignOf(ending: AttemptResult): ModelSign | undefined {
  if (ending.status === 404 && /model/i.test(ending.errorCode ?? '')) return 'fault';
  if (saysNothing(ending) || ending.broken === 'connect') return undefined;
  if (ending.broken !== undefined || ending.passedOver === true) return 'doubtful';
  if (ending.status === undefined) return undefined;
  if (ending.status >= 500) return 'fault';
  return ending.status < 400 ? 'success' : undefined;
}
