/** What the admin API works on. */
import type { AdminConfig } from '../config/admin.ts';
import type { Config } from '../config/config.ts';
import type { MergedTenants } from '../tenant/merge-tenants.ts';
import type { Decision, Known } from '../tenant/tenant-changes.ts';
import type { AuditEntry, AuditPage, StoredState } from '../tenant/tenant-store.ts';

/** service/runtime-tenants.ts is one. */
interface MadeTenants {
  readonly state: StoredState;
  readonly files: Config | undefined;
  readonly merged: MergedTenants | undefined;
  usedMs(keyId: string): number | undefined;
  /** @throws TenantStoreError. */
  change(actor: string, decide: (known: Known) => Decision): Promise<Decision>;
  /** @throws TenantStoreError. */
  audit(page: AuditPage): Promise<readonly AuditEntry[]>;
}

export interface AdminWorld {
  readonly made: MadeTenants;
  /** As it is now: tokens are those of the last reload. */
  readonly admin: () => AdminConfig;
  /** That the server listens on. */
  readonly host: string;
  readonly unixMs: () => number;
}
