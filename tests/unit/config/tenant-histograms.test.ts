import { expect, it } from 'vitest';
import { tenantsInHistograms } from '../../../src/config/telemetry.ts';

it.each([
  ['auto', 0, true],
  ['auto', 200, true],
  ['auto', 201, false],
  ['on', 10_000, true],
  ['off', 1, false],
] as const)('tenantHistograms %s with %d tenants: %s', (tenantHistograms, tenants, shown) => {
  expect(tenantsInHistograms({ tenantHistograms }, tenants)).toBe(shown);
});
