/** What a request's key lets it do. */
import { describe, expect, it } from 'vitest';
import type { RequestHead } from '../../../src/admission/edge.ts';
import type { RequestTenant } from '../../../src/admission/lifecycle-context.ts';
import { whoseRequest } from '../../../src/admission/tenant-of.ts';
import type { TenantConfig } from '../../../src/config/config.ts';
import { findKey } from '../../../src/domain/find-key.ts';
import type { TenantKey } from '../../../src/domain/tenant-key.ts';
import { createWorld } from '../../support/lifecycle.ts';

const key = (id: string, settings: Partial<TenantKey> = {}): TenantKey => ({
  id,
  secret: { kind: 'sha256', digest: '0'.repeat(64) },
  ...settings,
});

const { context } = createWorld();
const [standard] = context.config().tenants.values();
if (standard === undefined) throw new Error('there is no tenant');

function whose(keys: readonly TenantKey[], head: Partial<RequestHead>, tenant: Partial<TenantConfig> = {}) {
  const config = { ...standard, ...tenant, keys } as TenantConfig;
  const found = { config, limits: {} } as RequestTenant;
  return whoseRequest(
    { config: context.config, tenants: { get: () => found }, unixMs: () => 1_000 },
    {
      method: 'POST',
      path: '/v1/chat/completions',
      tenant: config.name,
      requestId: 'r',
      contentLength: undefined,
      endOfStream: false,
      header: () => '',
      ...head,
    },
    'chat.completions',
    0,
  );
}

describe('a key', () => {
  it.each<[string, readonly TenantKey[], string | undefined, string | undefined]>([
    ['of the tenant', [key('a')], 'a', undefined],
    ['that is not its any more', [key('b')], 'a', 'invalid_api_key'],
    ['of a tenant without keys', [], 'a', 'invalid_api_key'],
    ['that has not expired', [key('a', { expiresMs: 1_001 })], 'a', undefined],
    ['that has expired', [key('a', { expiresMs: 1_000 })], 'a', 'key_expired'],
    ['for the route', [key('a', { routes: new Set(['chat.completions']) })], 'a', undefined],
    ['for another route', [key('a', { routes: new Set(['embeddings']) })], 'a', 'route_not_allowed'],
    ['that nobody names, of keys without bounds', [key('a')], undefined, undefined],
    [
      'that nobody names, of keys with bounds',
      [key('a'), key('b', { expiresMs: 5_000 })],
      undefined,
      'key_not_told',
    ],
    ['whatever it is', [key('a', { expiresMs: 0 })], '', undefined],
  ])('%s', (_, keys, keyId, code) => {
    const { refusal } = whose(keys, keyId === undefined ? {} : { keyId });
    expect(refusal?.code).toBe(code);
  });

  it('for some models narrows what the tenant may use, and nothing else of it', () => {
    const models = new Set(['demo']);
    const keys = [key('a', { models })];
    const { tenant } = whose(keys, { keyId: 'a' });
    expect(tenant?.config.keyModels).toBe(models);
    expect(tenant?.config.limits).toBe(standard.limits);
    // Made once for a tenant, and anew for what it becomes.
    const config = { ...standard, keys };
    const one = whose(keys, { keyId: 'a' }, config);
    expect(one.tenant?.config.models).toBe(standard.models);
    expect(whose(keys, { keyId: 'a' }, { models: new Set(['demo']) }).tenant?.config.models).toEqual(
      new Set(['demo']),
    );
  });
});

it('a key is found by its id, among few and among many', () => {
  for (const count of [0, 1, 8, 9, 5_000]) {
    const keys = Array.from({ length: count }, (_, i) => key(`k${i}`));
    expect(findKey(keys, `k${count - 1}`)).toBe(keys[count - 1]);
    expect(findKey(keys, 'none')).toBeUndefined();
    expect(findKey(keys, '__proto__')).toBeUndefined();
  }
});
