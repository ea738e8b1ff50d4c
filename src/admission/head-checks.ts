/** What is wrong with a request as far as its headers tell: before any of its body is uploaded. Pure. */
import type { ApiError } from '../domain/api-error.ts';
import { bodyTooLarge } from '../openai/error-body.ts';
import type { Coding } from './content-coding.ts';
import { isJsonType } from './content-type.ts';
import type { RequestHead } from './edge.ts';
import { emptyBody, notJsonType, unknownCoding } from './refusals.ts';

/**
 * @param coding of its body; undefined: none that is taken.
 * @param maxBodyBytes that a body may have.
 * @returns undefined: its body may come.
 */
export function refusalOfHead(
  head: RequestHead,
  coding: Coding | 'identity' | undefined,
  maxBodyBytes: number,
): ApiError | undefined {
  if (head.endOfStream) return emptyBody();
  if (!isJsonType(head.header('content-type'))) return notJsonType();
  if (coding === undefined) return unknownCoding();
  if ((head.contentLength ?? 0) > maxBodyBytes) return bodyTooLarge(maxBodyBytes);
  return undefined;
}
