/**
 * Media that an engine would fetch: from inside of its network, with its rights. By default only `data:` is taken.
 *
 * What is allowed is read more strictly than any engine reads it, so that no engine finds another host in it than is found here.
 */
import type { MediaPolicy } from '../config/config.ts';
import type { ApiError } from '../domain/api-error.ts';
import { invalidRequest } from './error-body.ts';
import type { JsonDocument } from './json/document.ts';

const DATA = 'data:';
const MOST_BYTES = 2_048;
/** No user, no brackets, no backslash, no white space, no escapes before the path. */
const ADDRESS =
  /^https?:\/\/([a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?)(?::\d{1,5})?(?:[/?#][\x21-\x5b\x5d-\x7e]*)?$/;

const refused = (message: string, param: string): ApiError => invalidRequest(message, param, 'media_refused');

function isListed(host: string, hosts: readonly string[]): boolean {
  return hosts.some((one) => (one.startsWith('*.') ? host.endsWith(one.slice(1)) : host === one));
}

/** Why a medium may not be taken from there; undefined: it may. @param at a string. */
export function mediumRefusal(
  document: JsonDocument,
  at: number,
  { urls, hosts }: MediaPolicy,
  param: string,
): ApiError | undefined {
  if (document.begins(at, DATA)) return undefined;
  if (urls === 'refuse') {
    return refused(
      'Media are taken only as `data:` URLs with their data in base64 (media.urls). Send it in the request.',
      param,
    );
  }
  const text = document.more(at) > MOST_BYTES ? '' : document.text(at);
  const host = ADDRESS.exec(text)?.[1];
  if (host === undefined) {
    return refused(
      `The address of a medium must be a plain http:// or https:// URL in lower-case letters up to the path, of at most ${MOST_BYTES} bytes, or a \`data:\` URL.`,
      param,
    );
  }
  if (urls === 'allow-list' && !isListed(host, hosts)) {
    return refused('Media are not taken from that host (media.hosts). Send it as a `data:` URL.', param);
  }
  return undefined;
}
