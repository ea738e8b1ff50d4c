/** The values of the configuration that have a notation of their own: durations, sizes, addresses, endpoint URLs. */
import * as z from 'zod';
import type { AdminAddress, HostPort, ServiceAddress } from './addresses.ts';
import type { EndpointConfig } from './pools.ts';

/** Says what a value must be; `input` is what was written. */
export const must =
  (what: string) =>
  ({ input }: { readonly input?: unknown }): string => {
    if (input === undefined) return `is missing; it must be ${what}`;
    if (input === null) return `is empty; it must be ${what}, or remove the line`;
    return `must be ${what}`;
  };

const MS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 } as const;
const BYTES = { B: 1, KiB: 1_024, MiB: 1_024 ** 2, GiB: 1_024 ** 3 } as const;

export const DURATION_PATTERN = /^(\d{1,9})(ms|s|m|h)$/;
export const SIZE_PATTERN = /^(\d{1,9})(B|KiB|MiB|GiB)$/;
/** Absolute, or relative to the configuration's folder. */
export const FILE_PATH = /^\/?[^\p{C}]{1,511}$/u;

/** `30s` → 30000; undefined if it is not written so. */
export function durationMs(text: string): number | undefined {
  const [, count, unit] = DURATION_PATTERN.exec(text) ?? [];
  return unit === undefined ? undefined : Number(count) * MS[unit as keyof typeof MS];
}

/** `8MiB` → 8388608; undefined if it is not written so. */
export function sizeBytes(text: string): number | undefined {
  const [, count, unit] = SIZE_PATTERN.exec(text) ?? [];
  return unit === undefined ? undefined : Number(count) * BYTES[unit as keyof typeof BYTES];
}

const MOMENT =
  /^(?:19|20|21)\d\d-(\d\d)-(\d\d)(?:T(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d{1,3})?)?(?:Z|[+-](?:0\d|1[0-4]):[0-5]\d))?$/;

/** `2027-01-01`, its beginning in UTC, or RFC 3339 `2027-01-01T08:00:00+01:00` → Unix time in milliseconds; undefined: it is no such moment. */
export function momentMs(text: string): number | undefined {
  const [, month, day] = MOMENT.exec(text) ?? [];
  if (month === undefined) return undefined;
  // Of a month that has no such day the language takes the next one's.
  const isDay = new Date(`${text.slice(0, 10)}T00:00:00Z`).getUTCDate() === Number(day);
  const ms = Date.parse(text);
  return isDay && Number.isFinite(ms) ? ms : undefined;
}

const LABEL = '[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?';
const HOST_NAME = new RegExp(`^(?:${LABEL}\\.)*${LABEL}$`);

export const isIp = (host: string): boolean => z.regexes.ipv4.test(host) || z.regexes.ipv6.test(host);
/** A name whose last label is a number would be read as an IPv4 address by some and as a name by others. */
const isHostName = (host: string): boolean =>
  host.length <= 253 && HOST_NAME.test(host) && !/(?:^|\.)\d+$/.test(host);

/** `host:port` or `[v6]:port`. With `ip`, names are refused. */
export function hostPort(text: string, accept: 'ip' | 'any'): HostPort | undefined {
  const [, bracketed, plain, digits] = /^(?:\[([^\]]*)\]|([^:]*)):(\d{1,5})$/.exec(text) ?? [];
  const port = Number(digits);
  if (!(port >= 1 && port <= 65_535)) return undefined;
  if (bracketed !== undefined) {
    return z.regexes.ipv6.test(bracketed) ? { host: bracketed, port } : undefined;
  }
  const host = plain ?? '';
  const known = z.regexes.ipv4.test(host) || (accept === 'any' && isHostName(host));
  return known ? { host, port } : undefined;
}

/** `ip`, `ip:port` or `[v6]:port`, as Node.js takes it. */
export function dnsServer(text: string): string | undefined {
  return isIp(text) || hostPort(text, 'ip') !== undefined ? text : undefined;
}

