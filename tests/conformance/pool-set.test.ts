/** All pools together: what becomes of addresses that change, and in which order Envoy and the pools learn of it. */
import { afterEach, describe, expect, it } from 'vitest';
import { createSlowReaders } from '../../src/admission/slow-readers.ts';
import type { Config } from '../../src/config/config.ts';
import type { NameAddresses, ResolverOptions } from '../../src/envoy/dns-endpoints.ts';
import { createMemoryStore } from '../../src/limit/memory-store.ts';
import { createCatalog } from '../../src/routing/model-catalog.ts';
import { PoolSet } from '../../src/service/pool-set.ts';
import { createScheduling } from '../../src/service/scheduling.ts';
import type { ServiceEvent } from '../../src/telemetry/telemetry.ts';
import { configOf, minimal } from '../unit/config/parse.ts';

const URL = 'http://engine.example:8000';
const config = configOf({ ...minimal(), pools: { main: { endpoints: [URL] } } });
const HOST = 'engine.example';
const at = (...addresses: string[]): NameAddresses => new Map([[HOST, addresses]]);

let pools: PoolSet | undefined;
afterEach(() => pools?.stop());

/** Pools whose names are looked up by the test. */
function world(written: () => void = () => undefined) {
  const events: ServiceEvent[] = [];
  const done: string[] = [];
  let names: ResolverOptions | undefined;
  let answer: (addresses: NameAddresses) => void = () => undefined;
  const tell = (event: ServiceEvent): void => void events.push(event);
  const scheduling = createScheduling({
    config,
    store: createMemoryStore(),
    allotments: undefined,
    tell,
    all: {
      get pools() {
        return set;
      },
    },
  });
  const set = new PoolSet({
    config: (): Config => config,
    now: () => performance.now(),
    tell,
    dispatcher: scheduling.dispatcher,
    quarantine: scheduling.quarantine,
    sharedLimitsOf: scheduling.sharedLimitsOf,
    catalog: createCatalog(config),
    slowReaders: createSlowReaders(),
    watchNames(options) {
      names = options;
      return {
        resolve: () =>
          new Promise((resolve) => {
            answer = resolve;
          }),
        stop: () => undefined,
      };
    },
    writeFiles(_config, addresses) {
      done.push(`Envoy is told of ${[...addresses.values()].join()}, requests go to ${addressOf()}`);
      written();
    },
    onAddresses: (addresses) => done.push(`there are ${[...addresses].join()}`),
  });
  const addressOf = (): string =>
    set
      .get('main')
      ?.endpoints.list(0)
      .map(({ address }) => address)
      .join() || 'nobody';
  /** What is shown of it on the health page. */
  const shown = (): readonly string[] =>
    set.facts().flatMap(({ endpoints }) => endpoints.map(({ url }) => url));
  pools = set;
  return {
    set,
    events,
    done,
    addressOf,
    shown,
    answer: (addresses: NameAddresses) => answer(addresses),
    change: (addresses: NameAddresses) => names?.onLook(addresses),
    problem: (detail: string) => names?.onProblem(detail),
  };
}

describe('an address that changes', () => {
  it('is told to Envoy before requests go there', () => {
    const { set, done, addressOf, change } = world();
    set.apply(config, at('10.0.0.1'));
    expect(addressOf()).toBe('10.0.0.1:8000');
    change(at('fd00::2'));
    expect(addressOf()).toBe('[fd00::2]:8000');
    expect(done).toEqual([
      'Envoy is told of fd00::2, requests go to 10.0.0.1:8000',
      'there are [fd00::2]:8000',
    ]);
  });

  it('is not used where Envoy cannot be told', () => {
    const { set, events, addressOf, change } = world(() => {
      throw new Error('no right to write');
    });
    set.apply(config, at('10.0.0.1'));
    change(at('10.0.0.2'));
    expect(addressOf()).toBe('10.0.0.1:8000');
    expect(events).toContainEqual({
      kind: 'dns-failed',
      detail: 'new addresses of endpoints are not used: no right to write',
    });
  });

  it('while a configuration is looked up is left to whoever looks it up', async () => {
    const { set, done, addressOf, answer, change } = world();
    set.apply(config, at('10.0.0.1'));
    const resolving = set.resolve(config);
    change(at('10.0.0.2'));
    expect(addressOf()).toBe('10.0.0.1:8000');
    expect(done).toEqual([]);
    answer(at('10.0.0.3'));
    expect(await resolving).toEqual(at('10.0.0.3'));
    change(at('10.0.0.4'));
    expect(addressOf()).toBe('10.0.0.4:8000');
  });

  it('that cannot be looked up is told of, and requests go by the name', () => {
    const { set, events, addressOf, problem } = world();
    problem('endpoint host engine.example: ENOTFOUND');
    set.apply(config, new Map());
    expect(addressOf()).toBe('engine.example:8000');
    expect(events).toContainEqual({ kind: 'dns-failed', detail: 'endpoint host engine.example: ENOTFOUND' });
  });
});

