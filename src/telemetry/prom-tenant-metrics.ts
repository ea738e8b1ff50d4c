/** Metrics of tenants that are made while the service runs, and of the API by which they are. */
import { Counter, type Registry } from 'prom-client';
import { rowGauge } from './prom-row-gauge.ts';

interface MadeTenantsStatus {
  readonly isConnected: boolean;
  readonly tenants: number;
  readonly keys: number;
  readonly keptOut: number;
}

export interface TenantMetrics {
  /** There is an admin API: its gauges are shown from now on. */
  watch(status: () => MadeTenantsStatus): void;
  answered(status: number): void;
}

export function tenantMetrics(registry: Registry): TenantMetrics {
  const requests = new Counter({
    name: 'fairlane_admin_requests_total',
    help: 'Requests of the admin API, by the status of the answer.',
    labelNames: ['status'],
    registers: [registry],
  });
  let source: () => MadeTenantsStatus | undefined = () => undefined;
  const gauge = (name: string, help: string, of: (status: MadeTenantsStatus) => number): void => {
    rowGauge(registry, {
      name,
      help,
      labels: [],
      rows: () => {
        const status = source();
        return status === undefined ? [] : [[{}, of(status)]];
      },
    });
  };
  gauge(
    'fairlane_tenant_store_connected',
    '1 while the store of made tenants answers, 0 while nothing can be changed.',
    ({ isConnected }) => (isConnected ? 1 : 0),
  );
  gauge('fairlane_made_tenants', 'Tenants that were made by the admin API.', ({ tenants }) => tenants);
  gauge('fairlane_made_keys', 'Keys that were made by the admin API, also ended ones.', ({ keys }) => keys);
  gauge(
    'fairlane_made_tenants_kept_out',
    'Made tenants that are not served: the configuration no longer fits them.',
    ({ keptOut }) => keptOut,
  );
  return {
    watch: (status) => {
      source = status;
    },
    answered: (status) => requests.inc({ status }),
  };
}
