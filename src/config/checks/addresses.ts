/** Addresses that Fairlane and Envoy listen on. */
import type { Config, HostPort } from '../config.ts';
import { hostPort } from '../values.ts';
import { at } from '../written-data.ts';
import type { Path } from '../yaml-source.ts';
import type { Check } from './check.ts';
import type { Endpoints } from './endpoints.ts';
import type { FoundListener } from './listeners.ts';

/** Linux takes 107 bytes, macOS 103. */
const LONGEST_SOCKET_PATH = 103;

const LISTENERS: readonly (readonly [path: readonly [string, ...string[]], standard: string])[] = [
  [['envoy', 'admin'], '127.0.0.1:9901'],
  [['service', 'metrics'], '127.0.0.1:9464'],
  [['service', 'address'], 'unix:'],
  [['rateLimit', 'http'], ''],
];

/** No two listeners share an address, and no endpoint is Envoy's own listener: that would be a loop. */
export function checkAddresses(
  listeners: readonly FoundListener[],
  endpoints: Endpoints,
  { root, report }: Check,
): void {
  const taken: { path: Path; address: HostPort }[] = [];
  const clash = (path: Path, other: Path, address: HostPort, remedy: string): void => {
    report.problem(path, `port ${address.port} is already taken by ${other.join('.')}; ${remedy}`);
  };
  const written: readonly (readonly [Path, unknown])[] = [
    ...listeners.map(({ addressPath, address }) => [addressPath, address] as const),
    ...LISTENERS.map(([path, standard]) => [path, at(root, ...path) ?? standard] as const),
  ];
  for (const [path, text] of written) {
    // A `unix:` address is no host and port either.
    const address = typeof text === 'string' ? hostPort(text, 'any') : undefined;
    if (address === undefined) continue;
    const other = taken.find((earlier) => overlap(earlier.address, address));
    if (other !== undefined) clash(path, other.path, address, 'give each its own');
    taken.push({ path, address });
  }
  for (const { path, config: address } of [...endpoints.values()].flat()) {
    const other = taken.find((listening) => reaches(address, listening.address));
    if (other !== undefined) clash(path, other.path, address, 'an endpoint is an engine, give its address');
  }
}

const IPV4 = /^\d+\.\d+\.\d+\.\d+$/;
const isAnyAddress = (host: string): boolean => host === '0.0.0.0' || host === '::';
const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || host.startsWith('127.');

/** Whether a connection to `target` reaches `listening`, as far as the addresses tell. */
function reaches(target: HostPort, listening: HostPort): boolean {
  if (target.port !== listening.port) return false;
  const [to, on] = [target.host.toLowerCase(), listening.host.toLowerCase()];
  if (to === on) return true;
  return isLoopback(to) && (isAnyAddress(on) || (isLoopback(on) && [to, on].includes('localhost')));
}

/** Whether one machine cannot listen on both. */
function overlap(a: HostPort, b: HostPort): boolean {
  if (a.port !== b.port) return false;
  if (isAnyAddress(a.host)) return isAnyAddress(b.host) || IPV4.test(b.host) || isLoopback(b.host);
  return isAnyAddress(b.host) ? overlap(b, a) : reaches(a, b);
}

/** Paths that sockets cannot have, and one for two of them. */
export function checkSockets({ service, envoy, picker }: Config, { report }: Check): void {
  const { address } = service;
  if (picker !== undefined && address.kind === 'unix') {
    report.problem(
      ['service', 'address'],
      'must be host:port with mode: endpoint-picker, for example 0.0.0.0:9002; a gateway connects over TCP',
    );
  }
  const { admin } = envoy;
  const sockets: readonly (readonly [Path, string | undefined])[] = [
    [['service', 'address'], address.kind === 'unix' ? address.path : undefined],
    [['envoy', 'admin'], 'path' in admin ? admin.path : undefined],
  ];
  for (const [path, socket] of sockets) {
    if (socket === undefined || Buffer.byteLength(socket) <= LONGEST_SOCKET_PATH) continue;
    report.problem(
      path,
      `the socket's path is longer than ${LONGEST_SOCKET_PATH} bytes, more than systems take; shorten it or envoy.directory`,
    );
  }
  if ('path' in admin && address.kind === 'unix' && admin.path === address.path) {
    report.problem(['envoy', 'admin'], 'is the same socket as service.address; give each its own');
  }
}
