/** `listen`: where clients connect. */
import * as z from 'zod';
import { must } from '../values.ts';
import { about, filePath, listenAddress, section, serverCertificate } from './dsl.ts';

const EXAMPLE = '127.0.0.1:8080';
const MOST_LISTENERS = 16;

const address = listenAddress(EXAMPLE, 'Where clients connect.');

const tls = section(
  {
    ...serverCertificate,
    clientCa: filePath(
      'tls/clients.pem',
      'Authorities (PEM) of clients: each must show a certificate from one of them, besides its key or token. Default: none is asked for.',
    ).optional(),
  },
  'TLS from version 1.2, with HTTP/2 by ALPN.',
);

const listener = section({ address, tls: tls.optional() }, 'A listener.');

const one = z.union([address, listener], {
  error: must(
    `an IP address and a port, for example ${EXAMPLE} or [::1]:8080, or a mapping with address and tls`,
  ),
});

const error = must(
  `an IP address and a port, for example ${EXAMPLE} or [::1]:8080, a mapping with address and tls, or a list of 1 to ${MOST_LISTENERS} of these`,
);

export const listen = z
  .union([address, listener, z.array(one, { error }).min(1, { error }).max(MOST_LISTENERS, { error })], {
    error,
  })
  .meta(
    about(
      'Where clients connect: Envoy’s listener, or a list of several.',
      '`ip:port`, a mapping, or a list of them',
    ),
  )
  .prefault(EXAMPLE);
