/** What tenants are called in metrics and status. */
import type { Config } from '../config/config.ts';

/** No name of a tenant. */
const VISITORS_LABEL = '(not configured)';

/** Tenants that come with tokens share one: labels are bounded. */
export const tenantLabels =
  (config: () => Config) =>
  (tenant: string): string => {
    const { jwt, tenants } = config();
    return jwt?.visitors === undefined || tenants.has(tenant) ? tenant : VISITORS_LABEL;
  };
