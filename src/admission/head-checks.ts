/** What is wrong with a request as far as its headers tell: before any of its body is uploaded. Pure. */
import type { ApiError } from '../domain/api-error.ts';
import { bodyTooLarge } from '../openai/error-body.ts';
import { isJsonType } from './content-type.ts';
import type { RequestHead } from './edge.ts';
import { emptyBody, encodedBody, notJsonType } from './refusals.ts';

const PLAIN_ENCODING = /^(identity)?$/i;

/** @param maxBodyBytes that a body may have. @returns undefined: its body may come. */
export function refusalOfHead(head: RequestHead, maxBodyBytes: number): ApiError | undefined {
  if (head.endOfStream) return emptyBody();
  if (!isJsonType(head.header('content-type'))) return notJsonType();
  if (!PLAIN_ENCODING.test(head.header('content-encoding').trim())) return encodedBody();
  if ((head.contentLength ?? 0) > maxBodyBytes) return bodyTooLarge(maxBodyBytes);
  return undefined;
}
