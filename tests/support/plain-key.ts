import type { TenantKey } from '../../src/domain/tenant-key.ts';

/** A key as a configuration has it. */
export const plainKey = (value: string): TenantKey => ({
  id: `cfg_${value.length}`,
  secret: { kind: 'plain', value },
});
