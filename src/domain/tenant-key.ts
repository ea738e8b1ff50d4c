/** A key by which a client is a tenant. */
import type { EngineRoute, StoredRoute } from './routes.ts';

/** What the ids of keys of the configuration begin with. */
export const CONFIGURED_KEY_PREFIX = 'cfg_';

export interface TenantKey {
  /** Names it in records and commands; nothing of the key can be told from it. */
  readonly id: string;
  /** What people call it. */
  readonly name?: string;
  /** Itself, as a configuration has it, or its SHA-256 (64 hexadecimal digits), as a store has it. Never logged, never printed. */
  readonly secret:
    | { readonly kind: 'plain'; readonly value: string }
    | { readonly kind: 'sha256'; readonly digest: string };
  /** Unix time from which it is none; absent: never. */
  readonly expiresMs?: number;
  /** Of the tenant's models, those that it may be used for; absent: all. */
  readonly models?: ReadonlySet<string>;
  /** Routes that it may be used for; absent: all. */
  readonly routes?: ReadonlySet<EngineRoute | StoredRoute>;
}