/** `unix:PATH` or `host:port`. The path may be relative: to `envoy.directory`. */
export function serviceAddress(text: string): ServiceAddress | undefined {
  if (!text.startsWith('unix:')) {
    const tcp = hostPort(text, 'any');
    return tcp && { kind: 'tcp', ...tcp };
  }
  const path = text.slice('unix:'.length);
  return path === '' || /\p{C}/u.test(path) ? undefined : { kind: 'unix', path };
}

/** `unix:PATH` or `ip:port`. The path may be relative: to `envoy.directory`. */
export function adminAddress(text: string): AdminAddress | undefined {
  if (!text.startsWith('unix:')) return hostPort(text, 'ip');
  const path = text.slice('unix:'.length);
  return path === '' || /\p{C}/u.test(path) ? undefined : { path };
}

/** Of a URL of each scheme that engines are reached by. */
const DEFAULT_PORTS: Readonly<Record<string, number>> = { 'http:': 80, 'https:': 443 };
const EXAMPLE = 'for example http://127.0.0.1:8000 or https://llm.example.com/llm';
const LONGEST_PREFIX = 256;

/** Where an engine is. `prefix` stands before each path; absent: none. */
export type EngineAddress = Pick<EndpointConfig, 'url' | 'host' | 'port' | 'prefix'> & {
  /** It is reached by TLS. */
  readonly isSecure: boolean;
};

/** An engine's address. The problem never repeats the text: it may carry credentials. */
export function endpoint(
  text: string,
):
  | { readonly kind: 'ok'; readonly endpoint: EngineAddress }
  | { readonly kind: 'bad'; readonly problem: string } {
  const bad = (problem: string) => ({ kind: 'bad', problem }) as const;
  const url = /^https?:\/\/[^\s\\\p{C}]+$/iu.test(text) ? parseUrl(text) : undefined;
  if (url === undefined) return bad(`must be an http:// URL, or https://, with a host, ${EXAMPLE}`);
  if (url.username !== '' || url.password !== '' || /^[^/]*\/\/[^/?#]*@/.test(text)) {
    return bad('must not carry credentials; give the engine’s key as apiKey: env:NAME or file:PATH');
  }
  if (/[?#]/.test(text)) return bad('must not have a query or fragment; write scheme, host, port and path');
  const prefix = prefixOf(text, url);
  if (prefix === undefined) {
    return bad(
      `has a path that is none: up to ${LONGEST_PREFIX} visible characters, without //, . or .. as a step`,
    );
  }
  const bracketed = url.hostname.startsWith('[');
  const host = bracketed ? url.hostname.slice(1, -1) : url.hostname;
  const port = url.port === '' ? (DEFAULT_PORTS[url.protocol] ?? 0) : Number(url.port);
  if (port === 0) return bad('has port 0; give the port that the engine listens on');
  if (host === '0.0.0.0' || host === '::') {
    return bad(
      `${host} is an address to listen on; give the one to connect to, for example http://127.0.0.1:8000`,
    );
  }
  if (!isIp(host) && !isHostName(host)) {
    return bad('has no valid host name; write http://host:port, for example http://engine:8000');
  }
  return {
    kind: 'ok',
    endpoint: {
      url: `${url.protocol}//${url.hostname}:${port}${prefix}`,
      host,
      port,
      isSecure: url.protocol === 'https:',
      ...(prefix !== '' && { prefix }),
    },
  };
}

/**
 * What stands before `/v1` in every path of an engine; empty: nothing. A `/v1` at the end is how clients write the same address.
 * Undefined: no path that means one thing to everybody.
 */
function prefixOf(text: string, { pathname }: URL): string | undefined {
  const [, written = ''] = /^[^/]*\/\/[^/]*(\/.*)?$/.exec(text) ?? [];
  if (/(^|\/)(\.|%2e){1,2}(\/|$)/i.test(written) || written.includes('//') || /%2f|%5c|%00/i.test(written)) {
    return undefined;
  }
  const path = pathname.replace(/\/$/, '').replace(/\/v1$/, '');
  return path.length <= LONGEST_PREFIX && /^[\x21-\x7e]*$/.test(path) ? path : undefined;
}

function parseUrl(text: string): URL | undefined {
  return URL.canParse(text) ? new URL(text) : undefined;
}
