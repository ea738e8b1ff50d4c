/**
 * How the rate limit service answers calls, with levels in memory and in Redis, against what the reference service answers:
 * envoyproxy/ratelimit as of 2026-11. Each claim names the reference's file that says so; "service" is src/service/ratelimit.go,
 * "test" is test/service/ratelimit_test.go. Claims without one are ours, and stand in docs/how-to/rate-limit-service.md.
 */
import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import * as grpc from '@grpc/grpc-js';
import * as protoLoader from '@grpc/proto-loader';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { CallSettings } from '../../src/config/rate-limit.ts';
import { createMemoryStore } from '../../src/limit/memory-store.ts';
import { createRedisLeaseStore } from '../../src/limit/redis-lease-store.ts';
import type { LimitStore } from '../../src/limit/store.ts';
import type { Decision } from '../../src/rate-limit-service/decide.ts';
import { startRateLimitHttp } from '../../src/rate-limit-service/http-rate-limit.ts';
import { startGrpcServer } from '../../src/service/grpc-server.ts';
import { eventually } from '../support/eventually.ts';
import { type CallWorld, callWorld, descriptorOf } from '../support/rate-limit-calls.ts';
import { anyRedis } from '../support/redis.ts';

const LIMITS = `
domain: D
descriptors:
  - { key: a, rate_limit: { unit: hour, requests_per_unit: 3 } }
  - { key: b, rate_limit: { unit: day, requests_per_unit: 2 } }
  - { key: c, rate_limit: { unit: hour, requests_per_unit: 100, name: of-c } }
  - { key: none, rate_limit: { unit: minute, requests_per_unit: 0 } }
  - { key: free, rate_limit: { unlimited: true }, metadata: { never: sent } }
  - { key: ten, rate_limit: { unit: hour, requests_per_unit: 10 } }
  - { key: dark, shadow_mode: true, rate_limit: { unit: hour, requests_per_unit: 1 } }
  - { key: minute, rate_limit: { unit: minute, requests_per_unit: 1000 } }
  - { key: second, rate_limit: { unit: second, requests_per_unit: 1000 } }
  - { key: hour, rate_limit: { unit: hour, requests_per_unit: 50 } }
  - { key: q1, quota_mode: true, rate_limit: { unit: hour, requests_per_unit: 1 } }
  - { key: q2, quota_mode: true, rate_limit: { unit: hour, requests_per_unit: 2 } }
  - key: m1
    metadata: { name: service_1, deep: { one: 1, both: first } }
    rate_limit: { unit: hour, requests_per_unit: 1 }
  - key: m2
    metadata: { name: service_2, other: [x, true, null, 1.5], deep: { two: 2, both: second } }
    rate_limit: { unit: hour, requests_per_unit: 10 }
  - key: backend_name
    descriptors:
      - key: model_name_override
        descriptors:
          - { key: tenant, quota_mode: true, metadata: { name: tenant }, rate_limit: { unit: hour, requests_per_unit: 1 } }
          - { key: all, quota_mode: true, metadata: { name: all }, rate_limit: { unit: hour, requests_per_unit: 10 } }
          - { key: one, quota_mode: true, metadata: { name: one }, rate_limit: { unit: hour, requests_per_unit: 1 } }
  - key: outer
    descriptors:
      - { key: inner, detailed_metric: true, rate_limit: { unit: hour, requests_per_unit: 9 } }
  - key: shown
    value_to_metric: true
    descriptors:
      - { key: inner, rate_limit: { unit: hour, requests_per_unit: 9 } }
      - { key: kept, value: "x*", value_to_metric: true, rate_limit: { unit: hour, requests_per_unit: 9 } }
  - key: shared
    value: "foo*"
    share_threshold: true
    value_to_metric: true
    rate_limit: { unit: hour, requests_per_unit: 9 }
  - key: pooled
    value: "foo*"
    share_threshold: true
    descriptors:
      - { key: inner, detailed_metric: true, rate_limit: { unit: hour, requests_per_unit: 9 } }
`;

/** 1 s before the end of a minute. */
const UNIX_MS = 1_764_366_059_400;

let redis: Awaited<ReturnType<typeof anyRedis>>;
const open: LimitStore[] = [];
beforeAll(async () => {
  redis = await anyRedis();
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((store) => store.close()));
});
afterAll(() => redis.close());

