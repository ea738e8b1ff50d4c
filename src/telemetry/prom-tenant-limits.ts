/** What tenants may use and have left: only of those with requests of late, or it would be a series for each that is configured. */
import type { Registry } from 'prom-client';
import { rowGauge } from './prom-row-gauge.ts';

interface LimitView {
  readonly limit: number;
  readonly remaining: number;
}

export interface ActiveTenant {
  readonly tenant: string;
  readonly weight: number;
  /** Undefined: there is no such limit. */
  readonly requests: LimitView | undefined;
  readonly tokens: LimitView | undefined;
  readonly month: LimitView | undefined;
}

export interface TenantLimitSource {
  /** Tenants with requests in the last minute, or now. */
  readonly activeTenants: () => Iterable<ActiveTenant>;
}

const LIMITS = [
  ['requests_per_minute', 'requests'],
  ['tokens_per_minute', 'tokens'],
  ['tokens_per_month', 'month'],
] as const;

export function tenantLimitMetrics(registry: Registry, source: TenantLimitSource): void {
  const gauge = (name: string, help: string, value: (view: LimitView) => number): void =>
    rowGauge(registry, {
      name,
      help,
      labels: ['tenant', 'limit'],
      *rows() {
        for (const row of source.activeTenants()) {
          for (const [limit, of] of LIMITS) {
            const view = row[of];
            if (view !== undefined) yield [{ tenant: row.tenant, limit }, value(view)];
          }
        }
      },
    });
  gauge(
    'fairlane_limit_capacity',
    'What a limit of the tenant grants when all of it is left. limit is requests_per_minute, tokens_per_minute or tokens_per_month. Tenants with requests in the last minute, or now.',
    ({ limit }) => limit,
  );
  gauge(
    'fairlane_limit_left',
    'What is left of it, as far as this replica knows: used is fairlane_limit_capacity minus this.',
    ({ remaining }) => Math.max(0, remaining),
  );
  rowGauge(registry, {
    name: 'fairlane_tenant_weight',
    help: 'Weight of the tenant in its fair share. Tenants with requests in the last minute, or now.',
    labels: ['tenant'],
    *rows() {
      for (const { tenant, weight } of source.activeTenants()) yield [{ tenant }, weight];
    },
  });
}
