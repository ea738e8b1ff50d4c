/** Who is told of events, as the program uses it. */

/** Events of the log by what they are about. */
export const WEBHOOK_EVENTS = {
  budget: ['budget-alert', 'limit-raise-ended'],
  'engine-health': ['endpoint-health', 'endpoint-ejected', 'engine-refuses', 'model-broken'],
  config: ['config-reloaded', 'config-refused', 'tenant-file-refused', 'tenant-file-mended'],
  rollouts: ['canary-rolled-back', 'endpoint-drain'],
  tenants: ['tenant-limited'],
  redis: ['redis'],
} as const;

export type WebhookTopic = keyof typeof WEBHOOK_EVENTS;
export const WEBHOOK_TOPICS = ['budget', 'engine-health', 'config', 'rollouts', 'tenants', 'redis'] as const;

export interface WebhookConfig {
  /** With what it may have of secrets in its path and query. */
  readonly url: string;
  /** Its host, and the port where the scheme does not say it: what logs and metrics call it. */
  readonly host: string;
  /** The key of its signatures, in base64, without `whsec_`. */
  readonly secret: string;
  readonly events: ReadonlySet<WebhookTopic>;
}
