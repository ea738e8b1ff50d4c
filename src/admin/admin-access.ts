/** Who may use the admin API: a token in a header, from no web page, under a name of this machine where it listens for that alone. */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { AdminConfig } from '../config/admin.ts';
import { isLoopback } from '../domain/loopback.ts';

type Headers = Readonly<Record<string, string | readonly string[] | undefined>>;

export type Access = 'write' | 'read';

export interface AccessProblem {
  readonly status: 400 | 401 | 403;
  readonly code: string;
  readonly message: string;
  readonly hint: string;
}

/** Names under which clients put tokens into URLs, which proxies and browsers keep. */
const TOKEN_PARAMETERS = /^(?:.*token|.*secret|password|authorization|auth|bearer|api[_-]?key|key)$/i;
const BEARER = /^bearer +([\x21-\x7e]+)$/i;
/** A longer one is none. */
const LONGEST_TOKEN = 1024;

/** What keeps a request out before its token is looked at. */
export function originProblem(
  headers: Headers,
  query: URLSearchParams,
  listensOn: string,
): AccessProblem | undefined {
  if ([...query.keys()].some((name) => TOKEN_PARAMETERS.test(name))) {
    return {
      status: 400,
      code: 'token_in_query',
      message: 'a token is not taken from the query: URLs are kept in logs and histories',
      hint: 'send it as the header Authorization: Bearer TOKEN, and make a new one: this one may be in a log',
    };
  }
  if (headers['origin'] !== undefined || isOfPage(headers['sec-fetch-site'])) {
    return {
      status: 403,
      code: 'origin_refused',
      message: 'requests of web pages are not taken',
      hint: 'use the fairlane command, curl or a program',
    };
  }
  const host = String(headers['host'] ?? '');
  if (isLoopback(listensOn) && !isLoopback(host.replace(/:\d{1,5}$/, ''))) {
    return {
      status: 403,
      code: 'host_refused',
      message: 'requests are taken under a loopback address or localhost only',
      hint: 'use the address in admin.address of the configuration',
    };
  }
  return undefined;
}

const isOfPage = (site: Headers[string]): boolean => site !== undefined && site !== 'none';

const digestOf = (text: string): Buffer => createHash('sha256').update(text).digest();

/** By their digests, in constant time: neither the token nor its length can be told from how long it takes. */
const isEqual = (a: string, b: string): boolean => timingSafeEqual(digestOf(a), digestOf(b));

export function accessOf(
  headers: Headers,
  { token, readToken }: Pick<AdminConfig, 'token' | 'readToken'>,
): Access | undefined {
  const given = BEARER.exec(String(headers['authorization'] ?? ''))?.[1] ?? '';
  if (given === '' || given.length > LONGEST_TOKEN) return undefined;
  const mayWrite = isEqual(given, token);
  const mayRead = isEqual(given, readToken ?? token);
  if (mayWrite && token !== '') return 'write';
  return mayRead && readToken !== undefined && readToken !== '' ? 'read' : undefined;
}

export const NO_TOKEN: AccessProblem = {
  status: 401,
  code: 'unauthorized',
  message: 'the token is missing or wrong',
  hint: 'send Authorization: Bearer TOKEN with the token that admin.token or admin.readToken of the configuration names',
};

export const READ_ONLY: AccessProblem = {
  status: 403,
  code: 'read_only',
  message: 'this token may only read',
  hint: 'use the one that admin.token of the configuration names',
};
