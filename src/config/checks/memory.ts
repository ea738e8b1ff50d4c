/** Bounds on memory that leave room for one request of the largest size. */
import type { WrittenConfig } from '../schema/schema.ts';
import { sizeBytes } from '../values.ts';
import { at, entriesAt } from '../written-data.ts';
import type { Path } from '../yaml-source.ts';
import type { Check } from './check.ts';

export function checkMemory(written: WrittenConfig, check: Check): void {
  const { root } = check;
  const { maxBodySize } = written.envoy;
  // The default follows the others.
  if (maxBodySize === undefined) return;
  const atLeast = leastSize(maxBodySize, check);
  atLeast(['queue', 'maxQueuedSize'], at(root, 'queue', 'maxQueuedSize'));
  for (const [name, tier] of entriesAt(root, 'tiers')) {
    atLeast(['tiers', name, 'maxHeldSize'], at(tier, 'maxHeldSize'));
  }
  checkTenantMemory(maxBodySize, check);
}

/** Of the tenants of `check.root`. @param maxBodySize undefined: it is not known, for it is written wrong. */
export function checkTenantMemory(maxBodySize: number | undefined, check: Check): void {
  if (maxBodySize === undefined) return;
  const atLeast = leastSize(maxBodySize, check);
  for (const [name, tenant] of entriesAt(check.root, 'tenants')) {
    atLeast(['tenants', name, 'limits', 'maxHeldSize'], at(tenant, 'limits', 'maxHeldSize'));
  }
}

const leastSize =
  (maxBodySize: number, { report }: Check) =>
  (path: Path, found: unknown): void => {
    const bytes = typeof found === 'string' ? sizeBytes(found) : undefined;
    if (bytes === undefined || bytes >= maxBodySize) return;
    report.problem(
      path,
      `is smaller than envoy.maxBodySize (${maxBodySize} bytes): a request of that size could never pass; raise it, or lower envoy.maxBodySize`,
    );
  };
