/**
 * Rate limit files, and calls to the limits in them, against what the reference service said of the same files
 * (tests/fixtures/rate-limit/yaml-cases.json), with levels in memory and in Redis.
 */
import { randomUUID } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createMemoryStore } from '../../src/limit/memory-store.ts';
import { createRedisLeaseStore } from '../../src/limit/redis-lease-store.ts';
import type { LimitStore } from '../../src/limit/store.ts';
import { decide, type RateLimitAnswer } from '../../src/rate-limit-service/decide.ts';
import { readLimits } from '../../src/rate-limit-service/fs-limits.ts';
import { type Domains, loadLimits } from '../../src/rate-limit-service/limits-config.ts';
import type { Descriptor } from '../../src/rate-limit-service/match.ts';
import { CALL_SETTINGS } from '../support/call-settings.ts';
import { eventually } from '../support/eventually.ts';
import { anyRedis, type TestRedis } from '../support/redis.ts';

type Entries = readonly (readonly [key: string, value: string])[];

interface ReferenceCase {
  readonly name: string;
  readonly file: string;
  /** `accepts`, or the first line of what it said. */
  readonly reference_check: string;
  readonly request?: { readonly domain: string; readonly d: readonly Entries[] };
  readonly reference_answer?: string;
}

const { cases } = JSON.parse(
  readFileSync(new URL('../fixtures/rate-limit/yaml-cases.json', import.meta.url), 'utf8'),
) as { readonly cases: readonly ReferenceCase[] };

const UNITS = ['UNKNOWN', 'SECOND', 'MINUTE', 'HOUR', 'DAY', 'MONTH', 'YEAR', 'WEEK'];
const HOUR = 3;
const DAY = 4;
const codeOf = (over: boolean): string => (over ? 'OVER_LIMIT' : 'OK');

const folder = mkdtempSync(join(tmpdir(), 'fairlane-limit-files-'));
let redis: Pick<TestRedis, 'url' | 'client' | 'close'>;
const open: LimitStore[] = [];
beforeAll(async () => {
  redis = await anyRedis();
});
afterAll(async () => {
  await Promise.all(open.map((store) => store.close()));
  await redis.close();
  rmSync(folder, { recursive: true, force: true });
});

/** As the fixture spells it: its one character that is no text is a byte there. */
const bytesOf = (text: string): Buffer =>
  Buffer.concat(
    text.split('\uFFFD').flatMap((part, i) => [Buffer.from(i === 0 ? [] : [0xff]), Buffer.from(part)]),
  );

function read(text: string | Buffer): ReturnType<typeof readLimits> {
  const directory = join(folder, `${randomUUID()}.yaml`);
  writeFileSync(directory, text);
  return readLimits({ directory, mergeDomains: false });
}

function domainsOf(text: string): Domains {
  const loaded = loadLimits([{ name: 'f.yaml', text }], false);
  if (loaded.kind === 'bad') throw new Error(loaded.problem);
  return loaded.domains;
}

const of = (entries: Entries, more: Partial<Descriptor> = {}): Descriptor => ({
  entries: entries.map(([key, value]) => ({ key, value })),
  negative: false,
  ...more,
});

async function ask(
  store: LimitStore,
  domains: Domains,
  descriptors: readonly Descriptor[],
  domain = 'D',
): Promise<RateLimitAnswer> {
  const context = {
    domains,
    store,
    settings: CALL_SETTINGS,
    onHit: () => undefined,
    onProblem: () => undefined,
    unixMs: Date.now,
  };
  const decision = await decide({ domain, descriptors, hits: 0 }, context, 0);
  if (decision.kind === 'error') throw new Error(decision.message);
  return decision.answer;
}

