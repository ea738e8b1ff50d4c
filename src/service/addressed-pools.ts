/**
 * Pools with an endpoint for each address that a name stands for. Pure.
 *
 * | an address | new requests |
 * |---|---|
 * | is listed: the last answer has it | yes |
 * | is kept: the last answer does not have it, but it is healthy and none that is listed is, yet | yes |
 * | leaves: it is not listed, and others serve, or it is not healthy | no; it is gone once it has no requests |
 *
 * An endpoint is known by `http://name:port#address`, whatever else its name stands for, so that it stays the same one while
 * others come and go. It is shown so where its name has several, and as it is configured where it is alone.
 */
import { isIP } from 'node:net';
import type { EndpointConfig, PoolConfig } from '../config/config.ts';

type AddressUse = 'listed' | 'kept' | 'leaving';
/** Of one configured endpoint: by IP address. */
export type AddressUses = ReadonlyMap<string, AddressUse>;

/** What is known of an address that is in use. */
export interface AddressState {
  readonly healthy: boolean;
  /** Requests. */
  readonly inFlight: number;
}

/** Endpoints that one name may stand for. */
export const MOST_ADDRESSES = 128;

export interface AddressedPool {
  /** An endpoint for each address; drains, zones and slow clients' endpoints name those. */
  readonly config: PoolConfig;
  /** By endpoint (`url`): what it is called in logs and on pages. */
  readonly labels: ReadonlyMap<string, string>;
  /** By endpoint: the configured URLs that stand for it. Two names may have the same address. */
  readonly configured: ReadonlyMap<string, readonly string[]>;
}

/** `ip:port`, as Envoy knows the endpoint; with the name while that has not been resolved. */
export function addressOf({ address, host, port }: EndpointConfig): string {
  const ip = address ?? host;
  return `${ip.includes(':') ? `[${ip}]` : ip}:${port}`;
}

/**
 * What becomes of a name's addresses.
 *
 * @param listed by the last answer; at least one. Those that are in use come first where there are too many.
 * @param stateOf undefined: it is not in use.
 */
export function followAddresses(
  known: AddressUses,
  listed: readonly string[],
  stateOf: (address: string) => AddressState | undefined,
): AddressUses {
  const inTurn = [...listed.filter((one) => known.has(one)), ...listed.filter((one) => !known.has(one))];
  const taken = new Set(inTurn.slice(0, MOST_ADDRESSES));
  const serves = [...taken].some((one) => stateOf(one)?.healthy === true);
  const uses = new Map<string, AddressUse>();
  for (const address of [...taken].sort()) uses.set(address, 'listed');
  for (const address of known.keys()) {
    const state = stateOf(address);
    if (uses.has(address) || state === undefined || uses.size >= 2 * MOST_ADDRESSES) continue;
    if (state.healthy && !serves) uses.set(address, 'kept');
    else if (state.inFlight > 0) uses.set(address, 'leaving');
  }
  return uses;
}

/** One endpoint of a pool that is made. */
interface Made {
  readonly endpoint: EndpointConfig;
  readonly configured: string[];
  label: string;
  isLeaving: boolean;
}

/** @param usesOf a configured endpoint's addresses; undefined: its name has not been resolved yet. */
export function addressedPool(
  pool: PoolConfig,
  usesOf: (url: string) => AddressUses | undefined,
): AddressedPool {
  const made = new Map<string, Made>();
  const add = (endpoint: EndpointConfig, configured: string, label: string, isLeaving: boolean): void => {
    const known = made.get(addressOf(endpoint));
    if (known === undefined) {
      made.set(addressOf(endpoint), { endpoint, configured: [configured], label, isLeaving });
      return;
    }
    known.configured.push(configured);
    known.isLeaving &&= isLeaving;
  };
  // An address that is configured as such is its own endpoint, whatever names stand for it too.
  for (const endpoint of pool.endpoints) {
    if (isIP(endpoint.host) > 0) {
      add({ ...endpoint, address: endpoint.host }, endpoint.url, endpoint.url, false);
    }
  }
  for (const endpoint of pool.endpoints) {
    if (isIP(endpoint.host) > 0) continue;
    const { url } = endpoint;
    const uses = usesOf(url);
    if (uses === undefined) add(endpoint, url, url, false);
    const inUse = [...(uses ?? [])];
    const alone = inUse.filter(([, use]) => use === 'listed').length === 1;
    for (const [address, use] of inUse) {
      const key = `${url}#${address}`;
      add({ ...endpoint, url: key, address }, url, alone && use === 'listed' ? url : key, use === 'leaving');
    }
  }
  return { ...namesOf([...made.values()]), config: configOf(pool, [...made.values()]) };
}

const namesOf = (made: readonly Made[]): Omit<AddressedPool, 'config'> => ({
  labels: new Map(made.map(({ endpoint, label }) => [endpoint.url, label])),
  configured: new Map(made.map(({ endpoint, configured }) => [endpoint.url, configured])),
});

function configOf(pool: PoolConfig, made: readonly Made[]): PoolConfig {
  const order = new Map(pool.endpoints.map(({ url }, i) => [url, i]));
  const placeOf = ({ configured: [first = ''] }: Made): number => order.get(first) ?? 0;
  const inOrder = made.toSorted((a, b) => placeOf(a) - placeOf(b));
  const of = (urls: readonly string[]): readonly string[] =>
    inOrder.filter(({ configured }) => configured.some((url) => urls.includes(url))).map(urlOf);
  const leaving = inOrder.filter(({ isLeaving }) => isLeaving).map(urlOf);
  const { choice } = pool;
  return {
    ...pool,
    endpoints: inOrder.map(({ endpoint }) => endpoint),
    drain: [...new Set([...of(pool.drain), ...leaving])],
    choice: {
      ...choice,
      slowClients: of(choice.slowClients),
      zones: new Map([...choice.zones].map(([zone, urls]) => [zone, of(urls)])),
    },
  };
}

const urlOf = ({ endpoint }: Made): string => endpoint.url;
