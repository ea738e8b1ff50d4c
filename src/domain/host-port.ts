/** `host:port`, as URLs have it: an IPv6 address is in brackets. */
export const hostPortText = ({ host, port }: { readonly host: string; readonly port: number }): string =>
  `${host.includes(':') ? `[${host}]` : host}:${port}`;