/** As the fixture writes an answer. */
const written = ({ over, statuses }: RateLimitAnswer): unknown => ({
  code: codeOf(over),
  st: statuses.map(({ over: isOver, rate, remaining }) => ({
    code: codeOf(isOver),
    ...(rate && { lim: `${rate.requestsPerUnit}/${UNITS[rate.unit] ?? rate.unit}` }),
    rem: remaining,
  })),
});

describe('a rate limit file', () => {
  it.each(cases.map((one) => [one.name, one] as const))('%s: is taken or refused as there', (_, one) => {
    const loaded = read(bytesOf(one.file));
    if (one.reference_check === 'accepts') expect(loaded).toMatchObject({ kind: 'ok' });
    else {
      expect(loaded.kind).toBe('bad');
      const problem = loaded.kind === 'bad' ? loaded.problem : '';
      // Its words, which may be followed by where and what to do.
      expect(problem.slice(problem.indexOf('.yaml: ') + '.yaml: '.length)).toSatisfy((text: string) =>
        text.startsWith(one.reference_check),
      );
    }
  });

  it('is tried in each way', () => {
    expect(cases.length).toBeGreaterThan(100);
    expect(cases.filter(({ reference_answer: answer }) => answer !== undefined).length).toBeGreaterThan(40);
  });
});

const stores: Readonly<Record<string, () => Promise<LimitStore>>> = {
  memory: () => Promise.resolve(createMemoryStore()),
  Redis: async () => {
    const store = createRedisLeaseStore({ redis: redis.url, keyPrefix: `f:${randomUUID()}:`, waitMs: 5_000 });
    await eventually(() => store.status().connected, Boolean);
    return store;
  },
};

