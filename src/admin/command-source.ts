/**
 * Who may command. Nobody is authenticated on that port: whoever is on this machine may, and no web page that is open on it.
 *
 * A page reaches a loopback address in two ways: from its own origin, which browsers say (`Origin`, `Sec-Fetch-Site`), or under a
 * name of its own that it binds to 127.0.0.1, which stands in `Host`. Neither can send a header of ours without being let.
 */

import type { ConsoleMode } from '../config/console.ts';
import { isLoopback } from '../domain/loopback.ts';

type Headers = Readonly<Record<string, string | readonly string[] | undefined>>;

/** Browsers do not send it to another site without being allowed to. */
export const COMMAND_HEADER = 'x-fairlane-command';

const withoutPort = (authority: string): string => authority.replace(/:\d{1,5}$/, '');

/** What keeps a command out, for whoever sent it. */
export function refusalOf(headers: Headers, listensOn: string): string | undefined {
  if (!isLoopback(listensOn)) {
    return `service.metrics is on ${listensOn}, where anybody could command: put it on 127.0.0.1`;
  }
  if (!isLoopback(hostOf(headers))) return 'commands are taken under a loopback address or localhost only';
  if (headers[COMMAND_HEADER] === undefined) {
    return `commands have the header ${COMMAND_HEADER}, as \`fairlane drain\` and \`fairlane explain\` send it`;
  }
  return pageRefusalOf(headers, 'commands are not taken from');
}

/** `auto`: where only this machine is listened to, since request lines say who asked for what, and when. */
export const isConsoleOn = (mode: ConsoleMode, listensOn: string): boolean =>
  mode === 'on' || (mode === 'auto' && isLoopback(listensOn));

/**
 * What keeps a reader from the status and from the lines of requests. A page that binds its own name to this address (DNS rebinding)
 * says that name: where others are listened to, it must be an address, a name that the Internet gives to nobody, or the one that
 * the configuration has.
 */
export function readerRefusalOf(headers: Headers, listensOn: string): string | undefined {
  const host = hostOf(headers);
  if (!isLoopback(host)) {
    if (isLoopback(listensOn)) return 'it is answered under a loopback address or localhost only';
    if (!isPrivateName(host) && host.toLowerCase() !== listensOn.toLowerCase()) {
      return 'it is answered under an address, localhost, a name without a dot, or one in .local, .internal or .svc';
    }
  }
  return pageRefusalOf(headers, 'it is not answered to');
}

const isPrivateName = (host: string): boolean =>
  /^\[[\da-f:.]+\]$/i.test(host) ||
  /^\d{1,3}(?:\.\d{1,3}){3}$/.test(host) ||
  /^[\w-]+$/.test(host) ||
  /^[\w.-]+\.(?:local|internal|svc)$/i.test(host);

const hostOf = (headers: Headers): string => withoutPort(String(headers['host'] ?? ''));

/** What keeps a web page out that is of another origin than this port. */
function pageRefusalOf(headers: Headers, what: string): string | undefined {
  if (headers['origin'] !== undefined && headers['origin'] !== `http://${String(headers['host'] ?? '')}`) {
    return `${what} a web page of another origin`;
  }
  const site = headers['sec-fetch-site'];
  if (site !== undefined && site !== 'same-origin' && site !== 'none') {
    return `${what} a web page of another site`;
  }
  return undefined;
}