describe('a name with several addresses', () => {
  it('has an endpoint for each, which stay the same ones while others come', () => {
    const { set, addressOf, shown, change, done } = world();
    set.apply(config, at('10.0.0.1'));
    expect(shown()).toEqual([URL]);
    const pool = set.get('main');
    pool?.endpoints.setHealthy(`${URL}#10.0.0.1`, true, 0);
    change(at('10.0.0.1', '10.0.0.2', '10.0.0.3'));
    expect(addressOf()).toBe('10.0.0.1:8000,10.0.0.2:8000,10.0.0.3:8000');
    expect(shown()).toEqual(['10.0.0.1', '10.0.0.2', '10.0.0.3'].map((ip) => `${URL}#${ip}`));
    expect(pool?.endpoints.list(0).map(({ healthy }) => healthy)).toEqual([true, false, false]);
    expect(done.at(-1)).toContain('there are 10.0.0.1:8000,10.0.0.2:8000,10.0.0.3:8000');
    const { length } = done;
    change(at('10.0.0.1', '10.0.0.2', '10.0.0.3'));
    expect(done).toHaveLength(length);
  });

  it('loses one that has requests only when they have ended', () => {
    const { set, addressOf, change, events } = world();
    set.apply(config, at('10.0.0.1', '10.0.0.2'));
    const endpoints = set.get('main')?.endpoints;
    for (const ip of ['10.0.0.1', '10.0.0.2']) endpoints?.setHealthy(`${URL}#${ip}`, true, 0);
    const demand = { sequences: 1, promptTokens: 1, totalTokens: 2, streamed: false, model: 'm' };
    const claim = { tenant: 'alice', belowFairShare: false, headroom: 0 };
    const take = () => {
      const got = endpoints?.acquire(demand, claim, 0);
      return got !== undefined && 'address' in got ? got : undefined;
    };
    const slot = take();
    const address = slot?.address ?? '';
    const [other = ''] = ['10.0.0.1:8000', '10.0.0.2:8000'].filter((one) => one !== address);
    change(at(other.replace(':8000', '')));
    expect(addressOf().split(',').sort()).toEqual([address, other].sort());
    expect(take()?.address).toBe(other);
    expect(take()?.address).toBe(other);
    expect(events).toContainEqual(
      expect.objectContaining({ kind: 'endpoint-drain', state: 'draining', last: false }),
    );
    slot?.free(1);
    change(at(other.replace(':8000', '')));
    expect(addressOf()).toBe(other);
  });

  it('is drained by its URL at all of them, also those that come later, and each by its own', () => {
    const { set, change } = world();
    const drained = (): readonly string[] =>
      set.facts().flatMap((pool) => pool.drained.map(({ url }) => url));
    set.apply(config, at('10.0.0.1', '10.0.0.2'));
    expect(set.drain(`${URL}#10.0.0.1`, false)).toEqual({ kind: 'draining', last: false });
    expect(drained()).toEqual([`${URL}#10.0.0.1`]);
    expect(set.drain(`${URL}#10.0.0.1`, true)).toEqual({ kind: 'undone' });
    expect(set.drain(URL, false)).toEqual({ kind: 'draining', last: true });
    change(at('10.0.0.1', '10.0.0.2', '10.0.0.3'));
    expect(drained()).toEqual(['10.0.0.1', '10.0.0.2', '10.0.0.3'].map((ip) => `${URL}#${ip}`));
    expect(set.drain(URL, true)).toEqual({ kind: 'undone' });
    expect(drained()).toEqual([]);
    change(at('10.0.0.1', '10.0.0.2', '10.0.0.3', '10.0.0.4'));
    expect(drained()).toEqual([]);
    expect(set.drain(`${URL}#10.0.0.9`, false)).toEqual({ kind: 'unknown' });
  });

  it('of which there are too many uses some of them, and says so once', () => {
    const { set, addressOf, change, events } = world();
    const all = Array.from({ length: 300 }, (_, i) => `10.0.${i >> 8}.${i & 255}`);
    set.apply(config, at(...all));
    expect(addressOf().split(',')).toHaveLength(128);
    const before = addressOf();
    change(at(...all.toReversed()));
    expect(addressOf()).toBe(before);
    expect(events.filter(({ kind }) => kind === 'dns-failed')).toEqual([
      { kind: 'dns-failed', detail: `endpoint host ${HOST} stands for 300 addresses; 128 of them are used` },
    ]);
  });
});

describe('a pool', () => {
  it('that the configuration has no more is gone, with what a command drained', () => {
    const { set, addressOf } = world();
    set.apply(config, at('10.0.0.1'));
    expect(set.drain(URL, false)).toEqual({ kind: 'draining', last: true });
    const other = configOf({ ...minimal(), pools: { other: { endpoints: ['http://10.0.0.9:1'] } } });
    set.apply(other, new Map());
    expect(addressOf()).toBe('nobody');
    expect(set.drain(URL, false)).toEqual({ kind: 'unknown' });
    expect(set.facts().map(({ name }) => name)).toEqual(['other']);
  });

  it('stays the same one when only its drains change', () => {
    const { set } = world();
    set.apply(config, at('10.0.0.1'));
    const before = set.get('main');
    const drained = configOf({ ...minimal(), pools: { main: { endpoints: [URL], drain: [URL] } } });
    set.apply(drained, at('10.0.0.1'));
    expect(set.get('main')).toBe(before);
    expect(set.facts()[0]?.drained).toEqual([{ url: URL, inFlight: 0 }]);
  });
});
