/** How requests come in: from Envoy as its sidecar, or from a gateway that asks for an endpoint. */
import { errorResponse } from '../admission/answers.ts';
import type { LifecycleContext } from '../admission/lifecycle-context.ts';
import { modelsRequestOf } from '../admission/models-lifecycle.ts';
import { noEndpointReady, unknownTenant } from '../admission/refusals.ts';
import { createRequestLifecycle } from '../admission/request-lifecycle.ts';
import { storedRequestOf } from '../admission/stored-lifecycle.ts';
import type { Config } from '../config/config.ts';
import { createEndpointPickerService } from '../ext-proc/grpc-endpoint-picker.ts';
import { createExtProcService, type ExtProcOptions } from '../ext-proc/grpc-ext-proc.ts';
import type { ExtProcService } from '../ext-proc/request-stream.ts';
import { bodyTooLarge, draining, unsizedTooLarge } from '../openai/error-body.ts';
import type { ServiceEvent } from '../telemetry/telemetry.ts';
import type { PoolSet } from './pool-set.ts';

/** The edge of the configuration of the start: who asks is wired by hand. */
export function createRequestEdge(
  { picker, envoy: { maxBodyBytes, maxUnsizedBodyBytes } }: Config,
  context: LifecycleContext,
  pools: PoolSet,
  isDraining: () => boolean,
  tell: (event: ServiceEvent) => void,
): ExtProcService {
  const { tenants, now } = context;
  const options: ExtProcOptions = {
    openRequest: (edge) => createRequestLifecycle(context, edge),
    openOther: (edge, head) => storedRequestOf(context, edge, head) ?? modelsRequestOf(context, edge, head),
    now,
    draining: isDraining,
    onMisconfigured: (detail) => tell({ kind: 'filter-misconfigured', detail }),
    onStreamError: (detail) => tell({ kind: 'stream-failed', detail }),
  };
  if (picker === undefined) return createExtProcService(options);
  const stranger = errorResponse(undefined, unknownTenant(), []);
  return createEndpointPickerService({
    ...options,
    fairnessHeader: picker.fairnessHeader,
    refusalOf: (tenant) => (tenants.get(tenant) === undefined ? stranger : undefined),
    conformance: picker.conformance === true,
    addresses: () =>
      [...pools.all()].flatMap((pool) => pool.endpoints.list(now()).map(({ address }) => address)),
    routes: () => context.config().routes,
    tenantOf: (id) => (tenants.get(id) === undefined ? (picker.tenant ?? id) : id),
    pickAny: (subset) => [...pools.all()].flatMap(({ endpoints }) => endpoints.addresses(subset)),
    maxBodyBytes,
    maxUnsizedBodyBytes,
    later: setImmediate,
    answers: {
      noEndpoint: errorResponse(undefined, noEndpointReady(), []),
      draining: errorResponse(undefined, draining(), []),
      bodyTooLarge: errorResponse(undefined, bodyTooLarge(maxBodyBytes), []),
      unsizedTooLarge: errorResponse(undefined, unsizedTooLarge(maxUnsizedBodyBytes, maxBodyBytes), []),
    },
  });
}
