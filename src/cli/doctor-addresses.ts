/** What `fairlane doctor` says of an endpoint's name, and which addresses are asked. */
import { isIP } from 'node:net';
import type { Config, EndpointConfig } from '../config/config.ts';
import { messageOf } from '../domain/text-of.ts';
import { lookUpWith, usableOf } from '../envoy/dns-endpoints.ts';
import type { Tell } from './doctor-findings.ts';

/** Engines behind one name are usually alike. */
const MOST_ASKED = 16;

/** The endpoint at each address that its name stands for. Never rejects. @returns none when its name has no address. */
export async function addressesOf(
  pool: string,
  endpoint: EndpointConfig,
  { service }: Config,
  tell: Tell,
): Promise<readonly EndpointConfig[]> {
  const { host, url } = endpoint;
  if (isIP(host) > 0) return [endpoint];
  const where = `pool ${pool}, ${url}`;
  try {
    const addresses = usableOf(await lookUpWith(service.dns.servers)(host));
    if (addresses.length === 0) throw new Error('it has no address that can be used');
    if (addresses.length === 1) return addresses.map((address) => ({ ...endpoint, address }));
    const asked = addresses.slice(0, MOST_ASKED);
    const rest = addresses.length > asked.length ? `, of which the first ${asked.length} are asked` : '';
    tell('ok', `${where}: ${host} stands for ${addresses.length} addresses${rest}: ${asked.join(', ')}`);
    return asked.map((address) => ({ ...endpoint, url: `${url}#${address}`, address }));
  } catch (error) {
    const reason = messageOf(error);
    tell(
      'problem',
      `${where}: ${host} cannot be looked up: ${reason}; is the name right, and service.dns.servers?`,
    );
    return [];
  }
}
