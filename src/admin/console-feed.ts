/**
 * What the console is told. `GET /console/events` is a stream of server-sent events:
 *
 *   event: status     data: what `GET /status?tenants=100&sort=tokens` answers, each second
 *   event: requests   data: RequestsEvent, each half second in which any ended; the first has the last ones
 *   event: usage      data: UsageEvent, each five seconds
 *
 * `GET /console/requests` answers a RequestsEvent, of the last ones; `GET /console/about` a ConsoleAbout.
 */
import type { Outcome } from '../usage/usage-record.ts';

/** A request that has ended. No prompt, no completion, no key. */
export interface RequestLine {
  readonly id: string;
  /** Unix milliseconds. */
  readonly endedMs: number;
  /** Envoy's. */
  readonly requestId: string;
  /** As in metrics: tenants that come with tokens share one name. */
  readonly tenant: string;
  readonly keyId?: string;
  readonly tag?: string;
  readonly route: string;
  readonly model?: string;
  readonly pool?: string;
  readonly lane?: string;
  /** Its name, as everywhere: the URL as configured. */
  readonly endpoint?: string;
  readonly engine?: string;
  readonly stream: boolean;
  readonly outcome: Outcome;
  readonly reason?: string;
  readonly status?: number;
  /** Milliseconds, in order: from arrival to the release, to the first token, to the last, to the end. */
  readonly queueMs: number;
  readonly prefillMs?: number;
  readonly decodeMs?: number;
  readonly durationMs: number;
  /** From arrival. */
  readonly ttftMs?: number;
  readonly itlMeanMs?: number;
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly completionTokens: number;
  /** It passed the queue: its tenant was below its fair share. */
  readonly quiet: boolean;
  readonly stalled: boolean;
  readonly retries?: number;
  readonly gpuSeconds?: number;
  /** With its currency. */
  readonly price?: string;
}

export interface RequestsEvent {
  /** The oldest first. */
  readonly requests: readonly RequestLine[];
  /** Ended since the event before and are not in it: only the last 500 are. */
  readonly left: number;
}

export interface UsageRow {
  readonly tenant: string;
  readonly model: string;
  readonly requests: number;
  readonly refused: number;
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly completionTokens: number;
  readonly gpuSeconds: number;
}

export interface UsageEvent {
  /** ISO 8601: what is counted ended since. */
  readonly since: string;
  /** Those with the most tokens first, at most 200. */
  readonly rows: readonly UsageRow[];
  /** Tenants and models that are not shown. */
  readonly left: number;
}

/** What is served, and what may be done from the page. */
export interface ConsoleAbout {
  /** Of the package. Absent: whoever started the service did not say. */
  readonly version?: string;
  /** Of the source; absent: the build did not say. */
  readonly commit?: string;
  /** Endpoints may be drained. */
  readonly actions: boolean;
  /** The admin API is under `/console/admin`. */
  readonly admin: boolean;
  /** URL where clients send to, on the service's own machine, without /v1; absent: a gateway's or another Envoy's matter. */
  readonly api?: string;
}
