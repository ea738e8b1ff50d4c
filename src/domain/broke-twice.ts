import type { ApiError } from './api-error.ts';

/** The answer to a request that broke on two engines, said by Envoy or by the service. */
export const BROKE_TWICE: ApiError = {
  status: 502,
  message:
    'Two engines broke off while they had this request, so it is not tried on a third. If it happens again, the request may be the cause.',
  type: 'server_error',
  code: 'engine_broke_twice',
};
/** Envoy's response code details of it. */
export const BROKE_TWICE_DETAILS = 'lua_response';
/** Envoy's response code details of a connection that was there and broke before the answer's headers. */
const BROKE = /^upstream_reset_before_response_started\{(connection_termination|remote_reset|protocol_error)/;

/** Whether engines may have begun the request that these are the details of. */
export const hasBroken = (details: string): boolean => details === BROKE_TWICE_DETAILS || BROKE.test(details);

/** OpenAI's clients do not send it again by themselves then. */
export const NO_RETRY_HEADER = ['x-should-retry', 'false'] as const;
