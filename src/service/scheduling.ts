/** Who may run how much, and what waits: joins the tenants' limits, what replicas share, and the dispatcher that asks both. */
import { Quarantine } from '../admission/quarantine.ts';
import type { Config } from '../config/config.ts';
import type { RedisAllotments } from '../limit/redis-allotments.ts';
import type { LimitStore } from '../limit/store.ts';
import type { SharedLimits } from '../pool/types.ts';
import { createDispatcher } from '../queue/dispatcher.ts';
import { createTenantCaps } from '../queue/tenant-caps.ts';
import type { Dispatcher } from '../queue/types.ts';
import type { ServiceEvent } from '../telemetry/telemetry.ts';
import { createTenantDirectory, type TenantDirectory } from '../tenant/directory.ts';

export interface SchedulingOptions {
  readonly config: Config;
  /** Where the levels of the tenants' buckets are. */
  readonly store: LimitStore;
  /** Undefined: there are no other replicas. */
  readonly allotments: RedisAllotments | undefined;
  readonly tell: (event: ServiceEvent) => void;
  /** All parts. Has the pools once they are made: they know what the endpoint at an address is called. */
  readonly all: { readonly pools: { nameAt(address: string): string } };
}

export interface Scheduling {
  readonly tenants: TenantDirectory;
  readonly dispatcher: Dispatcher;
  readonly quarantine: Quarantine;
  /** How replicas share the endpoints of a pool; undefined: they do not. */
  readonly sharedLimitsOf: (pool: string) => SharedLimits | undefined;
}

export function createScheduling({ config, store, allotments, tell, all }: SchedulingOptions): Scheduling {
  const tenants = createTenantDirectory(config, store, Date.now);
  const quarantine = new Quarantine(({ tenant, limited, endpoints, untilWell }, nowMs) => {
    const detail = limited
      ? `engines died while they had its requests (${endpoints.map((one) => all.pools.nameAt(one)).join(', ')}); one at a time until ${untilWell} end well`
      : 'its requests end well';
    tell({ kind: 'tenant-limited', tenant, limited, detail });
    dispatcher.capChanged(tenant, nowMs);
  });
  const caps =
    allotments &&
    createTenantCaps({
      allotments: allotments,
      keyOf: (name) => allotments.keyOfTenant(name),
      maxConcurrentOf: (name) => tenants.get(name)?.config.limits.maxConcurrent ?? 0,
      inFlightOf: (name) => dispatcher.inFlightOfTenant(name),
      queuedOf: (name) => dispatcher.queuedOfTenant(name),
      changed: (name, nowMs) => dispatcher.capChanged(name, nowMs),
    });
  const dispatcher = createDispatcher(
    config.queue,
    (name) => tenants.get(name)?.config.limits,
    caps,
    (name) => quarantine.mostInFlight(name),
  );
  return {
    tenants,
    dispatcher,
    quarantine,
    sharedLimitsOf: (pool) => allotments && sharedLimits(pool, allotments, dispatcher),
  };
}

function sharedLimits(pool: string, allotments: RedisAllotments, dispatcher: Dispatcher): SharedLimits {
  return {
    hold: (url, owner) =>
      allotments.hold(allotments.keyOfEndpoint(pool, url), 'concurrency-limit', {
        capacity: (nowMs) => owner.capacity(nowMs),
        inUse: () => owner.inUse(),
        claimed: (nowMs) => owner.claimed(nowMs),
        want: (nowMs) => owner.want(nowMs),
        changed: (nowMs) => dispatcher.roomChanged(pool, nowMs),
      }),
    waiting: (nowMs) => ({
      queued: dispatcher.queuedOf(pool),
      headroom: dispatcher.headroomOf(pool, nowMs),
    }),
  };
}
