/**
 * What Envoy shows to engines and checks them by: keys, certificates, authorities. Each is a file of its own that Envoy watches
 * (SDS), so that a new one takes its place without a connection being cut, and Envoy's config dump shows `[redacted]`.
 */
import { createHash } from 'node:crypto';
import type { EndpointConfig, EngineSecret, PoolConfig } from '../config/config.ts';
import { type JsonMap, type } from './envoy-json.ts';

const SECRETS = 'engine-secret@';
/** The authorities of endpoints that name none, for all pools. */
const ROOTS = `${SECRETS}roots`;

export const isSecretsFile = (name: string): boolean => name.startsWith(SECRETS);

const fileOf = (name: string): string => `${name}.json`;

/** Of an endpoint, for names of files: its URL has characters that those cannot have. */
const shortOf = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 16);

type What = 'key' | 'ca' | 'identity';

/**
 * By whose it is, not by what it says: a secret changes in its place. `@` is in no pool's name.
 */
const nameOf = (what: What, { of }: EngineSecret, { pool = '', url }: EndpointConfig): string =>
  `${SECRETS}${what}@${pool}${of === 'pool' ? '' : `@${shortOf(url)}`}`;

/** Undefined: it wants none. */
export const keyNameOf = (endpoint: EndpointConfig): string | undefined =>
  endpoint.apiKey && nameOf('key', endpoint.apiKey, endpoint);

/** Of the authorities. */
export const caNameOf = (endpoint: EndpointConfig): string =>
  endpoint.tls?.ca === undefined ? ROOTS : nameOf('ca', endpoint.tls.ca, endpoint);

export const identityNameOf = (endpoint: EndpointConfig): string | undefined =>
  endpoint.tls?.identity && nameOf('identity', endpoint.tls.identity, endpoint);

/** Where Envoy finds a secret. @param directory of the files that Envoy watches. */
export const secretSource = (name: string, directory: string): JsonMap => ({
  name,
  sds_config: {
    path_config_source: { path: `${directory}/${fileOf(name)}` },
    resource_api_version: 'V3',
  },
});

const inline = (text: string): JsonMap => ({ inline_string: text });

function secretsOf(endpoint: EndpointConfig, authorities: string): readonly (readonly [string, JsonMap])[] {
  const { apiKey, tls } = endpoint;
  const all: (readonly [string | undefined, JsonMap])[] = [
    [keyNameOf(endpoint), { generic_secret: { secret: inline(`Bearer ${apiKey?.value ?? ''}`) } }],
    [
      identityNameOf(endpoint),
      {
        tls_certificate: {
          certificate_chain: inline(tls?.identity?.cert ?? ''),
          private_key: inline(tls?.identity?.value ?? ''),
        },
      },
    ],
    [
      tls === undefined || tls.insecureSkipVerify === true ? undefined : caNameOf(endpoint),
      { validation_context: { trusted_ca: inline(tls?.ca?.value ?? authorities) } },
    ],
  ];
  return all.flatMap(([name, secret]) => (name === undefined ? [] : [[name, secret] as const]));
}

/** File name → discovery response. @param authorities PEM, for endpoints without any of their own. */
export function secretFilesOf(
  pools: Iterable<PoolConfig>,
  authorities: string,
): ReadonlyMap<string, JsonMap> {
  const files = new Map<string, JsonMap>();
  for (const { endpoints } of pools) {
    for (const [name, secret] of endpoints.flatMap((endpoint) => secretsOf(endpoint, authorities))) {
      files.set(fileOf(name), {
        resources: [{ ...type('envoy.extensions.transport_sockets.tls.v3.Secret'), name, ...secret }],
      });
    }
  }
  return files;
}
