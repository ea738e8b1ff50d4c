/** What the service tells about itself. Implementations: prom-metrics.ts, pino-log.ts. */
import type { OddUsage } from '../usage/believed-usage.ts';
import type { MonthAlert } from '../usage/month-alert.ts';
import type { UsageRecord } from '../usage/usage-record.ts';

/** `kind` is the message of the log line, the rest its fields. */
export type ServiceEvent =
  | {
      readonly kind: 'config-reloaded';
      /** What it says otherwise than the one before; absent: unknown. */
      readonly changes?: readonly string[];
      readonly warnings: readonly string[];
      readonly restart: readonly string[];
    }
  | { readonly kind: 'config-refused'; readonly problems: readonly string[] }
  | {
      readonly kind: 'endpoint-health';
      readonly pool: string;
      readonly endpoint: string;
      readonly healthy: boolean;
      readonly detail: string;
    }
  | {
      readonly kind: 'engine-refuses';
      readonly pool: string;
      readonly endpoint: string;
      /** False: that is over. */
      readonly refuses: boolean;
      /** What it said, and which setting may mend it. */
      readonly detail: string;
    }
  | {
      readonly kind: 'endpoint-ejected';
      readonly pool: string;
      readonly endpoint: string;
      /** False: it is back. */
      readonly ejected: boolean;
      readonly detail: string;
    }
  | {
      readonly kind: 'model-broken';
      readonly pool: string;
      readonly endpoint: string;
      readonly model: string;
      /** False: it works again. */
      readonly broken: boolean;
    }
  | {
      readonly kind: 'engine-identified';
      readonly pool: string;
      readonly endpoint: string;
      /** Absent: none that is known. */
      readonly engine?: string;
      /** Where it was seen, or why it was not. */
      readonly by: string;
    }
  | {
      readonly kind: 'engine-gauges';
      readonly pool: string;
      readonly endpoint: string;
      /** False: the concurrency limit goes by the times to first token. */
      readonly usable: boolean;
      readonly detail: string;
    }
  | {
      readonly kind: 'engine-usage-odd';
      readonly pool: string;
      readonly endpoint: string;
      readonly reason: OddUsage;
      /** Answers with it since the line before. */
      readonly answers: number;
    }
  | {
      readonly kind: 'engine-help';
      readonly pool: string;
      readonly priority: boolean;
      readonly cacheSalt: boolean;
    }
  | {
      readonly kind: 'adapter-loaded' | 'adapter-unloaded';
      readonly pool: string;
      readonly endpoint: string;
      readonly adapter: string;
    }
  | {
      readonly kind: 'adapter-failed';
      readonly pool: string;
      readonly endpoint: string;
      readonly adapter: string;
      readonly action: 'load' | 'unload';
      /** What the engine said, and what to do where that is known. */
      readonly detail: string;
    }
  | {
      readonly kind: 'canary-rolled-back';
      readonly model: string;
      readonly canary: string;
      /** What it was worse in. */
      readonly gate: 'failures' | 'ttft';
      readonly detail: string;
    }
  | {
      readonly kind: 'endpoint-drain';
      readonly pool: string;
      readonly endpoint: string;
      /** `over`: it takes requests again. */
      readonly state: 'draining' | 'empty' | 'over';
      /** The pool has no other that takes requests. */
      readonly last: boolean;
    }
  | {
      readonly kind: 'tenant-limited';
      readonly tenant: string;
      /** False: it may run as many requests as ever. */
      readonly limited: boolean;
      readonly detail: string;
    }
  | {
      readonly kind: 'envoy-refused';
      /** The error code that clients got. */
      readonly reason: string;
      /** That they got, where it is known. */
      readonly status?: number;
      /** Since the line before with this reason. */
      readonly requests: number;
    }
  | {
      readonly kind: 'tenant-file-refused';
      readonly file: string;
      readonly problems: readonly string[];
      /** The tenant is served as the file said before. */
      readonly kept: boolean;
    }
  | {
      readonly kind: 'tenant-changed';
      /** As the audit log names it. */
      readonly action: string;
      readonly tenant: string;
      readonly actor: string;
      readonly keyId?: string;
    }
  | {
      readonly kind: 'tenant-kept-out';
      readonly tenant: string;
      readonly problems: readonly string[];
    }
  | {
      readonly kind: 'tenant-store';
      readonly store: string;
      readonly connected: boolean;
      readonly reason?: string;
    }
  | { readonly kind: 'tenants-copy-failed'; readonly problem: string }
  | {
      /** What is stored of made tenants cannot be taken over here, such as for a full disk; or it is. */
      readonly kind: 'tenants-not-in-force';
      readonly failing: boolean;
      readonly problem?: string;
    }
  | {
      readonly kind: 'admin-refused';
      /** Requests with a wrong token, or none, since the line before. */
      readonly requests: number;
    }
  | { readonly kind: 'tenant-file-mended'; readonly file: string }
  | {
      readonly kind: 'limits-loaded';
      readonly domains: readonly string[];
      /** Files that were passed over, and why. */
      readonly warnings?: readonly string[];
    }
  | { readonly kind: 'limits-refused'; readonly problem: string }
  | ({ readonly kind: 'budget-alert' } & MonthAlert)
  | {
      readonly kind: 'limit-raise-ended';
      /** Some of them. */
      readonly tenants: readonly string[];
      /** All of them. */
      readonly count: number;
    }
  | {
      readonly kind: 'webhook';
      readonly host: string;
      /** False: it takes events again. */
      readonly failing: boolean;
      readonly detail: string;
    }
  | {
      readonly kind: 'webhook-dropped';
      readonly host: string;
      readonly events: number;
      /** Too many wait, a day was not enough, it wants no more (410), it is not configured any more, or the service ended. */
      readonly reason: 'full' | 'too-old' | 'gone' | 'removed' | 'shutdown';
    }
  | {
      readonly kind: 'traces';
      /** Host and port. */
      readonly collector: string;
      /** False: it takes spans again. */
      readonly failing: boolean;
      readonly detail: string;
    }
  | { readonly kind: 'snapshot-failed'; readonly problem: string }
  | {
      /** False: the database takes records again. */
      readonly kind: 'ledger-away';
      readonly away: boolean;
      readonly problem?: string;
    }
  /** Records that will be in no ledger, since the line before with this reason. */
  | { readonly kind: 'ledger-lost'; readonly records: number; readonly reason: string }
  | { readonly kind: 'redis'; readonly connected: boolean; readonly reason?: string }
  | { readonly kind: 'models-discovered'; readonly pool: string; readonly models: readonly string[] }
  | { readonly kind: 'filter-misconfigured'; readonly detail: string }
  | { readonly kind: 'stream-failed'; readonly detail: string }
  | { readonly kind: 'dns-failed'; readonly detail: string }
  | { readonly kind: 'draining'; readonly deadlineMs: number }
  | { readonly kind: 'drained'; readonly unfinished: number };

export interface Telemetry {
  requestEnded(record: UsageRecord): void;
  event(event: ServiceEvent): void;
}
