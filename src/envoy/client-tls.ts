/**
 * TLS with clients. Certificates and keys are in files that Envoy watches: a renewal is written there by the service, once it is
 * right, and is for the next connection.
 */
import type { Config, ListenerConfig } from '../config/config.ts';
import { duration, type JsonMap, type } from './envoy-json.ts';

/** Of clients that open a connection and do not shake hands. */
const HANDSHAKE_MS = 10_000;

const suffixOf = ({ address: { host, port } }: ListenerConfig): string =>
  `${host.replaceAll(/[^0-9a-z]/gi, '-')}-${port}`;
const certificateName = (listener: ListenerConfig): string => `certificate-${suffixOf(listener)}`;
const clientCaName = (listener: ListenerConfig): string => `client-ca-${suffixOf(listener)}`;
const fileOf = (name: string): string => `${name}.json`;

/** Of a filter chain: what a client must speak. */
export function transportOf({ envoy }: Config, listener: ListenerConfig): JsonMap {
  const { tls } = listener;
  if (tls === undefined) return {};
  const secret = (name: string): JsonMap => ({
    name,
    sds_config: {
      path_config_source: { path: `${envoy.directory}/${fileOf(name)}` },
      resource_api_version: 'V3',
    },
  });
  return {
    transport_socket_connect_timeout: duration(HANDSHAKE_MS),
    transport_socket: {
      name: 'envoy.transport_sockets.tls',
      typed_config: {
        ...type('envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext'),
        common_tls_context: {
          tls_params: { tls_minimum_protocol_version: 'TLSv1_2' },
          alpn_protocols: ['h2', 'http/1.1'],
          tls_certificate_sds_secret_configs: [secret(certificateName(listener))],
          ...(tls.clientCa !== undefined && {
            validation_context_sds_secret_config: secret(clientCaName(listener)),
          }),
        },
        ...(tls.clientCa !== undefined && { require_client_certificate: true }),
      },
    },
  };
}

const secretOf = (name: string, content: JsonMap): readonly [file: string, JsonMap] => [
  fileOf(name),
  {
    resources: [{ ...type('envoy.extensions.transport_sockets.tls.v3.Secret'), name, ...content }],
  },
];

/** File name → discovery response, of all listeners that speak TLS. */
export function listenerSecretFilesOf({ listen }: Config): ReadonlyMap<string, JsonMap> {
  return new Map(
    listen.flatMap((listener) => {
      const { tls } = listener;
      if (tls === undefined) return [];
      const certificate = secretOf(certificateName(listener), {
        tls_certificate: {
          certificate_chain: { inline_string: tls.cert },
          private_key: { inline_string: tls.key },
        },
      });
      if (tls.clientCa === undefined) return [certificate];
      return [
        certificate,
        secretOf(clientCaName(listener), {
          validation_context: { trusted_ca: { inline_string: tls.clientCa } },
        }),
      ];
    }),
  );
}
