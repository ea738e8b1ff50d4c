/**
 * The configuration language of the reference rate limit service (envoyproxy/ratelimit), as it is: domains with nested
 * descriptors. The same files load, and what is wrong is told in the same words.
 */
import { parse as parseYaml } from 'yaml';
import type { StoredLimit } from '../limit/store.ts';
import { type Struct, structOf } from './struct.ts';

/** The numbers of envoy.service.ratelimit.v3.RateLimitResponse.RateLimit.Unit. */
const UNITS = { second: 1, minute: 2, hour: 3, day: 4, month: 5, year: 6, week: 7 } as const;
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

class LimitsError extends Error {}

const KEYS: ReadonlySet<string> = new Set([
  'domain',
  'key',
  'value',
  'descriptors',
  'rate_limit',
  'unit',
  'requests_per_unit',
  'unlimited',
  'shadow_mode',
  'quota_mode',
  'name',
  'replaces',
  'detailed_metric',
  'value_to_metric',
  'share_threshold',
  'metadata',
]);
const MAX_REQUESTS_PER_UNIT = 4_294_967_295;
const MAX_DEPTH = 64;

type Mapping = Readonly<Record<string, unknown>>;
const isMapping = (value: unknown): value is Mapping =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function checkKeys(node: Mapping, depth: number): void {
  if (depth > MAX_DEPTH) throw new LimitsError(`config error, nested more than ${MAX_DEPTH} levels deep`);
  for (const [key, value] of Object.entries(node)) {
    if (!KEYS.has(key)) throw new LimitsError(`config error, unknown key '${key}'`);
    if (key === 'metadata') continue;
    if (Array.isArray(value)) {
      for (const item of value as readonly unknown[]) {
        if (!isMapping(item)) {
          throw new LimitsError(
            `config error, yaml file contains list of type other than map: ${String(item)}`,
          );
        }
        checkKeys(item, depth + 1);
      }
    } else if (isMapping(value)) checkKeys(value, depth + 1);
  }
}

/** A scalar as a text: YAML makes numbers of values like 404. */
function textOf(node: Mapping, key: string): string {
  const value = node[key];
  if (value === undefined || value === null) return '';
  if (typeof value === 'string') return value;
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  throw new LimitsError(`error loading config file: ${key} must be a string`);
}
function flagOf(node: Mapping, key: string): boolean {
  const value = node[key] ?? false;
  if (typeof value === 'boolean') return value;
  throw new LimitsError(`error loading config file: ${key} must be true or false`);
}
function listOf(node: Mapping, key: string): readonly Mapping[] {
  const value = node[key] ?? [];
  if (Array.isArray(value)) return value as readonly Mapping[];
  throw new LimitsError(`error loading config file: ${key} must be a list`);
}

function limitOf(descriptor: Mapping, fullKey: string): RateLimit | undefined {
  const written = descriptor['rate_limit'];
  if (written === undefined || written === null) return undefined;
  if (!isMapping(written)) throw new LimitsError('error loading config file: rate_limit must be a mapping');
  const unlimited = flagOf(written, 'unlimited');
  const unitName = textOf(written, 'unit');
  const unit = UNITS[unitName.toLowerCase() as keyof typeof UNITS] as number | undefined;
  if (unlimited && unit !== undefined)
    throw new LimitsError('should not specify rate limit unit when unlimited');
  if (!unlimited && unit === undefined) throw new LimitsError(`invalid rate limit unit '${unitName}'`);
  const requests = written['requests_per_unit'] ?? 0;
  if (
    typeof requests !== 'number' ||
    !Number.isInteger(requests) ||
    requests < 0 ||
    requests > MAX_REQUESTS_PER_UNIT
  ) {
    throw new LimitsError(
      `error loading config file: requests_per_unit must be a whole number from 0 to ${MAX_REQUESTS_PER_UNIT}`,
    );
  }
  const name = textOf(written, 'name');
  const replaces = listOf(written, 'replaces').map((entry) => textOf(entry, 'name'));
  if (replaces.includes('')) throw new LimitsError('should not have an empty replaces entry');
  if (replaces.includes(name)) throw new LimitsError('replaces should not contain name of same descriptor');
  return {
    fullKey,
    rate: unit === undefined ? undefined : rateOf(requests, unit),
    name,
    replaces,
    shadowMode: flagOf(descriptor, 'shadow_mode'),
    quotaMode: flagOf(descriptor, 'quota_mode'),
    detailedMetric: flagOf(descriptor, 'detailed_metric'),
    metadata: structOf(descriptor['metadata']),
  };
}

interface OpenNode {
  readonly children: Map<string, DescriptorNode>;
  readonly wildcards: Wildcard[];
}

function addDescriptors(into: OpenNode, parentKey: string, descriptors: readonly Mapping[]): void {
  for (const descriptor of descriptors) {
    const key = textOf(descriptor, 'key');
    if (key === '') throw new LimitsError('descriptor has empty key');
    const value = textOf(descriptor, 'value');
    const finalKey = value === '' ? key : `${key}_${value}`;
    const fullKey = `${parentKey}${finalKey}`;
    if (into.children.has(finalKey)) {
      throw new LimitsError(`duplicate descriptor composite key '${fullKey}'`);
    }
    const children: OpenNode = { children: new Map(), wildcards: [] };
    addDescriptors(children, `${fullKey}.`, listOf(descriptor, 'descriptors'));
    into.children.set(finalKey, {
      ...children,
      limit: limitOf(descriptor, fullKey),
      shareThreshold: flagOf(descriptor, 'share_threshold'),
      valueToMetric: flagOf(descriptor, 'value_to_metric'),
    });
    if (finalKey.includes('*')) into.wildcards.push({ key: finalKey, parts: finalKey.split('*') });
  }
}

/**
 * All files together, or what is wrong with the first that is bad.
 *
 * @param mergeDomains a domain may be spread over files.
 */
export function loadLimits(
  files: readonly { readonly name: string; readonly text: string }[],
  mergeDomains: boolean,
): LoadedLimits {
  const domains = new Map<string, DescriptorNode & OpenNode>();
  for (const { name, text } of files) {
    try {
      const root: unknown = parseYaml(text, { maxAliasCount: 100, logLevel: 'error' });
      if (!isMapping(root)) throw new LimitsError('error loading config file: the file is no mapping');
      checkKeys(root, 0);
      const domain = textOf(root, 'domain');
      if (domain === '') throw new LimitsError('config file cannot have empty domain');
      let node = domains.get(domain);
      if (node !== undefined && !mergeDomains)
        throw new LimitsError(`duplicate domain '${domain}' in config file`);
      if (node === undefined) {
        node = {
          children: new Map(),
          wildcards: [],
          limit: undefined,
          shareThreshold: false,
          valueToMetric: false,
        };
        domains.set(domain, node);
      }
      addDescriptors(node, `${domain}.`, listOf(root, 'descriptors'));
    } catch (error) {
      const message = error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error);
      return {
        kind: 'bad',
        problem: `${name}: ${error instanceof LimitsError ? message : `error loading config file: ${message}`}`,
      };
    }
  }
  return { kind: 'ok', domains };
}
