/**
 * TLS with Fairlane's own service. Envoy takes exactly the certificate that is configured, whoever has signed it: it need name no
 * host. Which one that is stands in a file that Envoy watches, and is written there before the service shows another.
 */
import { createHash, X509Certificate } from 'node:crypto';
import type { Config } from '../config/config.ts';
import { secretSource } from './engine-secrets.ts';
import { type JsonMap, type } from './envoy-json.ts';

const NAME = 'service-certificate';

/** Of the first certificate in a PEM text, as Envoy has it: SHA-256, in hexadecimal. */
const hashOf = (pem: string): string =>
  createHash('sha256').update(new X509Certificate(pem).raw).digest('hex');

/** How the service is connected to; empty: in plain text. */
export function serviceTransportOf({ service: { tls }, envoy: { directory } }: Config): JsonMap {
  if (tls === undefined) return {};
  return {
    transport_socket: {
      name: 'envoy.transport_sockets.tls',
      typed_config: {
        ...type('envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext'),
        common_tls_context: {
          tls_params: { tls_minimum_protocol_version: 'TLSv1_2', tls_maximum_protocol_version: 'TLSv1_3' },
          alpn_protocols: ['h2'],
          validation_context_sds_secret_config: secretSource(NAME, directory),
        },
      },
    },
  };
}

/** File name → discovery response; empty without TLS. */
export function serviceSecretFilesOf({ service: { tls } }: Config): ReadonlyMap<string, JsonMap> {
  if (tls === undefined) return new Map();
  const secret = {
    ...type('envoy.extensions.transport_sockets.tls.v3.Secret'),
    name: NAME,
    validation_context: { verify_certificate_hash: [hashOf(tls.cert)] },
  };
  return new Map([[`${NAME}.json`, { resources: [secret] }]]);
}
