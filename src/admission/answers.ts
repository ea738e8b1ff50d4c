/** Answers that Fairlane writes itself, and the headers that it puts on every answer. */
import type { ApiError } from '../domain/api-error.ts';
import type { RouteName } from '../domain/routes.ts';
import { errorBody } from '../openai/error-body.ts';
import type { BucketView } from '../tenant/bucket.ts';
import type { TenantLimits } from '../tenant/tenant-limits.ts';
import type { DirectResponse, HeaderList } from './edge.ts';

/** OpenAI's notation: `17ms`, `1.5s`, `6m0s`. */
function formatReset(ms: number): string {
  if (ms < 1_000) return `${Math.max(0, Math.ceil(ms))}ms`;
  if (ms < 60_000) return `${Number((ms / 1_000).toFixed(3))}s`;
  const seconds = Math.ceil(ms / 1_000);
  return `${Math.floor(seconds / 60)}m${seconds % 60}s`;
}

/** `x-ratelimit-*`, as OpenAI sends them, and the same of the month; none for what is not limited. */
export function rateLimitHeaders(limits: TenantLimits, nowMs: number): HeaderList {
  const headers: [string, string][] = [];
  const add = (what: string, view: BucketView | undefined): void => {
    if (view === undefined) return;
    headers.push([`x-ratelimit-limit-${what}`, String(view.limit)]);
    headers.push([`x-ratelimit-remaining-${what}`, String(view.remaining)]);
    headers.push([`x-ratelimit-reset-${what}`, formatReset(view.resetMs)]);
  };
  add('requests', limits.requests(nowMs));
  add('tokens', limits.tokens(nowMs));
  add('tokens-month', limits.month(nowMs));
  return headers;
}

export function errorResponse(
  route: RouteName | undefined,
  error: ApiError,
  extra: HeaderList,
): DirectResponse {
  const headers: [string, string][] = [['content-type', 'application/json']];
  if (error.retryAfterMs !== undefined) {
    // Whole seconds, rounded up: a client that comes back then is not refused for the same reason again.
    headers.push(['retry-after', String(Math.max(1, Math.ceil(error.retryAfterMs / 1_000)))]);
  }
  return {
    status: error.status,
    headers: [...headers, ...extra],
    body: errorBody(route, error),
    details: error.code,
  };
}
