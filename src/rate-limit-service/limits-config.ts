/**
 * The configuration language of the reference rate limit service (envoyproxy/ratelimit), as it is: domains with nested
 * descriptors. The same files load, and what is wrong is told in the same words.
 */
import { messageOf } from '../domain/text-of.ts';
import type { StoredLimit } from '../limit/store.ts';
import { LimitsError, readLimitsFile, type WrittenDescriptor, type WrittenFile } from './limits-file.ts';
import type { Struct } from './struct.ts';

/** The numbers of envoy.service.ratelimit.v3.RateLimitResponse.RateLimit.Unit. */
const UNITS: ReadonlyMap<string, number> = new Map([
  ['SECOND', 1],
  ['MINUTE', 2],
  ['HOUR', 3],
  ['DAY', 4],
  ['MONTH', 5],
  ['YEAR', 6],
  ['WEEK', 7],
]);
const DAY_MS = 86_400_000;
const UNIT_MS: Readonly<Record<number, number>> = {
  1: 1_000,
  2: 60_000,
  3: 3_600_000,
  4: DAY_MS,
  5: 30 * DAY_MS,
  6: 365 * DAY_MS,
  7: 7 * DAY_MS,
};

export interface Rate {
  readonly requestsPerUnit: number;
  /** As on the wire. */
  readonly unit: number;
  readonly stored: StoredLimit;
}

/** Undefined for a unit that is none. */
export function rateOf(requestsPerUnit: number, unit: number): Rate | undefined {
  const unitMs = UNIT_MS[unit];
  return unitMs === undefined
    ? undefined
    : { requestsPerUnit, unit, stored: { amount: requestsPerUnit, unitMs } };
}

export interface RateLimit {
  /** `domain.key_value.key`, as metrics call it. */
  readonly fullKey: string;
  /** Undefined: unlimited. */
  readonly rate: Rate | undefined;
  readonly name: string;
  readonly replaces: readonly string[];
  /** Counts, and never refuses. */
  readonly shadowMode: boolean;
  /** Refuses only when all limits of its kind in the request are over. */
  readonly quotaMode: boolean;
  /** Metrics by the values that requests have where the configuration has none. */
  readonly detailedMetric: boolean;
  /** For Envoy, while the limit has room. */
  readonly metadata?: Struct | undefined;
}

export interface Wildcard {
  readonly key: string;
  /** What stands between its stars. */
  readonly parts: readonly string[];
}

export interface DescriptorNode {
  readonly limit: RateLimit | undefined;
  /** By `key_value` or `key`. */
  readonly children: ReadonlyMap<string, DescriptorNode>;
  /** Keys of children with a `*` in their value, in the order of the file. */
  readonly wildcards: readonly Wildcard[];
  /** Of a wildcard: all values that it matches share one bucket. */
  readonly shareThreshold: boolean;
  /** Metrics have the request's value in their key. */
  readonly valueToMetric: boolean;
}

export type Domains = ReadonlyMap<string, DescriptorNode>;

export type LoadedLimits =
  | { readonly kind: 'ok'; readonly domains: Domains }
  | { readonly kind: 'bad'; readonly problem: string };

/** @throws LimitsError in the reference's words. */
function limitOf(descriptor: WrittenDescriptor, fullKey: string): RateLimit | undefined {
  const { rateLimit, shadowMode, quotaMode, detailedMetric, metadata } = descriptor;
  if (rateLimit === undefined) return undefined;
  const { unlimited, unit: unitName, requestsPerUnit, name, replaces } = rateLimit;
  const unit = UNITS.get(unitName.toUpperCase());
  if (unlimited && unit !== undefined) {
    throw new LimitsError('should not specify rate limit unit when unlimited');
  }
  if (!unlimited && unit === undefined) throw new LimitsError(`invalid rate limit unit '${unitName}'`);
  if (replaces.includes('')) throw new LimitsError('should not have an empty replaces entry');
  if (replaces.includes(name)) throw new LimitsError('replaces should not contain name of same descriptor');
  return {
    fullKey,
    rate: unit === undefined ? undefined : rateOf(requestsPerUnit, unit),
    name,
    replaces,
    shadowMode,
    quotaMode,
    detailedMetric,
    metadata: metadata?.size === 0 ? undefined : metadata,
  };
}

interface OpenNode {
  readonly children: Map<string, DescriptorNode>;
  readonly wildcards: Wildcard[];
}

function addDescriptors(into: OpenNode, parentKey: string, descriptors: readonly WrittenDescriptor[]): void {
  for (const descriptor of descriptors) {
    const { key, value, shareThreshold, valueToMetric } = descriptor;
    if (key === '') throw new LimitsError('descriptor has empty key');
    const finalKey = value === '' ? key : `${key}_${value}`;
    const fullKey = `${parentKey}${finalKey}`;
    if (into.children.has(finalKey)) {
      throw new LimitsError(`duplicate descriptor composite key '${fullKey}'`);
    }
    const limit = limitOf(descriptor, fullKey);
    const isWildcard = finalKey.includes('*');
    if (shareThreshold && !isWildcard) {
      throw new LimitsError(
        `share_threshold can only be used with wildcard values (containing '*'), but found key '${finalKey}'`,
      );
    }
    const children: OpenNode = { children: new Map(), wildcards: [] };
    addDescriptors(children, `${fullKey}.`, descriptor.descriptors);
    into.children.set(finalKey, { ...children, limit, shareThreshold, valueToMetric });
    if (isWildcard) into.wildcards.push({ key: finalKey, parts: finalKey.split('*') });
  }
}

/** @throws LimitsError */
function addFile(
  domains: Map<string, DescriptorNode & OpenNode>,
  { domain, descriptors }: WrittenFile,
  mergeDomains: boolean,
): void {
  if (domain === '') throw new LimitsError('config file cannot have empty domain');
  let node = domains.get(domain);
  if (node !== undefined && !mergeDomains) {
    throw new LimitsError(`duplicate domain '${domain}' in config file`);
  }
  if (node === undefined) {
    const open: OpenNode = { children: new Map(), wildcards: [] };
    node = { ...open, limit: undefined, shareThreshold: false, valueToMetric: false };
    domains.set(domain, node);
  }
  addDescriptors(node, `${domain}.`, descriptors);
}

/**
 * All files together, or what is wrong with the first that is bad.
 *
 * @param mergeDomains a domain may be spread over files.
 */
export function loadLimits(
  files: readonly { readonly name: string; readonly text: string | Uint8Array }[],
  mergeDomains: boolean,
): LoadedLimits {
  const domains = new Map<string, DescriptorNode & OpenNode>();
  for (const { name, text } of files) {
    try {
      addFile(domains, readLimitsFile(text), mergeDomains);
    } catch (error) {
      const problem = messageOf(error);
      return { kind: 'bad', problem: `${name}: ${problem}` };
    }
  }
  return { kind: 'ok', domains };
}
