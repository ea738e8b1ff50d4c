/**
 * What `/status` shows, read from the parts in time for the tenants with requests, the requests that wait and the endpoints, and kept
 * for a moment: many who ask cost as much as one.
 */
import type { HealthReport } from '../admin/health.ts';
import {
  type ModelStatus,
  STATUS_VERSION,
  type StatusQuery,
  type StatusReport,
  type TenantStatus,
} from '../admin/status.ts';
import type { Config } from '../config/config.ts';
import { amountText } from '../domain/amount.ts';
import type { Dispatcher } from '../queue/types.ts';
import type { Mirrors } from '../rollout/mirrors.ts';
import type { Rollouts } from '../rollout/rollouts.ts';
import type { Catalog } from '../routing/model-catalog.ts';
import type { RecentUsage } from '../telemetry/recent-usage.ts';
import type { BucketView } from '../tenant/bucket.ts';
import type { TenantDirectory } from '../tenant/directory.ts';
import type { BudgetView } from '../tenant/request-limits.ts';
import type { Occupancy } from '../usage/occupancy.ts';
import { modelStatuses } from './model-status.ts';
import type { PoolSet } from './pool-set.ts';
import { poolStatusOf } from './pool-status.ts';
import {
  activities,
  idleActivity,
  queueOf,
  restOf,
  shownRates,
  sorted,
  type TenantActivity,
} from './status-rows.ts';

export interface StatusParts {
  readonly config: () => Config;
  /** Of the configuration in use. */
  readonly inUse: () => { readonly file: string | undefined; readonly sinceMs: number };
  readonly health: () => HealthReport;
  /** Undefined: none is configured. */
  readonly redis: () => { readonly connected: boolean; readonly leased: number } | undefined;
  readonly openStreams: () => number;
  readonly pools: Pick<PoolSet, 'all' | 'get'>;
  readonly dispatcher: Dispatcher;
  readonly tenants: Pick<TenantDirectory, 'get'>;
  readonly catalog: Catalog;
  readonly rollouts: Rollouts;
  readonly mirrors: Mirrors;
  readonly occupancy: Occupancy;
  readonly recent: RecentUsage;
  /** What a tenant is called. */
  readonly labelOf: (tenant: string) => string;
  /** Monotonic milliseconds, and Unix time. */
  readonly now: () => number;
  readonly unixMs: () => number;
}

const KEPT_MS = 200;
/** Questions that are asked otherwise: each is a text of its own, and takes its time. */
const MOST_TEXTS = 16;

/** What all questions of a moment have in common. */
interface Moment {
  readonly atMs: number;
  readonly unixMs: number;
  readonly shared: Omit<StatusReport, 'queue' | 'tenants' | 'models'>;
  readonly tenants: ReadonlyMap<string, TenantActivity>;
  readonly waiting: Parameters<typeof queueOf>[0];
}

export class StatusSource {
  readonly #parts: StatusParts;
  readonly #startedAt: string;
  #moment: Moment | undefined;
  /** Of the moment, by question. */
  readonly #texts = new Map<string, string>();

  constructor(parts: StatusParts) {
    this.#parts = parts;
    this.#startedAt = iso(parts.unixMs());
  }