const stores: Readonly<Record<string, () => Promise<LimitStore>>> = {
  memory: () => Promise.resolve(createMemoryStore()),
  async Redis() {
    const store = createRedisLeaseStore({ redis: redis.url, keyPrefix: `t:${randomUUID()}:`, waitMs: 5_000 });
    open.push(store);
    await eventually(() => store.status().connected, Boolean);
    return store;
  },
};

describe.each(Object.entries(stores))('calls, with levels in %s', (_name, createStore) => {
  let store: LimitStore;
  const world = (settings: Partial<CallSettings> = {}): CallWorld =>
    callWorld(LIMITS, store, settings, () => UNIX_MS);
  beforeEach(async () => {
    store = await createStore();
  });

  describe('headers', () => {
    const a = [['a', 'x']] as const;
    const b = [['b', 'x']] as const;

    it('are those of the limit that refuses, though another one has nothing left either', async () => {
      // service: `else if over { minimumDescriptor = descriptorStatus }`
      const { ask } = world();
      await ask([a, b]);
      await ask([a, b]);
      const third = await ask([a, b]);
      expect(third.statuses).toEqual(['OK 0 of 3/HOUR', 'OVER_LIMIT 0 of 2/DAY']);
      expect(third.headers.slice(0, 2)).toEqual(['RateLimit-Limit: 2', 'RateLimit-Remaining: 0']);
      expect((await ask([b, a])).headers[0]).toBe('RateLimit-Limit: 3');
    });

    it('are those of the last limit that refuses', async () => {
      const { ask } = world();
      for (let i = 0; i < 3; i += 1) await ask([a, b]);
      expect((await ask([b, a])).headers[0]).toBe('RateLimit-Limit: 3');
      expect((await ask([a, b])).headers[0]).toBe('RateLimit-Limit: 2');
    });

    it('are otherwise those of the least that is left, of the first among equals', async () => {
      // service: `descriptorStatus.LimitRemaining < minLimitRemaining`
      const { ask } = world();
      expect((await ask([[['ten', 'x']], [['c', 'x']]])).headers.slice(0, 2)).toEqual([
        'RateLimit-Limit: 10',
        'RateLimit-Remaining: 9',
      ]);
      await ask([a]);
      expect((await ask([a, b])).headers[0]).toBe('RateLimit-Limit: 3');
    });

    it('of a quota that is over are so only where nothing else has as little left', async () => {
      // service: the branch of quotas leaves minimumDescriptor alone
      const { ask } = world();
      await ask([[['q1', 'x']], b]);
      await ask([b]);
      const both = await ask([[['q2', 'x']], [['q1', 'x']], [['q2', 'y']]]);
      expect(both.headers.slice(0, 2)).toEqual(['RateLimit-Limit: 1', 'RateLimit-Remaining: 0']);
      await ask([[['dark', 'x']]]);
      // A limit in shadow mode that is over is OK, with nothing left: base_limiter.go, GetResponseDescriptorStatus.
      expect((await ask([[['c', 'x']], [['dark', 'x']]])).headers[0]).toBe('RateLimit-Limit: 1');
    });

    it('are not there without a limit', async () => {
      const { ask } = world();
      const { headers, statuses } = await ask([[['free', 'x']], [['unknown', 'x']]]);
      expect([headers, statuses]).toEqual([[], ['OK', 'OK']]);
    });

    it('have the names that are configured, and go to the upstream where that is wanted', async () => {
      // test: TestServiceWithCustomRatelimitHeaders, TestServiceWithCustomRequestHeaders
      const names = (prefix: string) => ({
        limit: `${prefix}-Limit`,
        remaining: `${prefix}-Remaining`,
        reset: `${prefix}-Reset`,
      });
      const { ask } = world({ responseHeaders: names('A-Ratelimit'), requestHeaders: names('X-RateLimit') });
      const { headers, requestHeaders } = await ask([[['none', 'x']], [['unknown', 'x']]]);
      expect(headers).toEqual(['A-Ratelimit-Limit: 0', 'A-Ratelimit-Remaining: 0', 'A-Ratelimit-Reset: 1']);
      expect(requestHeaders).toEqual([
        'X-RateLimit-Limit: 0',
        'X-RateLimit-Remaining: 0',
        'X-RateLimit-Reset: 1',
      ]);
      expect((await world().ask([a])).requestHeaders).toEqual([]);
    });

    it('are one pair more for each unit where that is wanted, of its tightest limit', async () => {
      // test: TestServiceWithPerUnitRatelimitHeaders, TestServiceWithPerUnitRatelimitHeadersSameUnit
      const names = { limit: 'RateLimit-Limit', remaining: 'RateLimit-Remaining', reset: 'RateLimit-Reset' };
      const { ask } = world({ unitHeaders: names });
      const call = [
        [['second', 'x']],
        [['hour', 'x']],
        [['c', 'x']],
        [['unknown', 'x']],
        [['ten', 'x']],
      ] as const;
      const { headers } = await ask(call);
      expect(headers.slice(0, 6)).toEqual([
        'RateLimit-Limit-Seconds: 1000',
        'RateLimit-Remaining-Seconds: 999',
        'RateLimit-Limit-Hours: 10',
        'RateLimit-Remaining-Hours: 9',
        'RateLimit-Limit: 10',
        'RateLimit-Remaining: 9',
      ]);
    });

    it('of a limit of 0, and its status, reset at the end of the window', async () => {
      // src/utils/utilities.go, CalculateReset: `sec - now%sec`
      const { ask } = world();
      const { code, statuses, headers, raw } = await ask([[['none', 'x']]]);
      expect([code, statuses]).toEqual(['OVER_LIMIT', ['OVER_LIMIT 0 of 0/MINUTE']]);
      expect(headers).toEqual(['RateLimit-Limit: 0', 'RateLimit-Remaining: 0', 'RateLimit-Reset: 1']);
      expect(raw.statuses[0].duration_until_reset).toMatchObject({ seconds: 1 });
    });
  });

  describe('shadow mode', () => {
    it('of all leaves the status over its limit, and the answer OK', async () => {
      // service: finalCode alone is changed; README, Global ShadowMode
      const { ask, hits } = world({ shadowMode: true });
      for (let i = 0; i < 10; i += 1) await ask([[['ten', 'x']]]);
      const { code, statuses, headers } = await ask([[['ten', 'x']]]);
      expect([code, statuses, headers[1]]).toEqual([
        'OK',
        ['OVER_LIMIT 0 of 10/HOUR'],
        'RateLimit-Remaining: 0',
      ]);
      expect(hits.map(({ outcome }) => outcome)).toEqual([...Array(10).fill('within'), 'shadow']);
    });

    it('of one limit makes its status OK, too', async () => {
      // base_limiter.go, GetResponseDescriptorStatus: `responseDescriptorStatus.Code = OK`
      const { ask, hits } = world();
      await ask([[['dark', 'x']]]);
      const { code, statuses } = await ask([[['dark', 'x']]]);
      expect([code, statuses, hits[1]?.outcome]).toEqual(['OK', ['OK 0 of 1/HOUR'], 'shadow']);
    });

    it('of all holds for quotas, too', async () => {
      // test: TestServiceQuotaModeWithShadowMode
      const { ask } = world({ shadowMode: true });
      await ask([[['q1', 'x']]]);
      expect(await ask([[['q1', 'x']]])).toMatchObject({ code: 'OK', statuses: ['OVER_LIMIT 0 of 1/HOUR'] });
    });
  });

  describe('quotas', () => {
    const bucket = (model: string, key: string, backend = 'ns/be') =>
      [
        ['backend_name', backend],
        ['model_name_override', model],
        [key, 'v'],
      ] as const;

    it('refuse when all are over, and not while some have room', async () => {
      // test: TestServiceQuotaModeOnlyAllOverTheLimit, TestServiceQuotaModeOnlySomeOverTheLimit
      const { ask } = world();
      const both = [[['q1', 'x']], [['q2', 'x']]] as const;
      expect((await ask(both)).code).toBe('OK');
      expect(await ask(both)).toMatchObject({
        code: 'OK',
        statuses: ['OVER_LIMIT 0 of 1/HOUR', 'OK 0 of 2/HOUR'],
      });
      expect((await ask(both)).code).toBe('OVER_LIMIT');
    });

    it('and other limits refuse each on their own', async () => {
      // test: TestServicePerDescriptorQuotaMode, TestServiceMixedPerDescriptorModes
      const { ask } = world();
      await ask([[['q1', 'x']]]);
      expect((await ask([[['c', 'x']], [['q1', 'x']]])).code).toBe('OVER_LIMIT');
      expect((await ask([[['c', 'x']], [['q2', 'x']]])).code).toBe('OK');
      expect((await ask([[['none', 'x']], [['q2', 'y']]])).code).toBe('OVER_LIMIT');
    });

    it('of one backend and model are over when one of them is', async () => {
      // test: TestServiceQuotaModeSameGroupTenantOverDefaultOk
      const { ask } = world();
      const model = [bucket('m', 'tenant'), bucket('m', 'all')];
      expect((await ask(model)).code).toBe('OK');
      expect((await ask(model)).code).toBe('OVER_LIMIT');
    });

    it('let a call through while another model has room, or the same one elsewhere', async () => {
      // test: TestServiceQuotaModeMultiModelFailover, …AllOver, TestQuotaMetadataSameModelDifferentBackends
      const { ask } = world();
      const two = [bucket('m', 'one'), bucket('n', 'all')];
      expect((await ask(two)).code).toBe('OK');
      expect((await ask(two)).code).toBe('OK');
      expect((await ask([bucket('m', 'one')])).code).toBe('OVER_LIMIT');
      const elsewhere = await ask([bucket('m', 'one'), bucket('m', 'one', 'ns/other')]);
      expect(elsewhere).toMatchObject({
        code: 'OK',
        metadata: { passedBackends: [{ backend_name: 'ns/other', model_name_override: 'm' }] },
      });
    });

    it('are all limits where that is configured, and what has no limit has room', async () => {
      // service: `isQuotaMode := globalQuotaMode || …`
      const { ask } = world({ quotaMode: true });
      expect((await ask([[['none', 'x']], [['ten', 'x']]])).code).toBe('OK');
      expect((await ask([[['none', 'x']], [['unknown', 'x']]])).code).toBe('OK');
      expect((await ask([[['none', 'x']], [['free', 'x']]])).code).toBe('OVER_LIMIT');
    });

    it('tell Envoy which backends have room, each once, and nothing of a group that is over', async () => {
      // test: TestQuotaMetadataExcludesExhaustedGroup
      const { ask } = world();
      const call = [bucket('a', 'tenant'), bucket('a', 'all'), bucket('b', 'all'), bucket('b', 'all')];
      expect(await ask(call)).toMatchObject({
        metadata: {
          metadata: { name: 'tenant' },
          passedBackends: [
            { backend_name: 'ns/be', model_name_override: 'a' },
            { backend_name: 'ns/be', model_name_override: 'b' },
          ],
        },
      });
      expect(await ask(call)).toMatchObject({
        code: 'OK',
        metadata: {
          metadata: { name: 'all' },
          passedBackends: [{ backend_name: 'ns/be', model_name_override: 'b' }],
        },
      });
    });
  });

  describe('dynamic metadata', () => {
    const m1 = [['m1', 'x']] as const;
    const m2 = [['m2', 'x']] as const;

    it('has that of all limits with room: the first value wins, and mappings are merged', async () => {
      // test: TestMetadataReturnedForAllPassedDescriptors, TestOverlappingMetadataReturnsTheFirstValue
      const { ask } = world();
      const deep = { one: 1, both: 'first', two: 2 };
      expect((await ask([m1, m2])).metadata).toEqual({
        domain: 'D',
        descriptors: [{ entries: ['m1=x'] }, { entries: ['m2=x'] }],
        metadata: { name: 'service_1', other: ['x', true, null, 1.5], deep },
      });
      // What was merged for one answer is not in the limit: the second is as the file says.
      const second = { name: 'service_2', other: ['x', true, null, 1.5], deep: { two: 2, both: 'second' } };
      expect((await ask([m1, m2])).metadata).toMatchObject({ metadata: second });
    });

    it('is there without any, when limits with metadata are over', async () => {
      const { ask } = world();
      await ask([m1]);
      const { code, metadata } = await ask([m1]);
      expect(code).toBe('OVER_LIMIT');
      expect(metadata).toEqual({ domain: 'D', descriptors: [{ entries: ['m1=x'] }] });
    });

    it('is sent with every answer, never, or where a limit has some', async () => {
      // service: responseDynamicMetadataEnabled; `auto` is ours
      expect((await world().ask([[['a', 'x']]])).metadata).toBeUndefined();
      expect((await world().ask([[['free', 'x']]])).metadata).toBeUndefined();
      expect((await world({ dynamicMetadata: 'off' }).ask([m2])).metadata).toBeUndefined();
      const { ask } = world({ dynamicMetadata: 'on' });
      expect((await ask([[['unknown', 'x']]], { domain: 'nowhere' })).metadata).toEqual({
        domain: 'nowhere',
        descriptors: [{ entries: ['unknown=x'] }],
      });
    });

    it('names hits and limits of the call', async () => {
      // service: ratelimitToMetadata, descriptorToStruct
      const { ask } = world({ dynamicMetadata: 'on' });
      const own = descriptorOf([['k', '']], {
        limit: { requests_per_unit: 42, unit: 3 },
        hits_addend: { value: 0 },
      });
      expect((await ask([own, m2], { hits: 2 })).metadata).toMatchObject({
        hitsAddend: 2,
        descriptors: [
          { entries: ['k='], limit: 'requests_per_unit:42 unit:HOUR', hitsAddend: 0 },
          { entries: ['m2=x'] },
        ],
      });
    });
  });

  describe('metric keys', () => {
    it.each([
      // src/config/config_impl.go, GetLimit: detailedMetricFullKey has the values of all levels
      [
        'of a nested detailed_metric have all values',
        [
          ['outer', 'v'],
          ['inner', 'w'],
        ],
        'D.outer_v.inner_w',
      ],
      // … valueToMetricFullKey has those of the levels that ask for it
      [
        'of value_to_metric have the values of its level',
        [
          ['shown', 'v'],
          ['inner', 'w'],
        ],
        'D.shown_v.inner',
      ],
      [
        'of a wildcard with it have the value',
        [
          ['shown', 'v'],
          ['kept', 'xyz'],
        ],
        'D.shown_v.kept_xyz',
      ],
      // … `hasShareThreshold`: "always use wildcard pattern with *"
      ['of what shares a bucket are the wildcard', [['shared', 'foo1']], 'D.shared_foo*'],
      [
        'of that above a detailed one, too',
        [
          ['pooled', 'foo1'],
          ['inner', 'w'],
        ],
        'D.pooled_foo*.inner_w',
      ],
    ] as const)('%s', async (_claim, entries, key) => {
      const { ask, hits } = world();
      await ask([entries]);
      expect(hits.map(({ metricKey }) => metricKey)).toEqual([key]);
    });
  });

  describe('hits near a limit', () => {
    const near = async (steps: readonly number[], settings = {}): Promise<readonly number[]> => {
      const { ask, hits } = world(settings);
      for (const step of steps) await ask([[['ten', 'x']]], { hits: step });
      return hits.map((hit) => hit.near);
    };

    it('are those beyond 80 % of it, up to it', async () => {
      // base_limiter.go, checkNearLimitThreshold
      expect(await near([1, 6, 1, 1, 1, 1])).toEqual([0, 0, 0, 1, 1, 0]);
      expect(await near([])).toEqual([]);
    });

    it('are a part of those that cross the threshold, and of those that cross the limit', async () => {
      // base_limiter.go, checkNearLimitThreshold, checkOverLimitThreshold
      expect(await near([7, 2])).toEqual([0, 1]);
    });

    it('count to the limit when more come', async () => {
      expect(await near([7, 20, 5])).toEqual([0, 2, 0]);
    });

    it('go by the ratio that is configured', async () => {
      // README, Statistics: NEAR_LIMIT_RATIO
      expect(await near([4, 1, 1], { nearLimitRatio: 0.5 })).toEqual([0, 0, 1]);
    });
  });

  describe('a call that is refused', () => {
    it('is charged to the limits that had room', async () => {
      // src/redis/fixed_cache_impl.go, getHitsAddendValue
      const { ask } = world();
      for (let i = 0; i < 3; i += 1) await ask([[['b', 'x']], [['ten', 'x']]]);
      expect((await ask([[['ten', 'x']]])).statuses).toEqual(['OK 6 of 10/HOUR']);
    });

    it('is charged to none where that is configured', async () => {
      // fixed_cache_impl.go, stopCacheKeyIncrementWhenOverlimit
      const { ask } = world({ chargeRefused: false });
      await ask([[['b', 'x']], [['ten', 'x']]], { hits: 2 });
      const refused = await ask([[['b', 'x']], [['ten', 'x']], [['c', 'x']]], { hits: 3 });
      expect(refused).toMatchObject({
        code: 'OVER_LIMIT',
        statuses: ['OVER_LIMIT 0 of 2/DAY', 'OK 8 of 10/HOUR', 'OK 100 of 100/HOUR'],
      });
      expect((await ask([[['ten', 'x']]])).statuses).toEqual(['OK 7 of 10/HOUR']);
    });
  });

  describe('hits', () => {
    const c = (more: object) => descriptorOf([['c', 'x']], more);

    it('of a descriptor win over those of the call, of which 0 is 1', async () => {
      // src/utils/utilities.go, GetHitsAddends
      const { ask } = world();
      expect((await ask([c({})])).statuses).toEqual(['OK 99 of 100/HOUR']);
      expect((await ask([c({})], { hits: 9 })).statuses).toEqual(['OK 90 of 100/HOUR']);
      expect((await ask([c({ hits_addend: { value: 0 } })], { hits: 9 })).statuses).toEqual([
        'OK 90 of 100/HOUR',
      ]);
      expect((await ask([c({ hits_addend: { value: 5 } })], { hits: 9 })).statuses).toEqual([
        'OK 85 of 100/HOUR',
      ]);
    });

    it('that are negative give back, are never over, and never more than there was', async () => {
      // fixed_cache_impl.go, DecrementScript: floored at 0; DoLimit: "Negative hits (refunds) always return OK"
      const { ask } = world();
      const back = (value: number) => c({ hits_addend: { value }, is_negative_hits: true });
      await ask([c({})], { hits: 60 });
      expect((await ask([back(10)])).statuses).toEqual(['OK 50 of 100/HOUR']);
      expect((await ask([back(1_000)])).statuses).toEqual(['OK 100 of 100/HOUR']);
      await ask([c({})], { hits: 150 });
      expect(await ask([back(5)])).toMatchObject({ code: 'OK', statuses: ['OK 0 of 100/HOUR'] });
      expect(await ask([back(0)])).toMatchObject({ code: 'OK', statuses: ['OK 0 of 100/HOUR'] });
      expect((await ask([descriptorOf([['c', 'y']], { is_negative_hits: true })])).statuses).toEqual([
        'OK 100 of 100/HOUR',
      ]);
    });
  });

  describe('a limit of the call’s own', () => {
    const own = (key: string, limit: object) => descriptorOf([[key, 'x']], { limit });

    it('is in place of the configured one, without its modes', async () => {
      // config_impl.go, GetLimit: "we don't want to enable shadow_mode"
      const { ask } = world();
      const limit = { requests_per_unit: 1, unit: 4 };
      expect((await ask([own('dark', limit)])).statuses).toEqual(['OK 0 of 1/DAY']);
      expect((await ask([own('dark', limit)])).code).toBe('OVER_LIMIT');
      expect((await ask([own('c', limit)], { domain: 'nowhere' })).statuses).toEqual(['OK']);
    });

    it.each([0, 99])(
      'with the unit %i, which is none, does not count: the configured one holds',
      async (unit) => {
        // The reference panics: src/utils/utilities.go, UnitToDivider.
        const { ask, problems } = world();
        expect((await ask([own('ten', { requests_per_unit: 1, unit })])).statuses).toEqual([
          'OK 9 of 10/HOUR',
        ]);
        expect((await ask([own('unknown', { requests_per_unit: 1, unit })])).statuses).toEqual(['OK']);
        expect(problems).toEqual(['override_unit', 'override_unit']);
      },
    );
  });

  describe('a call that cannot be answered', () => {
    it.each([
      // service: checkServiceErr; an error without a code is UNKNOWN in gRPC
      ['without a domain', '', [[['a', 'x']]], 'rate limit domain must not be empty'],
      ['without a descriptor', 'D', [], 'rate limit descriptor list must not be empty'],
    ] as const)('%s is an error in the reference’s words', async (_claim, domain, descriptors, message) => {
      const { ask, problems } = world();
      await expect(ask(descriptors, { domain })).rejects.toThrow(JSON.stringify({ code: 2, message }));
      expect(problems).toEqual(['invalid_call']);
    });

    it('is not one of an unknown domain, which is counted', async () => {
      // config_impl.go, GetLimit: NewDomainStats(domain).NotFound
      const { ask, problems } = world();
      expect(await ask([[['a', 'x']]], { domain: 'nowhere' })).toMatchObject({
        code: 'OK',
        statuses: ['OK'],
      });
      expect(problems).toEqual(['unknown_domain']);
    });
  });

  describe('over HTTP', () => {
    let serving = true;
    let url = '';
    let close: () => Promise<void>;
    const post = async (body: string | Uint8Array, headers = {}) => {
      const answer = await fetch(`${url}/json`, { method: 'POST', body: body as string, headers });
      const type = answer.headers.get('content-type');
      return { status: answer.status, type, text: await answer.text() };
    };
    beforeEach(async () => {
      serving = true;
      const { options } = world();
      const server = await startRateLimitHttp(
        { host: '127.0.0.1', port: 0 },
        { ...options, isServing: () => serving },
      );
      url = `http://127.0.0.1:${server.port}`;
      close = () => server.close(100);
    });
    afterEach(() => close());

    it('a call is answered with 200 or 429, as proto3 JSON', async () => {
      // README, /json endpoint; test/server/server_impl_test.go, TestJsonHandler
      const call = {
        domain: 'D',
        descriptors: [{ entries: [{ key: 'b', value: 'x' }] }, { entries: [{ key: 'c' }] }],
      };
      const first = await post(JSON.stringify(call));
      expect([first.status, first.type]).toEqual([200, 'application/json']);
      expect(JSON.parse(first.text)).toMatchObject({
        overallCode: 'OK',
        statuses: [
          { code: 'OK', currentLimit: { requestsPerUnit: 2, unit: 'DAY' }, limitRemaining: 1 },
          {
            code: 'OK',
            currentLimit: { requestsPerUnit: 100, unit: 'HOUR', name: 'of-c' },
            limitRemaining: 99,
          },
        ],
        responseHeadersToAdd: [
          { key: 'RateLimit-Limit', value: '2' },
          { key: 'RateLimit-Remaining', value: '1' },
          {},
        ],
      });
      await post(JSON.stringify(call));
      const third = await post(JSON.stringify(call));
      expect(third.status).toBe(429);
      const [over] = JSON.parse(third.text).statuses;
      expect(over).toMatchObject({
        code: 'OVER_LIMIT',
        durationUntilReset: expect.stringMatching(/^\d+(\.\d{3})?s$/),
      });
      expect(over).not.toHaveProperty('limitRemaining');
    });

    it('fields have either name, numbers may be text, and units go by name or number', async () => {
      // protobuf's JSON mapping
      const descriptor = (limit: object, more: object = {}) => ({
        entries: [{ key: 'own', value: 'x' }],
        limit,
        ...more,
      });
      const call = {
        domain: 'D',
        hitsAddend: '3',
        descriptors: [
          descriptor({ requests_per_unit: 9, unit: 3 }),
          descriptor({ requestsPerUnit: '8', unit: 'DAY' }, { hits_addend: '2', isNegativeHits: null }),
        ],
      };
      const { statuses } = JSON.parse((await post(JSON.stringify(call))).text);
      expect(statuses).toMatchObject([
        { currentLimit: { requestsPerUnit: 9, unit: 'HOUR' } },
        { currentLimit: { requestsPerUnit: 8, unit: 'DAY' } },
      ]);
    });

    it.each<[string, string | Uint8Array]>([
      ['nothing', ''],
      ['no JSON', '}'],
      ['another value', '[]'],
      ['no domain', '{}'],
      ['no descriptor', '{"domain": "D"}'],
      ['an unknown field', '{"domain": "D", "descriptors": [{"entries": []}], "more": 1}'],
      [
        'a field twice',
        '{"domain": "D", "descriptors": [{"entries": []}], "hitsAddend": 1, "hits_addend": 1}',
      ],
      ['a number for a text', '{"domain": 5, "descriptors": [{"entries": []}]}'],
      ['no list', '{"domain": "D", "descriptors": {}}'],
      ['null in a list', '{"domain": "D", "descriptors": [null]}'],
      ['a negative number', '{"domain": "D", "descriptors": [{"entries": []}], "hitsAddend": -1}'],
      ['a fraction', '{"domain": "D", "descriptors": [{"entries": []}], "hitsAddend": 1.5}'],
      [
        'a number that is too large',
        '{"domain": "D", "descriptors": [{"entries": []}], "hitsAddend": 4294967296}',
      ],
      ['a unit that is none', '{"domain": "D", "descriptors": [{"limit": {"unit": "constructor"}}]}'],
      ['half a character', '{"domain": "\\ud83d", "descriptors": [{"entries": []}]}'],
      ['bytes that are no text', new Uint8Array([0x22, 0xff, 0x22])],
      ['a very deep value', '['.repeat(200_000)],
    ])('%s is a 400 that says no more', async (_claim, body) => {
      expect(await post(body)).toEqual({
        status: 400,
        type: 'text/plain; charset=utf-8',
        text: 'Bad Request\n',
      });
    });

    it('what is too large, from a web page or elsewhere is refused', async () => {
      expect((await post(' '.repeat(1_100_000))).status).toBe(413);
      expect((await post('{}', { origin: 'http://evil.test' })).status).toBe(403);
      expect((await post('{}', { 'sec-fetch-site': 'cross-site' })).status).toBe(403);
      expect((await fetch(`${url}/metrics`)).status).toBe(404);
    });

    it.each<[string, () => Decision]>([
      [
        'in a decision',
        () => {
          throw new Error('a bug');
        },
      ],
      // oxlint-disable-next-line no-unsafe-type-assertion -- what no decision is
      ['in an answer', () => ({ kind: 'answer', answer: { over: false } }) as unknown as Decision],
    ])('a bug %s is a 500, and the next call is answered', async (_claim, bug) => {
      let isBroken = true;
      const { options } = world();
      const server = await startRateLimitHttp(
        { host: '127.0.0.1', port: 0 },
        {
          isServing: () => true,
          onError: () => undefined,
          decide(call) {
            return isBroken ? bug() : options.decide(call);
          },
        },
      );
      url = `http://127.0.0.1:${server.port}`;
      const call = '{"domain": "D", "descriptors": [{"entries": []}]}';
      expect(await post(call)).toMatchObject({ status: 500, text: 'Internal Server Error\n' });
      isBroken = false;
      expect(await post(call)).toMatchObject({
        status: 200,
        text: '{"overallCode":"OK","statuses":[{"code":"OK"}]}',
      });
      await server.close(100);
    });

    it('/healthcheck says whether it serves', async () => {
      // src/server/health.go, ServeHTTP
      const health = await fetch(`${url}/healthcheck`);
      expect([health.status, await health.text()]).toEqual([200, 'OK']);
      serving = false;
      expect((await fetch(`${url}/healthcheck`)).status).toBe(500);
    });
  });
});

