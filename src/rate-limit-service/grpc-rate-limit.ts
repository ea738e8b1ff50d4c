/** The rate limit service's edge: Envoy's messages to calls, and answers back. It decides nothing. */
import { fileURLToPath } from 'node:url';
import * as grpc from '@grpc/grpc-js';
import * as protoLoader from '@grpc/proto-loader';
import type { Decision, DescriptorStatus, RateLimitAnswer, RateLimitCall } from './decide.ts';
import type { Descriptor } from './match.ts';

export interface RateLimitServiceOptions {
  readonly decide: (call: RateLimitCall) => Decision | Promise<Decision>;
  readonly onError: (detail: string) => void;
}

export interface RateLimitGrpcService {
  readonly definition: grpc.ServiceDefinition;
  readonly implementation: grpc.UntypedServiceImplementation;
}

interface WireDescriptor {
  readonly entries?: readonly { readonly key?: string; readonly value?: string }[];
  readonly limit?: { readonly requests_per_unit?: number; readonly unit?: number } | null;
  readonly hits_addend?: { readonly value?: number } | null;
  readonly is_negative_hits?: boolean;
}
interface WireRequest {
  readonly domain?: string;
  readonly descriptors?: readonly WireDescriptor[];
  readonly hits_addend?: number;
}

const PROTO_ROOT = fileURLToPath(new URL('../../proto/', import.meta.url));
const OK = 1;
const OVER_LIMIT = 2;
const MAX_UINT32 = 4_294_967_295;

function loadService(): grpc.ServiceDefinition {
  const definition = protoLoader.loadSync('envoy/service/ratelimit/v3/rls.proto', {
    includeDirs: [PROTO_ROOT],
    keepCase: true,
    longs: Number,
    enums: Number,
    defaults: false,
    oneofs: true,
  });
  return definition['envoy.service.ratelimit.v3.RateLimitService'] as grpc.ServiceDefinition;
}

/** Hits above what a double holds exactly are an Envoy's mistake; they are as good as infinite. */
const hitsOf = (value: number): number => Math.min(value, Number.MAX_SAFE_INTEGER);

function descriptorOf(wire: WireDescriptor): Descriptor {
  const { limit, hits_addend: hits } = wire;
  return {
    entries: (wire.entries ?? []).map(({ key = '', value = '' }) => ({ key, value })),
    negative: wire.is_negative_hits === true,
    ...(limit !== undefined &&
      limit !== null && {
        override: { requestsPerUnit: limit.requests_per_unit ?? 0, unit: limit.unit ?? 0 },
      }),
    ...(hits !== undefined && hits !== null && { hits: hitsOf(hits.value ?? 0) }),
  };
}

function wireStatus({ over, rate, name, remaining, resetMs }: DescriptorStatus): object {
  return {
    code: over ? OVER_LIMIT : OK,
    ...(rate !== undefined && {
      current_limit: {
        requests_per_unit: rate.requestsPerUnit,
        unit: rate.unit,
        ...(name !== undefined && { name }),
      },
    }),
    limit_remaining: Math.min(MAX_UINT32, remaining),
    ...(resetMs !== undefined && {
      duration_until_reset: {
        seconds: Math.floor(resetMs / 1_000),
        nanos: (resetMs % 1_000) * 1_000_000,
      },
    }),
  };
}

const wireAnswer = ({ over, statuses, headers }: RateLimitAnswer): object => ({
  overall_code: over ? OVER_LIMIT : OK,
  statuses: statuses.map(wireStatus),
  response_headers_to_add: headers.map(([key, value]) => ({ key, value })),
});

export function createRateLimitGrpcService(options: RateLimitServiceOptions): RateLimitGrpcService {
  const serve: grpc.handleUnaryCall<WireRequest, object> = (call, reply) => {
    const { request } = call;
    const answer = (decision: Decision): void => {
      if (decision.kind === 'answer') reply(null, wireAnswer(decision.answer));
      else reply({ code: grpc.status.UNKNOWN, details: decision.message });
    };
    const fail = (error: unknown): void => {
      options.onError(error instanceof Error ? (error.stack ?? error.message) : String(error));
      reply({ code: grpc.status.INTERNAL, details: 'internal error' });
    };
    try {
      const decision = options.decide({
        domain: request.domain ?? '',
        descriptors: (request.descriptors ?? []).map(descriptorOf),
        hits: request.hits_addend ?? 0,
      });
      if ('then' in decision) decision.then(answer, fail);
      else answer(decision);
    } catch (error) {
      fail(error);
    }
  };
  return { definition: loadService(), implementation: { ShouldRateLimit: serve } };
}
