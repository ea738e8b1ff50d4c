/** Where something listens. */
import { hostPortText } from '../domain/host-port.ts';

export interface HostPort {
  /** IP address or host name, without brackets. */
  readonly host: string;
  readonly port: number;
}

/** Where Envoy's admin page is: an address, or the absolute path of a Unix socket. */
export type AdminAddress = HostPort | { readonly path: string };

/** Where the gRPC service listens and Envoy finds it. */
export type ServiceAddress =
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number };

const OWN: ReadonlyMap<string, string> = new Map([
  ['0.0.0.0', '127.0.0.1'],
  ['::', '::1'],
]);

/** Where this machine reaches it: what listens on all addresses listens on its own, too. */
export const reachedAt = ({ host, port }: HostPort): HostPort => ({ host: OWN.get(host) ?? host, port });

export const urlOf = (address: HostPort, scheme = 'http'): string =>
  `${scheme}://${hostPortText(reachedAt(address))}`;

/** Where clients on this machine send to, without `/v1`. */
export const apiUrlOf = ({ address, tls }: { readonly address: HostPort; readonly tls?: unknown }): string =>
  urlOf(address, tls === undefined ? 'http' : 'https');
