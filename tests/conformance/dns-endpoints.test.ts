/** Names of endpoints, looked up by the system's resolver, a DNS server of the test's, and a function that stands for both. */
import { afterEach, describe, expect, it } from 'vitest';
import type { Config } from '../../src/config/config.ts';
import {
  createEndpointResolver,
  type EndpointResolver,
  type LookUp,
  type NameAddresses,
  usableOf,
} from '../../src/envoy/dns-endpoints.ts';
import { type DnsServer, startDnsServer } from '../support/dns-server.ts';
import { eventually } from '../support/eventually.ts';
import { configOf } from '../unit/config/parse.ts';

const withEndpoints = (endpoints: readonly string[], dns: object = {}): Config => {
  const config = configOf({
    pools: { main: { endpoints } },
    tenants: { alice: { keys: ['key-of-alice'] } },
    service: { dns },
  });
  return { ...config, service: { ...config.service, dns: { ...config.service.dns, refreshMs: 10 } } };
};

let resolver: EndpointResolver | undefined;
let server: DnsServer | undefined;
afterEach(async () => {
  resolver?.stop();
  await server?.close();
  server = undefined;
});

function watch(lookUp?: LookUp) {
  const looks: NameAddresses[] = [];
  const problems: string[] = [];
  const made = createEndpointResolver({
    onLook: (names) => looks.push(names),
    onProblem: (detail) => problems.push(detail),
    random: () => 0.5,
    ...(lookUp !== undefined && { lookUp }),
  });
  resolver = made;
  return { made, looks, problems };
}

const seen = <T>(value: () => T, is: (value: T) => boolean): Promise<T> => eventually(value, is);

describe('the names of endpoints', () => {
  it('are looked up by the system, and again; addresses are not', async () => {
    const { made, looks, problems } = watch();
    const names = await made.resolve(withEndpoints(['http://localhost:8000', 'http://10.0.0.1:8000']));
    expect([...names.keys()]).toEqual(['localhost']);
    await seen(
      () => looks.length,
      (count) => count >= 2,
    );
    expect(looks.at(-1)).toEqual(names);
    expect(problems).toEqual([]);
  });

  it('stand for what a DNS server says: several addresses, in any order, IPv6 where there is no IPv4', async () => {
    server = await startDnsServer();
    server.set('many.test', ['10.0.0.2', '10.0.0.1', '10.0.0.2']);
    server.set('both.test', ['fd00::1', '10.0.0.9']);
    server.set('six.test', ['fd00::2', 'fd00::1']);
    const { made, problems } = watch();
    const names = await made.resolve(
      withEndpoints(
        [
          'http://many.test:1',
          'http://many.test:2',
          'http://both.test:1',
          'http://six.test:1',
          'http://none.test:1',
        ],
        { servers: [server.address] },
      ),
    );
    expect(Object.fromEntries(names)).toEqual({
      'many.test': ['10.0.0.1', '10.0.0.2'],
      'both.test': ['10.0.0.9'],
      'six.test': ['fd00::1', 'fd00::2'],
    });
    expect(problems).toEqual([expect.stringContaining('endpoint host none.test: ')]);
  });

  it('keep what they stood for while nobody knows: a server that fails, no address, no name', async () => {
    server = await startDnsServer();
    server.set('engine.test', ['10.0.0.1', '10.0.0.2']);
    const { made, looks, problems } = watch();
    const names = await made.resolve(withEndpoints(['http://engine.test:1'], { servers: [server.address] }));
    for (const gone of ['broken', []] as const) {
      server.set('engine.test', gone);
      const { length } = looks;
      await seen(
        () => looks.length,
        (count) => count > length + 2,
      );
      expect(looks.at(-1)).toEqual(names);
    }
    expect(problems).toEqual([expect.stringContaining('10.0.0.1, 10.0.0.2 stay in use')]);
    server.set('engine.test', ['10.0.0.3']);
    await seen(
      () => looks.at(-1)?.get('engine.test'),
      (addresses) => addresses?.join() === '10.0.0.3',
    );
  });

  it('of which one never answers keep nobody waiting, and it is told when it does', async () => {
    let answer: (addresses: readonly string[]) => void = () => undefined;
    const { made, looks } = watch((host) =>
      host === 'slow.test'
        ? new Promise((resolve) => {
            answer = resolve;
          })
        : Promise.resolve(['10.0.0.1']),
    );
    const config = withEndpoints(['http://slow.test:1', 'http://fast.test:1']);
    expect([...(await made.resolve(config)).keys()]).toEqual(['fast.test']);
    answer(['10.0.0.7']);
    await seen(
      () => looks.at(-1)?.get('slow.test'),
      (addresses) => addresses?.join() === '10.0.0.7',
    );
  }, 15_000);

  it('of a configuration that is gone are not looked up any more', async () => {
    const asked: string[] = [];
    const { made, looks } = watch((host) => {
      asked.push(host);
      return Promise.resolve(['10.0.0.1']);
    });
    await made.resolve(withEndpoints(['http://old.test:1']));
    await made.resolve(withEndpoints(['http://new.test:1']));
    asked.length = 0;
    const { length } = looks;
    await seen(
      () => looks.length,
      (count) => count > length + 2,
    );
    expect(new Set(asked)).toEqual(new Set(['new.test']));
    expect([...(looks.at(-1)?.keys() ?? [])]).toEqual(['new.test']);
  });

  it.each([
    [['not an address', '', '10.0.0.256', 'fe80::1%eth0'], []],
    [['fe80::1%eth0', 'fd00::1'], ['fd00::1']],
    [
      ['10.0.0.2', 'fd00::1', '10.0.0.1', '10.0.0.2'],
      ['10.0.0.1', '10.0.0.2'],
    ],
    [[], []],
  ])('that stand for %j have the endpoints %j', (answers, usable) => {
    expect(usableOf(answers)).toEqual(usable);
  });
});
