/** Envoy tells what it refused by itself since it told before. */
import { REFUSALS_STAT } from '../domain/names.ts';
import { textOf } from '../domain/text-of.ts';
import { finishFrame, isMalformed, startMessage } from '../grpc/protobuf.ts';
import type { GrpcService } from '../grpc/service.ts';
import { INTERNAL_FAILURE, MALFORMED_REQUEST } from '../grpc/status.ts';
import { decodeCounted } from './refusal-codec.ts';

export interface RefusalServiceOptions {
  readonly onRefused: (statusOrCode: string, requests: number) => void;
  readonly onError: (detail: string) => void;
}

const METRIC = `${REFUSALS_STAT.prefix}.${REFUSALS_STAT.name}`;

/** An error's status, or a code. */
const STATUS_OR_CODE = /^(?:[45]\d\d|[a-z_]{1,64})$/;

export function createRefusalService({ onRefused, onError }: RefusalServiceOptions): GrpcService {
  return {
    name: 'opentelemetry.proto.collector.metrics.v1.MetricsService',
    methods: {
      Export: {
        kind: 'unary',
        handle(request) {
          try {
            for (const { value, count } of decodeCounted(request, METRIC, REFUSALS_STAT.tag)) {
              if (STATUS_OR_CODE.test(value) && count > 0) onRefused(value, count);
            }
            return finishFrame(startMessage());
          } catch (error) {
            if (isMalformed(error)) return MALFORMED_REQUEST;
            onError(textOf(error));
            return INTERNAL_FAILURE;
          }
        },
      },
    },
  };
}