describe.each(Object.entries(stores))('with levels in %s', (_name, create) => {
  let store: LimitStore;
  beforeAll(async () => {
    store = await create();
    open.push(store);
  });

  /** Files have the same domain and keys: each has buckets of its own here. */
  const apart = (name: string): LimitStore => ({
    take: (requests, nowMs) =>
      store.take(
        requests.map((request) => ({ ...request, key: `${name} ${request.key}` })),
        nowMs,
      ),
    close: () => store.close(),
  });

  it.each(cases.flatMap((one) => (one.request === undefined ? [] : [[one.name, one, one.request] as const])))(
    '%s: a call is answered as there',
    async (name, { file, reference_answer: answer = '' }, { domain, d }) => {
      const got = await ask(
        apart(name),
        domainsOf(file),
        d.map((entries) => of(entries)),
        domain,
      );
      expect(written(got)).toEqual(JSON.parse(answer));
    },
  );

  // Source: gopkg.in/yaml.v2 resolve.go, of which the fixture says that such files are taken.
  it.each([
    ['on', 'OK'],
    ['y', 'OK'],
    ['Yes', 'OK'],
    ['off', 'OVER_LIMIT'],
    ['No', 'OVER_LIMIT'],
  ])('shadow_mode: %s says %s for a limit of 0', async (flag, code) => {
    const file = `domain: D\ndescriptors:\n- key: k\n  shadow_mode: ${flag}\n  rate_limit: { unit: hour }\n`;
    const { over } = await ask(apart(`shadow ${flag}`), domainsOf(file), [of([['k', 'x']])]);
    expect(codeOf(over)).toBe(code);
  });

  // Source: README of envoyproxy/ratelimit, descriptors are texts; names of JavaScript's own are texts like others.
  it.each(['constructor', '__proto__', 'toString', 'valueOf'])('%s is limited as any name', async (name) => {
    const limit = 'rate_limit: { unit: hour, requests_per_unit: 1 }';
    const domains = domainsOf(
      `domain: ${name}\ndescriptors:\n- { key: ${name}, value: ${name}, ${limit} }\n`,
    );
    const call = () => ask(apart(name), domains, [of([[name, name]])], name);
    expect([(await call()).over, (await call()).over]).toEqual([false, true]);
    const other = await ask(apart(name), domains, [of([[name, 'x']])], name);
    expect(other.statuses[0]?.rate).toBeUndefined();
  });

  describe('a limit is the same one', () => {
    const file = (rate: string): string =>
      `domain: D\ndescriptors:\n- key: k\n  rate_limit: { ${rate} }\n- key: s\n  value: a*\n  share_threshold: true\n  rate_limit: { ${rate} }\n`;
    const left = async (into: LimitStore, rate: string, ...descriptors: readonly Descriptor[]) => {
      const { statuses } = await ask(into, domainsOf(file(rate)), descriptors);
      return statuses.map(({ over, remaining }) => (over ? 'over' : remaining));
    };
    const key = of([['k', 'x']]);

    // Source: src/limiter/cache_key.go, GenerateCacheKey: domain, entries and the window, not the amount.
    it('after a reload with another amount: 10 become 100 after 4 hits, and one more leaves 95', async () => {
      const own = apart('reload');
      const small = 'unit: hour, requests_per_unit: 10';
      for (const rest of [9, 8, 7, 6]) expect(await left(own, small, key)).toEqual([rest]);
      expect(await left(own, 'unit: hour, requests_per_unit: 100', key)).toEqual([95]);
      expect(await left(own, 'unit: hour, requests_per_unit: 5', key)).toEqual(['over']);
    });

    // Source: the same; a window of a day and one of an hour are two.
    it('not after a reload with another unit', async () => {
      const own = apart('unit');
      expect(await left(own, 'unit: hour, requests_per_unit: 2', key)).toEqual([1]);
      expect(await left(own, 'unit: day, requests_per_unit: 2', key)).toEqual([1]);
      expect(await left(own, 'unit: hour, requests_per_unit: 2', key)).toEqual([0]);
    });

    // Source: the same; test/config/config_test.go has these overrides.
    it('for overrides of one unit, and another one for those of another', async () => {
      const own = apart('override');
      const rate = 'unit: day, requests_per_unit: 10';
      const [day, hour] = [
        of([['k', 'y']], { override: { requestsPerUnit: 10, unit: DAY } }),
        of([['k', 'y']], { override: { requestsPerUnit: 42, unit: HOUR } }),
      ];
      expect(await left(own, rate, day)).toEqual([9]);
      expect(await left(own, rate, hour)).toEqual([41]);
      expect(await left(own, rate, day, hour)).toEqual([8, 40]);
      // The configured limit of the same entries and unit counts with them.
      expect(await left(own, rate, of([['k', 'y']]))).toEqual([7]);
    });

    // Source: README, share_threshold; cache_key.go puts the pattern in the place of the value.
    it('for all values of a wildcard that shares, and for no other value', async () => {
      const own = apart('share');
      const rate = 'unit: hour, requests_per_unit: 3';
      expect(await left(own, rate, of([['s', 'a1']]), of([['s', 'a2']]))).toEqual([2, 1]);
      expect((await ask(own, domainsOf(file(rate)), [of([['s', 'b']])])).statuses[0]?.rate).toBeUndefined();
    });

    // Source: config_impl.go, GetLimit, and cache_key.go: the pattern as a value has the pattern's bucket, and nothing else has.
    it('for the wildcard itself as a value, and not for one that looks like its key', async () => {
      const own = apart('share by name');
      const domains = domainsOf(
        `domain: D\ndescriptors:\n- key: s\n  value: a*\n  share_threshold: true\n  rate_limit: { unit: hour, requests_per_unit: 3 }\n- key: s\n  rate_limit: { unit: hour, requests_per_unit: 100 }\n`,
      );
      const leftOf = async (value: string) =>
        (await ask(own, domains, [of([['s', value]])])).statuses[0]?.remaining;
      expect(await leftOf('s_a*')).toBe(99);
      expect(await leftOf('a1')).toBe(2);
      expect(await leftOf('a*')).toBe(1);
      expect(await leftOf('s_a*')).toBe(98);
    });
  });
});