describe('gRPC health', () => {
  it.each(['ratelimit', ''])(
    'of %j is SERVING, and NOT_SERVING from the end on, to who watches as well',
    async (service) => {
      // src/server/server_impl.go, newServer: `NewHealthChecker(health.NewServer(), "ratelimit", …)`
      const server = await startGrpcServer({ kind: 'tcp', host: '127.0.0.1', port: 0 }, [], 1_000_000);
      const loaded = protoLoader.loadSync('grpc/health/v1/health.proto', {
        includeDirs: [fileURLToPath(new URL('../../proto', import.meta.url))],
        enums: String,
      });
      // oxlint-disable-next-line no-explicit-any -- a client made of a description
      const { Health } = (grpc.loadPackageDefinition(loaded) as any).grpc.health.v1;
      const port = server.address.kind === 'tcp' ? server.address.port : 0;
      const client = new Health(`127.0.0.1:${port}`, grpc.credentials.createInsecure());
      const check = (): Promise<string> =>
        new Promise((resolve, reject) => {
          client.Check({ service }, (error: unknown, { status }: { status: string }) =>
            error ? reject(error) : resolve(status),
          );
        });
      const seen: string[] = [];
      const watch = client.Watch({ service });
      watch.on('data', ({ status }: { status: string }) => seen.push(status));
      watch.on('error', () => undefined);
      expect(await check()).toBe('SERVING');
      await eventually(
        () => seen.length,
        (length) => length === 1,
      );
      server.setServing(false);
      expect(await check()).toBe('NOT_SERVING');
      await eventually(
        () => seen,
        (all) => all.length === 2,
      );
      expect(seen).toEqual(['SERVING', 'NOT_SERVING']);
      watch.cancel();
      client.close();
      await server.close(100);
    },
  );
});
