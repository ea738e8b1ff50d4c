/** Answers that Fairlane writes itself, and the headers that it puts on every answer. */
import { amountText } from '../domain/amount.ts';
import type { ApiError } from '../domain/api-error.ts';
import type { EngineRoute } from '../domain/routes.ts';
import { errorBody } from '../openai/error-body.ts';
import { retryHeadersOf } from '../openai/retry-headers.ts';
import type { BucketView } from '../tenant/bucket.ts';
import type { TenantLimits } from '../tenant/tenant-limits.ts';
import type { DirectResponse, HeaderList } from './edge.ts';

type LimitViews = Pick<TenantLimits, 'requests' | 'tokens' | 'month'> & Partial<Pick<TenantLimits, 'budget'>>;

const NO_HEADERS: HeaderList = [];

/** OpenAI's notation: `17ms`, `1.5s`, `6m0s`. */
function formatReset(ms: number): string {
  if (ms < 1_000) return `${Math.max(0, Math.ceil(ms))}ms`;
  if (ms < 60_000) return `${Number((ms / 1_000).toFixed(3))}s`;
  const seconds = Math.ceil(ms / 1_000);
  return `${Math.floor(seconds / 60)}m${seconds % 60}s`;
}

/** `x-ratelimit-*`, as OpenAI sends them, and the same of the month and its budget; none for what is not limited. */
export function rateLimitHeaders(limits: LimitViews, nowMs: number): HeaderList {
  const requests = limits.requests(nowMs);
  const tokens = limits.tokens(nowMs);
  const month = limits.month(nowMs);
  const budget = limits.budget?.(nowMs);
  if (requests === undefined && tokens === undefined && month === undefined && budget === undefined) {
    return NO_HEADERS;
  }
  return [
    ...viewHeaders('requests', requests),
    ...viewHeaders('tokens', tokens),
    ...viewHeaders('tokens-month', month),
    ...viewHeaders('budget-month', budget, (nano) => amountText({ currency: budget?.currency ?? '', nano })),
  ];
}

function viewHeaders(
  what: string,
  view: BucketView | undefined,
  textOf: (amount: number) => string = String,
): HeaderList {
  if (view === undefined) return NO_HEADERS;
  return [
    [`x-ratelimit-limit-${what}`, textOf(view.limit)],
    [`x-ratelimit-remaining-${what}`, textOf(view.remaining)],
    [`x-ratelimit-reset-${what}`, formatReset(view.resetMs)],
  ];
}

export function errorResponse(
  route: EngineRoute | undefined,
  error: ApiError,
  add: HeaderList,
): DirectResponse {
  return {
    status: error.status,
    headers: [['content-type', 'application/json'], ...retryHeadersOf(error), ...add],
    body: errorBody(route, error),
    details: error.code,
    ...(error.retryAfterMs !== undefined && { retryAfterMs: error.retryAfterMs }),
  };
}
