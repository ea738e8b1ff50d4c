/** What the service tells about itself, besides its log. */
export const TENANT_HISTOGRAMS = ['auto', 'on', 'off'] as const;

export interface TelemetryConfig {
  /** Whether histograms have tenants. `auto`: while there are at most MOST_TENANTS_IN_HISTOGRAMS. */
  readonly tenantHistograms: (typeof TENANT_HISTOGRAMS)[number];
}
