/** The rate limit service's edge: Envoy's messages to calls, and answers back. It decides nothing. */
import { textOf } from '../domain/text-of.ts';
import { isMalformed } from '../grpc/protobuf.ts';
import type { GrpcService, UnaryAnswer } from '../grpc/service.ts';
import { INTERNAL_FAILURE, MALFORMED_REQUEST, STATUS } from '../grpc/status.ts';
import { decodeRateLimitRequest, encodeRateLimitAnswer } from './codec.ts';
import type { Decision, RateLimitCall } from './decide.ts';

export interface RateLimitServiceOptions {
  readonly decide: (call: RateLimitCall) => Decision | Promise<Decision>;
  readonly onError: (detail: string) => void;
}

const answerOf = (decision: Decision): UnaryAnswer =>
  decision.kind === 'answer'
    ? encodeRateLimitAnswer(decision.answer)
    : { code: STATUS.unknown, message: decision.message };

export function createRateLimitGrpcService(options: RateLimitServiceOptions): GrpcService {
  const fail = (error: unknown): UnaryAnswer => {
    if (isMalformed(error)) return MALFORMED_REQUEST;
    options.onError(textOf(error));
    return INTERNAL_FAILURE;
  };
  return {
    name: 'envoy.service.ratelimit.v3.RateLimitService',
    methods: {
      ShouldRateLimit: {
        kind: 'unary',
        handle(request) {
          try {
            const decision = options.decide(decodeRateLimitRequest(request));
            return 'then' in decision ? decision.then(answerOf).catch(fail) : answerOf(decision);
          } catch (error) {
            return fail(error);
          }
        },
      },
    },
  };
}
