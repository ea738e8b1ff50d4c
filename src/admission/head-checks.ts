/** What is wrong with a request as far as its headers tell: before any of its body is uploaded. Pure. */
import type { ApiError } from '../domain/api-error.ts';
import type { BodyKind } from '../domain/routes.ts';
import { bodyTooLarge } from '../openai/error-body.ts';
import { boundaryOf } from '../openai/form/type.ts';
import type { Coding } from './content-coding.ts';
import { isJsonType } from './content-type.ts';
import type { RequestHead } from './edge.ts';
import { bodyNotTaken, emptyBody, notJsonType, notMultipart, unknownCoding } from './refusals.ts';

/**
 * @param body that its route takes.
 * @param coding of its body; undefined: none that is taken.
 * @param maxBodyBytes that a body may have.
 * @returns undefined: its body may come.
 */
export function refusalOfHead(
  body: BodyKind,
  head: RequestHead,
  coding: Coding | 'identity' | undefined,
  maxBodyBytes: number,
): ApiError | undefined {
  if (body === 'none') return head.endOfStream ? undefined : bodyNotTaken();
  if (head.endOfStream) return emptyBody(body);
  const type = head.header('content-type');
  if (body === 'json' && !isJsonType(type)) return notJsonType();
  if (body === 'multipart' && boundaryOf(type) === undefined) return notMultipart();
  if (coding === undefined) return unknownCoding();
  const { contentLength = 0 } = head;
  if (contentLength > maxBodyBytes) return bodyTooLarge(maxBodyBytes, contentLength);
  return undefined;
}
