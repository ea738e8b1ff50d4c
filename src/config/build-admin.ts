/** The admin API's settings, from a configuration that has been checked. */
import type { AdminConfig } from './admin.ts';
import { DEFAULT_MAX_BODY_BYTES, maxHeldBytesOf } from './body-limit.ts';
import type { FoundAdmin } from './checks/admin.ts';
import { currenciesOf } from './checks/budgets.ts';
import { tlsOf } from './checks/listeners.ts';
import type { WrittenConfig } from './schema/schema.ts';
import type { Looked } from './secrets.ts';

/** A reference that nobody was to follow is no token. */
const textOf = (looked: Looked | undefined): string | undefined =>
  looked?.kind === 'ok' ? looked.value : undefined;

export function adminOf(written: WrittenConfig, found: FoundAdmin): { readonly admin?: AdminConfig } {
  if (written.admin === undefined) return {};
  const tls = tlsOf(found.tls);
  const readToken = textOf(found.readToken);
  const currencies = currenciesOf(written);
  return {
    admin: {
      address: written.admin.address,
      token: textOf(found.token) ?? '',
      ...(readToken !== undefined && { readToken }),
      ...(tls !== undefined && { tls: { cert: tls.cert, key: tls.key } }),
      directory: found.directory,
      tenants: {
        known: found.known,
        root: found.written,
        tiers: new Map(Object.entries(written.tiers)),
        heldBytes: maxHeldBytesOf(written),
        maxBodyBytes: written.envoy.maxBodySize ?? DEFAULT_MAX_BODY_BYTES,
        ...(currencies !== undefined && { currencies }),
      },
    },
  };
}
