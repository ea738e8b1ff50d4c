import type { TenantKey } from '../../src/domain/tenant-key.ts';

/** A key as a configuration has it. */
export const plainKey = (value: string): TenantKey => ({
  id: `cfg_${value.length}`,
  secret: { kind: 'plain', value },
});

/** Of keys as a configuration has them: their plain texts. */
export const plainTexts = (keys: readonly TenantKey[] = []): readonly string[] =>
  keys.map(({ secret }) => (secret.kind === 'plain' ? secret.value : `sha256 ${secret.digest}`));
