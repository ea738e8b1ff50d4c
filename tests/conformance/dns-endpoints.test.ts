import { expect, it } from 'vitest';
import { createEndpointResolver } from '../../src/envoy/dns-endpoints.ts';
import { eventually } from '../support/eventually.ts';
import { configOf } from '../unit/config/parse.ts';

const URL = 'http://localhost:8000';

it('tells new addresses of endpoints until they are in use', async () => {
  const told: (string | undefined)[] = [];
  let used: ReadonlyMap<string, string> = new Map();
  const resolver = createEndpointResolver({
    inUse: () => used,
    onChange(addresses) {
      told.push(addresses.get(URL));
      // The first two cannot be taken over.
      if (told.length === 3) used = addresses;
    },
    onProblem: (detail) => told.push(detail),
    intervalMs: 10,
  });
  try {
    const addresses = await resolver.resolve(
      configOf({ pools: { main: { endpoints: [URL] } }, tenants: { alice: { keys: ['key-of-alice'] } } }),
    );
    await eventually(
      () => told.length,
      (count) => count >= 3,
    );
    await new Promise((resolve) => setTimeout(resolve, 60));
    expect(told).toEqual(Array.from({ length: 3 }, () => addresses.get(URL)));
  } finally {
    resolver.stop();
  }
});
