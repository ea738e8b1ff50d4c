/** A request in the ledger: a usage record as it is kept. */

/** A column of `request` has the same name in snake_case. Whole numbers, so that sums are exact. */
export interface LedgerRow {
  /** Fairlane's own: what "exactly once" goes by. */
  readonly id: string;
  /** Unix time of its end. */
  readonly endedMs: number;
  readonly tenant: string;
  readonly tier: string | null;
  readonly keyId: string | null;
  /** Whom the tenant attributes it to. */
  readonly tag: string | null;
  readonly requestId: string;
  readonly clientRequestId: string | null;
  readonly route: string;
  /** That served it. */
  readonly model: string | null;
  /** As the client named it, where that exists. */
  readonly modelAsked: string | null;
  readonly adapter: string | null;
  readonly pool: string | null;
  readonly endpoint: string | null;
  readonly engine: string | null;
  readonly lane: string | null;
  readonly stream: 0 | 1;
  readonly outcome: string;
  readonly reason: string | null;
  readonly status: number | null;
  readonly queueMs: number;
  readonly ttftMs: number | null;
  readonly prefillMs: number | null;
  readonly decodeMs: number | null;
  readonly durationMs: number;
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly completionTokens: number;
  readonly reasoningTokens: number;
  readonly audioMs: number;
  readonly images: number;
  /** `engine`, `estimate` or `none`. */
  readonly usageSource: string;
  readonly retries: number;
  readonly preemptions: number | null;
  readonly kvTokenMs: number;
  readonly gpuUs: number;
  /** 10^-12 of the currency's unit. */
  readonly costPico: bigint;
  readonly costCurrency: string | null;
  readonly pricePico: bigint;
  readonly priceCurrency: string | null;
}
