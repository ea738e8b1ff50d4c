/**
 * What the console tells of requests that have ended: the last ones, and usage by tenant and model since the start. A request costs
 * a reference and a few sums; lines are made only when somebody looks. Memory is bounded.
 */
import type { UsageRecord } from '../usage/usage-record.ts';
import type { RequestLine, RequestsEvent, UsageEvent, UsageRow } from './console-feed.ts';

const MOST_REQUESTS = 500;
const MOST_PAIRS = 1_000;
const MOST_ROWS = 200;
/** What pairs beyond those that are kept count in. */
const OTHER = '(other)';

type Counts = { -readonly [Member in keyof UsageRow]: UsageRow[Member] };

interface Ended {
  readonly usage: UsageRecord;
  /** As in metrics. */
  readonly tenant: string;
}

const finite = (count: number): number => (Number.isFinite(count) ? count : 0);

function lineOf({ usage, tenant }: Ended, priceText: PriceText): RequestLine {
  const { price } = usage;
  return {
    id: usage.id ?? '',
    endedMs: usage.endedMs ?? 0,
    requestId: usage.requestId,
    tenant,
    ...(usage.keyId !== undefined && { keyId: usage.keyId }),
    ...(usage.tag !== undefined && { tag: usage.tag }),
    route: usage.customRoute ?? usage.route,
    ...(usage.model !== undefined && { model: usage.model }),
    ...(usage.pool !== undefined && { pool: usage.pool }),
    ...(usage.lane !== undefined && { lane: usage.lane }),
    ...(usage.endpoint !== undefined && { endpoint: usage.endpoint }),
    ...(usage.engine !== undefined && { engine: usage.engine }),
    stream: usage.stream,
    outcome: usage.outcome,
    ...(usage.reason !== undefined && { reason: usage.reason }),
    ...(usage.status !== undefined && { status: usage.status }),
    queueMs: usage.queueMs,
    ...(usage.prefillMs !== undefined && { prefillMs: usage.prefillMs }),
    ...(usage.decodeMs !== undefined && { decodeMs: usage.decodeMs }),
    durationMs: usage.durationMs,
    ...(usage.ttftMs !== undefined && { ttftMs: usage.ttftMs }),
    ...(usage.itlMeanMs !== undefined && { itlMeanMs: usage.itlMeanMs }),
    promptTokens: usage.promptTokens,
    cachedTokens: usage.cachedTokens,
    completionTokens: usage.completionTokens,
    quiet: usage.quiet,
    stalled: usage.stalled,
    ...(usage.retries !== undefined && { retries: usage.retries }),
    ...(usage.gpuSeconds !== undefined && { gpuSeconds: usage.gpuSeconds }),
    ...(price !== undefined && { price: priceText(price) }),
  };
}

type PriceText = (price: NonNullable<UsageRecord['price']>) => string;

export class ConsoleHistory {
  readonly #ring: Ended[] = [];
  readonly #pairs = new Map<string, Map<string, Counts>>();
  readonly #since: string;
  readonly #priceText: PriceText;
  #kept = 0;
  /** Requests that ended since the start. */
  #count = 0;

  /** @param sinceMs Unix milliseconds. */
  constructor(sinceMs: number, priceText: PriceText) {
    this.#since = new Date(sinceMs).toISOString();
    this.#priceText = priceText;
  }

  /** Requests that have ended: where a reader goes on from. */
  get count(): number {
    return this.#count;
  }

  /** @param tenant as in metrics. */
  ended(usage: UsageRecord, tenant: string): void {
    this.#ring[this.#count % MOST_REQUESTS] = { usage, tenant };
    this.#count += 1;
    const counts = this.#countsOf(tenant, usage.model ?? '');
    counts.requests += 1;
    if (usage.outcome === 'refused') counts.refused += 1;
    counts.promptTokens += finite(usage.promptTokens);
    counts.cachedTokens += finite(usage.cachedTokens);
    counts.completionTokens += finite(usage.completionTokens);
    counts.gpuSeconds += finite(usage.gpuSeconds ?? 0);
  }

  /** Those that ended after the first `from`, as far as they are kept. */
  requests(from = 0): RequestsEvent {
    const first = Math.max(from, this.#count - MOST_REQUESTS);
    const requests: RequestLine[] = [];
    for (let at = first; at < this.#count; at += 1) {
      const ended = this.#ring[at % MOST_REQUESTS];
      if (ended !== undefined) requests.push(lineOf(ended, this.#priceText));
    }
    return { requests, left: first - from };
  }

  usage(): UsageEvent {
    const rows = [...this.#pairs.values()].flatMap((models) => [...models.values()]);
    const tokens = (row: UsageRow): number => row.promptTokens + row.completionTokens;
    rows.sort((a, b) => tokens(b) - tokens(a));
    return { since: this.#since, rows: rows.slice(0, MOST_ROWS), left: Math.max(0, rows.length - MOST_ROWS) };
  }

  #countsOf(tenant: string, model: string): Counts {
    const found = this.#pairs.get(tenant)?.get(model);
    if (found !== undefined) return found;
    // One of the pairs is the others'.
    if (this.#kept >= MOST_PAIRS - 1 && tenant !== OTHER) return this.#countsOf(OTHER, OTHER);
    const made: Counts = {
      tenant,
      model,
      requests: 0,
      refused: 0,
      promptTokens: 0,
      cachedTokens: 0,
      completionTokens: 0,
      gpuSeconds: 0,
    };
    const models = this.#pairs.get(tenant) ?? new Map<string, Counts>();
    this.#pairs.set(tenant, models.set(model, made));
    this.#kept += 1;
    return made;
  }
}
