/** All pools together: what becomes of addresses that change, and in which order Envoy and the pools learn of it. */
import { afterEach, describe, expect, it } from 'vitest';
import { createSlowReaders } from '../../src/admission/slow-readers.ts';
import type { Config } from '../../src/config/config.ts';
import type { ResolverOptions } from '../../src/envoy/dns-endpoints.ts';
import { createMemoryStore } from '../../src/limit/memory-store.ts';
import { createCatalog } from '../../src/routing/model-catalog.ts';
import { PoolSet, type ResolvedAddresses } from '../../src/service/pool-set.ts';
import { createScheduling } from '../../src/service/scheduling.ts';
import type { ServiceEvent } from '../../src/telemetry/telemetry.ts';
import { configOf, minimal } from '../unit/config/parse.ts';

const URL = 'http://engine.example:8000';
const config = configOf({ ...minimal(), pools: { main: { endpoints: [URL] } } });
const at = (address: string): ResolvedAddresses => new Map([[URL, address]]);

let pools: PoolSet | undefined;
afterEach(() => pools?.stop());

/** Pools whose names are looked up by the test. */
function world(written: (addresses: ResolvedAddresses) => void = () => undefined) {
  const events: ServiceEvent[] = [];
  const done: string[] = [];
  let names: ResolverOptions | undefined;
  let answer: (addresses: ResolvedAddresses) => void = () => undefined;
  const tell = (event: ServiceEvent): void => void events.push(event);
  const scheduling = createScheduling({
    config,
    store: createMemoryStore(),
    allotments: undefined,
    tell,
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
      done.push(`Envoy is told of ${addresses.get(URL)}, requests go to ${addressOf()}`);
      written(addresses);
    },
    onAddresses: (addresses) => done.push(`there are ${[...addresses].join()}`),
  });
  const addressOf = (): string => set.get('main')?.endpoints.list(0)[0]?.address ?? 'nobody';
  pools = set;
  return {
    set,
    events,
    done,
    addressOf,
    answer: (addresses: ResolvedAddresses) => answer(addresses),
    change: (addresses: ResolvedAddresses) => names?.onChange(addresses),
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
