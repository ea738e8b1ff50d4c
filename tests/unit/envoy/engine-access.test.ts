/** What Envoy is told of each endpoint: only of those that are not plain, and no secret but in its own file. */
import { describe, expect, it } from 'vitest';
import type { Config, EndpointConfig } from '../../../src/config/config.ts';
import { dynamicFilesOf } from '../../../src/envoy/dynamic-files.ts';
import { createWorld } from '../../support/lifecycle.ts';

const { config } = createWorld();
const [main] = config.pools.values();
const at = (n: number, more: Partial<EndpointConfig> = {}): EndpointConfig => ({
  url: `http://10.0.0.${n}:8000${more.prefix ?? ''}`,
  host: `10.0.0.${n}`,
  port: 8_000,
  pool: 'main',
  ...more,
});
const keyed = (n: number, value: string, of: 'pool' | 'endpoint' = 'endpoint') =>
  at(n, { apiKey: { value, of } });
const withEndpoints = (endpoints: readonly EndpointConfig[]): Config => ({
  ...config,
  pools: new Map(main === undefined ? [] : [['main', { ...main, endpoints }]]),
});
const filesOf = (endpoints: readonly EndpointConfig[]) =>
  dynamicFilesOf(withEndpoints(endpoints), new Map(endpoints.map(({ url, host }) => [url, host])), 'ROOTS');
const textOf = (endpoints: readonly EndpointConfig[], name: RegExp): string =>
  JSON.stringify([...filesOf(endpoints)].filter(([file]) => name.test(file)));
const namesOf = (endpoints: readonly EndpointConfig[]): readonly string[] => [...filesOf(endpoints).keys()];

describe('plain endpoints', () => {
  it('have the files that they always had', () => {
    expect(namesOf([at(1), at(2)])).toEqual([
      'hashed-keys.json',
      'key-ids.json',
      'api-keys.json',
      'credentials.json',
      'endpoints-main.json',
      'clusters.json',
    ]);
    expect(textOf([at(1), at(2)], /./)).not.toMatch(
      /fairlane\.engine_address|filter_metadata|transport_socket|weight/,
    );
  });
});

describe('an endpoint’s key', () => {
  it('stands in a file of its own, and nowhere else', () => {
    const endpoints = [keyed(1, 'key-one'), keyed(2, 'key-two', 'pool'), keyed(3, 'key-two', 'pool')];
    const secrets = namesOf(endpoints).filter((name) => name.startsWith('engine-secret@'));
    expect(secrets).toHaveLength(2);
    expect(secrets).toContain('engine-secret@key@main.json');
    expect(textOf(endpoints, /^(?!engine-secret@)/)).not.toMatch(/key-one|key-two/);
  });

  it('changes in its place: neither clusters nor endpoints do', () => {
    const [before, after] = [[keyed(1, 'key-one')], [keyed(1, 'key-new')]];
    expect(namesOf(after)).toEqual(namesOf(before));
    expect(textOf(after, /^(clusters|endpoints)/)).toBe(textOf(before, /^(clusters|endpoints)/));
    expect(textOf(after, /^engine-secret/)).not.toBe(textOf(before, /^engine-secret/));
  });

  it('is meant by the endpoint, wherever that stands in the list', () => {
    const [one, two] = [keyed(1, 'key-one'), keyed(2, 'key-two')];
    expect(new Map([...filesOf([one, two])].filter(([name]) => name.startsWith('engine-secret')))).toEqual(
      new Map([...filesOf([two, one])].filter(([name]) => name.startsWith('engine-secret'))),
    );
  });
});

describe('endpoints that a cluster does not know how to reach', () => {
  it('are in a file of another name, which that cluster does not read', () => {
    const file = (endpoints: readonly EndpointConfig[]) =>
      namesOf(endpoints).find((name) => name.startsWith('endpoints-'));
    const tls = at(1, { url: 'https://10.0.0.1:8000', tls: {} });
    const all = [
      [at(1)],
      [keyed(1, 'x')],
      [tls],
      [{ ...tls, tls: { serverName: 'a' } }],
      [at(1, { prefix: '/a' })],
    ];
    const names = all.map(file);
    expect(new Set(names).size).toBe(all.length);
    for (const [i, endpoints] of all.entries()) {
      expect(textOf(endpoints, /^clusters/)).toContain(`/${names[i]}`);
    }
  });
});

describe('endpoints that every cluster of the pool can reach', () => {
  const file = (endpoints: readonly EndpointConfig[]) =>
    namesOf(endpoints).find((name) => name.startsWith('endpoints-'));

  it('are in the same file as before: names, more of the same, other prefixes', () => {
    const named = { ...at(1), url: 'http://engine:8000', host: 'engine' };
    expect(file([named, at(2)])).toBe('endpoints-main.json');
    const shared = (n: number, more = {}) => ({ ...keyed(n, 'x', 'pool'), ...more });
    expect(file([shared(1), shared(2)])).toBe(file([shared(1)]));
    expect(file([at(1, { prefix: '/b' })])).toBe(file([at(1, { prefix: '/a' })]));
  });
});

describe('TLS', () => {
  const secure = (more: EndpointConfig['tls']) => at(1, { url: 'https://10.0.0.1:8000', tls: more ?? {} });

  it('goes by the default authorities where none is named, and by the address', () => {
    const endpoints = [secure({})];
    expect(textOf(endpoints, /^engine-secret@roots/)).toContain('ROOTS');
    expect(textOf(endpoints, /^clusters/)).toContain(
      '"san_type":"IP_ADDRESS","matcher":{"exact":"10.0.0.1"}',
    );
    expect(textOf(endpoints, /^clusters/)).not.toContain('"sni"');
  });

  it('goes by the name that is set', () => {
    const text = textOf([secure({ serverName: 'engine.test' })], /^clusters/);
    expect(text).toContain('"sni":"engine.test"');
    expect(text).toContain('"san_type":"DNS","matcher":{"exact":"engine.test"}');
  });

  it('looks at nothing only where that is said', () => {
    const text = (insecure: boolean) =>
      textOf([secure(insecure ? { insecureSkipVerify: true } : {})], /^clusters/);
    expect(text(false)).toContain('combined_validation_context');
    expect(text(true)).not.toContain('validation_context');
  });
});

describe('weights', () => {
  it('are Envoy’s too, for when the service names nobody', () => {
    const weights = textOf([at(1, { weight: 0.5 }), at(2), at(3, { weight: 1_000 })], /^endpoints/).match(
      /"load_balancing_weight":\d+/g,
    );
    expect(weights?.map((text) => Number(text.split(':')[1]))).toEqual([50, 100, 100_000]);
  });
});
