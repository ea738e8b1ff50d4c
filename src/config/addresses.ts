/** Where something listens. */

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