  /** The document, as JSON; undefined: too many other questions have been asked at this moment. */
  text(query: StatusQuery): string | undefined {
    const moment = this.#momentNow();
    const key = JSON.stringify(query);
    const known = this.#texts.get(key);
    if (known !== undefined) return known;
    if (this.#texts.size >= MOST_TEXTS) return undefined;
    const text = JSON.stringify(this.#report(query, moment));
    this.#texts.set(key, text);
    return text;
  }

  #momentNow(): Moment {
    const nowMs = this.#parts.now();
    if (this.#moment === undefined || nowMs - this.#moment.atMs >= KEPT_MS) {
      this.#moment = this.#look(nowMs);
      this.#texts.clear();
    }
    return this.#moment;
  }

  #look(nowMs: number): Moment {
    const { occupancy, recent, labelOf, dispatcher, pools, unixMs } = this.#parts;
    const tenants = activities(occupancy.rows(), labelOf, recent.rows(nowMs));
    const waiting = Array.from(pools.all()).flatMap(({ name: pool }) =>
      dispatcher.waitingOf(pool).map(({ sinceMs, ...row }) => ({
        pool,
        ...row,
        label: labelOf(row.tenant),
        oldestMs: Math.max(0, Math.round(nowMs - sinceMs)),
      })),
    );
    return { atMs: nowMs, unixMs: unixMs(), shared: this.#shared(tenants, nowMs), tenants, waiting };
  }

  #shared(tenants: ReadonlyMap<string, TenantActivity>, nowMs: number): Moment['shared'] {
    const { config, inUse, health, redis, openStreams, pools, dispatcher, recent, unixMs } = this.#parts;
    const { status, reasons = [], refused = [], refusedTenantFiles = {} } = health();
    const { file, sinceMs } = inUse();
    const mirrors = new Set([...config().models.values()].flatMap(({ mirror }) => mirror?.pool ?? []));
    const connection = redis();
    let [inFlight, waiting] = [0, 0];
    for (const one of tenants.values()) {
      inFlight += one.inFlight;
      waiting += one.waiting;
    }
    return {
      version: STATUS_VERSION,
      at: iso(unixMs()),
      startedAt: this.#startedAt,
      status,
      reasons,
      config: {
        ...(file !== undefined && { file }),
        inUseSince: iso(sinceMs),
        refused,
        refusedTenantFiles: Object.entries(refusedTenantFiles).map(([name, one]) => ({ file: name, ...one })),
      },
      ...(connection !== undefined && {
        redis: { connected: connection.connected, leasedTokens: Math.round(connection.leased) },
      }),
      totals: { streams: openStreams(), inFlight, waiting, ...shownRates(recent.total(nowMs)) },
      pools: Array.from(pools.all(), (pool) => poolStatusOf(pool, dispatcher, mirrors.has(pool.name), nowMs)),
    };
  }

  #report({ tenants: most, sort, idle, models }: StatusQuery, moment: Moment): StatusReport {
    const { tenants: configured } = this.#parts.config();
    const all = new Map(moment.tenants);
    for (const name of idle ? configured.keys() : []) {
      if (!all.has(name)) all.set(name, idleActivity(name));
    }
    const inOrder = sorted(all.values(), sort);
    return {
      ...moment.shared,
      queue: queueOf(moment.waiting, most),
      tenants: {
        configured: configured.size,
        active: moment.tenants.size,
        sort,
        rows: inOrder.slice(0, most).map((one) => this.#tenant(one, moment)),
        rest: restOf(inOrder.slice(most)),
      },
      ...(models && { models: this.#models(moment.atMs) }),
    };
  }

  #tenant(
    { name, inFlight, waiting, lastMs, rates }: TenantActivity,
    { atMs, unixMs }: Moment,
  ): TenantStatus {
    const tenant = this.#parts.tenants.get(name);
    const { tier, limits: configured } = tenant?.config ?? {};
    const requests = tenant?.limits.requests(atMs);
    const tokens = tenant?.limits.tokens(atMs);
    const month = tenant?.limits.month(atMs);
    const budget = tenant?.limits.budget(atMs);
    return {
      name,
      ...(tier !== undefined && { tier }),
      ...(configured !== undefined && { weight: configured.weight }),
      inFlight,
      waiting,
      ...shownRates(rates),
      ...(configured?.maxConcurrent !== undefined && { maxConcurrent: configured.maxConcurrent }),
      ...(requests !== undefined && { requests: limitOf(requests) }),
      ...(tokens !== undefined && { tokens: limitOf(tokens) }),
      ...(month !== undefined && { month: limitOf(month) }),
      ...(budget !== undefined && { budget: budgetOf(budget) }),
      ...(lastMs !== undefined && { lastEndedAt: iso(unixMs - (atMs - lastMs)) }),
    };
  }

  #models(nowMs: number): readonly ModelStatus[] {
    const { config, catalog, rollouts, mirrors, pools } = this.#parts;
    return modelStatuses({
      config: config(),
      served: catalog.served(),
      canaries: rollouts.list(),
      mirrors: mirrors.list(nowMs),
      contextOf: (pool, model) => pools.get(pool)?.engines.listedModel(model)?.maxTokens,
      places: Array.from(pools.all()).flatMap((pool) => pool.adapterPlaces()),
    });
  }
}

const iso = (unixMs: number): string => new Date(unixMs).toISOString();

const budgetOf = ({ limit, remaining, resetMs, currency, isSoft }: BudgetView) => ({
  limit: amountText({ currency, nano: limit }),
  left: amountText({ currency, nano: remaining }),
  refuses: !isSoft,
  resetMs: Math.round(resetMs),
});

const limitOf = ({ limit, remaining, resetMs }: BucketView) => ({
  limit,
  left: remaining,
  resetMs: Math.round(resetMs),
});
