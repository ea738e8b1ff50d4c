/** What the service tells about itself, besides its log. */
export const TENANT_HISTOGRAMS = ['auto', 'on', 'off'] as const;

/** With `auto`: above that, a scrape would be mostly histograms. */
const MOST_TENANTS_IN_HISTOGRAMS = 200;

/** Where traces go. */
export interface OtlpConfig {
  /** With the path of the signal. */
  readonly url: string;
  /** Names in lower case; values are secrets. */
  readonly headers: Readonly<Record<string, string>>;
  /** Part of the requests that are traced, from 0 to 1. */
  readonly sample: number;
}

export interface TelemetryConfig {
  /** Whether histograms have tenants. `auto`: while there are at most MOST_TENANTS_IN_HISTOGRAMS. */
  readonly tenantHistograms: (typeof TENANT_HISTOGRAMS)[number];
  /** Absent: nothing is traced. */
  readonly otlp?: OtlpConfig;
}

/** Whether histograms tell tenants apart now. @param tenants that there are, also made ones. */
export function tenantsInHistograms(
  { tenantHistograms }: Pick<TelemetryConfig, 'tenantHistograms'>,
  tenants: number,
): boolean {
  return tenantHistograms === 'on' || (tenantHistograms === 'auto' && tenants <= MOST_TENANTS_IN_HISTOGRAMS);
}
