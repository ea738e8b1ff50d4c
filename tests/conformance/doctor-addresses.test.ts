/** What `fairlane doctor` asks where an endpoint has a name. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { addressesOf } from '../../src/cli/doctor-addresses.ts';
import type { EndpointConfig } from '../../src/config/config.ts';
import { type DnsServer, startDnsServer } from '../support/dns-server.ts';
import { configOf, minimal } from '../unit/config/parse.ts';

let dns: DnsServer;
beforeAll(async () => {
  dns = await startDnsServer();
  dns.set('one.test', ['10.0.0.1']);
  dns.set(
    'many.test',
    Array.from({ length: 50 }, (_, i) => `10.0.0.${i + 100}`),
  );
});
afterAll(() => dns.close());

async function ask(host: string) {
  const told: string[] = [];
  const config = configOf({ ...minimal(), service: { dns: { servers: [dns.address] } } });
  const endpoint: EndpointConfig = { url: `http://${host}:8000`, host, port: 8_000 };
  const asked = await addressesOf('main', endpoint, config, (level, text) => told.push(`${level} ${text}`));
  return { told, asked: asked.map(({ url, address }) => [url, address]) };
}

it('an address is asked as it is, a name at its address', async () => {
  expect(await ask('10.0.0.9')).toEqual({ told: [], asked: [['http://10.0.0.9:8000', undefined]] });
  expect(await ask('one.test')).toEqual({ told: [], asked: [['http://one.test:8000', '10.0.0.1']] });
});

it('a name with many addresses is asked at some of them, and they are shown', async () => {
  const { told, asked } = await ask('many.test');
  expect(asked).toHaveLength(16);
  expect(asked[0]).toEqual(['http://many.test:8000#10.0.0.100', '10.0.0.100']);
  expect(told).toEqual([
    expect.stringMatching(
      /^ok pool main, .*many\.test stands for 50 addresses, of which the first 16 are asked: 10\.0\.0\.100, /,
    ),
  ]);
});

it('a name that is none is a problem', async () => {
  const { told, asked } = await ask('none.test');
  expect(asked).toEqual([]);
  expect(told).toEqual([
    expect.stringMatching(/^problem pool main, .*none\.test cannot be looked up: .*service\.dns/),
  ]);
});
