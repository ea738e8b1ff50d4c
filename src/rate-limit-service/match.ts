/** Which limit a descriptor has: level by level exact `key_value`, then wildcards in file order, then the bare key. */
import { type DescriptorNode, type Domains, type RateLimit, rateOf, type Wildcard } from './limits-config.ts';

interface Entry {
  readonly key: string;
  readonly value: string;
}

export interface Descriptor {
  readonly entries: readonly Entry[];
  /** The request's own limit, in place of the configured one. */
  readonly override?: { readonly requestsPerUnit: number; readonly unit: number };
  /** Wins over the request's. */
  readonly hits?: number;
  /** The hits are given back. */
  readonly negative: boolean;
}

export interface Match {
  readonly limit: RateLimit;
  /**
   * Identifies the bucket: domain, entries and unit, as in the reference (src/limiter/cache_key.go). Another amount is the
   * same bucket, another unit is another one.
   */
  readonly bucketKey: string;
  readonly metricKey: string;
}

const nameOf = ({ key, value }: Entry): string => (value === '' ? key : `${key}_${value}`);
/** Entries may hold any character: a length before each keeps two lists from making one key. */
const lengthed = (text: string): string => `${text.length}:${text}`;
/** In the place of all values that share a bucket: no value of a request begins so. */
const shared = (wildcard: string): string => `*${lengthed(wildcard)}`;

/** Each part as early as it can be: linear in the text, which clients write. */
function matches({ parts }: Wildcard, text: string): boolean {
  const [first = ''] = parts;
  const last = parts.at(-1) ?? '';
  if (!text.startsWith(first) || text.length < first.length + last.length || !text.endsWith(last))
    return false;
  let from = first.length;
  const end = text.length - last.length;
  for (let i = 1; i < parts.length - 1; i += 1) {
    const part = parts[i] ?? '';
    const at = text.indexOf(part, from);
    if (at < 0 || at + part.length > end) return false;
    from = at + part.length;
  }
  return true;
}

interface Next {
  readonly node: DescriptorNode;
  /** As the file has it. */
  readonly key: string;
}

function nextOf(node: DescriptorNode, entry: Entry): Next | undefined {
  const exact = `${entry.key}_${entry.value}`;
  const found = node.children.get(exact);
  if (found !== undefined) return { node: found, key: exact };
  for (const wildcard of node.wildcards) {
    const { key } = wildcard;
    const child = matches(wildcard, exact) ? node.children.get(key) : undefined;
    if (child !== undefined) return { node: child, key };
  }
  const bare = node.children.get(entry.key);
  return bare === undefined ? undefined : { node: bare, key: entry.key };
}

/** Whether a descriptor has no limit of its own, or one with a unit that there is. */
export const isOverrideUsable = ({ override }: Descriptor): boolean =>
  override === undefined || rateOf(override.requestsPerUnit, override.unit) !== undefined;

/**
 * With what `detailed_metric` asks for: the values of a request at all levels. What shares a bucket shares the series.
 * Source: envoyproxy/ratelimit, src/config/config_impl.go, GetLimit.
 */
function detailedKey(root: DescriptorNode, domain: string, entries: readonly Entry[]): string {
  let node = root;
  let key = domain;
  for (const entry of entries) {
    const next = nextOf(node, entry);
    if (next === undefined) return key;
    ({ node } = next);
    key += `.${node.shareThreshold ? next.key : nameOf(entry)}`;
  }
  return key;
}

/** Undefined without a limit: then nothing is counted and the answer is OK. The depth has to match exactly. */
export function matchDescriptor(domains: Domains, domain: string, descriptor: Descriptor): Match | undefined {
  const root = domains.get(domain);
  if (root === undefined) return undefined;
  const { entries, override } = descriptor;
  // One with a unit that is none is as if it were not there: the configured limit holds.
  const rate = override === undefined ? undefined : rateOf(override.requestsPerUnit, override.unit);
  if (rate !== undefined) {
    const fullKey = `${domain}.${entries.map(nameOf).join('.')}`;
    return {
      limit: {
        fullKey,
        rate,
        name: '',
        replaces: [],
        shadowMode: false,
        quotaMode: false,
        detailedMetric: false,
      },
      bucketKey: `${[domain, ...entries.flatMap(({ key, value }) => [key, value])].map(lengthed).join('')}${rate.unit}`,
      // The values are a request's: one series for all overrides of a domain.
      metricKey: `${domain}.override`,
    };
  }
  let node = root;
  let bucketKey = lengthed(domain);
  let metricKey = domain;
  for (const [i, entry] of entries.entries()) {
    const next = nextOf(node, entry);
    if (next === undefined) return undefined;
    ({ node } = next);
    const { shareThreshold, valueToMetric } = node;
    bucketKey += lengthed(entry.key) + (shareThreshold ? shared(next.key) : lengthed(entry.value));
    metricKey += `.${valueToMetric && !shareThreshold ? nameOf(entry) : next.key}`;
    if (i < entries.length - 1) continue;
    const { limit } = node;
    if (limit === undefined) return undefined;
    if (limit.detailedMetric) metricKey = detailedKey(root, domain, entries);
    return { limit, bucketKey: `${bucketKey}${limit.rate?.unit ?? ''}`, metricKey };
  }
  return undefined;
}
