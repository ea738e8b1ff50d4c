/** Heads of requests and answers from Envoy's messages, for every edge. */
import type { RequestHead, ResponseHead } from '../admission/edge.ts';
import type { Mutable } from '../domain/mutable.ts';
import { CLIENT_ID_HEADER, MAX_REQUEST_HEADERS } from '../domain/names.ts';
import { headerOf, type ProcessingRequest } from './codec.ts';

/** A compressed answer could not be metered as it streams. The body that goes on is plain, whatever came. */
export const REMOVED = ['accept-encoding', 'content-encoding'];

/** `text/event-stream; charset=utf-8` → `text/event-stream` */
const mediaType = (value: string): string => (value.split(';', 1)[0] ?? '').trim().toLowerCase();

/** Longer ones are none of ours. */
const LONGEST_KEY_ID = 64;

/**
 * @param tenantHeader whose value is the tenant.
 * @param keyIdHeader whose value is the id of its key; absent: whoever asks has no such header of his own, and a client may have set it.
 */
export function requestHead(
  { headers, headerCount, endOfStream }: ProcessingRequest,
  tenantHeader: string,
  keyIdHeader?: string,
): RequestHead {
  const header = (name: string): string => headerOf(headers, name);
  const length = Number.parseInt(header('content-length'), 10);
  const head: Mutable<RequestHead> = {
    method: header(':method'),
    path: header(':path'),
    tenant: header(tenantHeader),
    requestId: header('x-request-id'),
    clientRequestId: header(CLIENT_ID_HEADER),
    contentLength: Number.isFinite(length) ? length : undefined,
    endOfStream,
    oversized: headerCount > MAX_REQUEST_HEADERS.count || headers.length > MAX_REQUEST_HEADERS.bytes,
    header,
  };
  const keyId = keyIdHeader === undefined ? '' : header(keyIdHeader);
  if (keyId !== '') head.keyId = keyId.slice(0, LONGEST_KEY_ID);
  return head;
}

/** @param upstream `ip:port` of the endpoint that answered, or empty. */
export const responseHead = (
  { headers, endOfStream, details }: ProcessingRequest,
  upstream: string,
): ResponseHead => {
  const head: Mutable<ResponseHead> = {
    status: Number.parseInt(headerOf(headers, ':status'), 10) || 0,
    contentType: mediaType(headerOf(headers, 'content-type')),
    contentEncoding: headerOf(headers, 'content-encoding').trim().toLowerCase(),
    upstream,
    endOfStream,
  };
  if (details !== '') head.details = details;
  return head;
};
