/** Whether what a store of tenants says can be taken over. */
import { TenantStoreError } from '../tenant/tenant-store.ts';

/**
 * A store that was emptied, as a Redis that keeps nothing on a disk, is not to lock everybody out; one that went back to an earlier
 * state, as after a failover, is not to bring back keys that were revoked.
 *
 * @param least the version in force when it was asked.
 * @throws TenantStoreError when it is older than that.
 */
export function requireKept(
  version: number,
  least: number,
  { shown, copy }: { readonly shown: string; readonly copy: { readonly path: string } },
): void {
  if (version >= least) return;
  const what = version === 0 ? 'has no tenants any more' : `is at change ${version}, after ${least}`;
  throw new TenantStoreError(
    'refused',
    `${shown} ${what}, and those of before stay in force; restore it, or remove ${copy.path} and restart`,
  );
}
