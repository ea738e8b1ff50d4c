/**
 * An open-loop load generator: requests go to a real target at the times that were computed beforehand,
 * whatever became of the earlier ones. Times to first token count from those times, so a generator or a
 * target that is late is seen.
 */
import type { EndpointConfig } from '../config/config.ts';
import { type HttpArmName, type TargetName, targetOf } from './arms.ts';
import { HttpArm, type HttpMeasured, type Progress } from './http-arm.ts';
import { firstModel, untilIdle } from './http-target.ts';
import type { TenantLoad } from './load.ts';
import type { Scenario } from './scenario.ts';
import type { Schedule } from './schedule.ts';

export interface HttpComparisonOptions {
  readonly scenario: Scenario;
  readonly schedule: Schedule;
  readonly arms: readonly HttpArmName[];
  readonly endpoints: ReadonlyMap<TargetName, EndpointConfig>;
  /** By tenant. */
  readonly keys: ReadonlyMap<string, string>;
  readonly run: string;
  readonly signal: AbortSignal;
  readonly onProgress?: (progress: Progress) => void;
  readonly onArm?: (measured: HttpMeasured) => void;
}

/**
 * One arm after the other, each with the same arrivals; the next begins when the last answer of the one
 * before has ended.
 *
 * @throws when a target does not answer before anything was sent.
 */
export async function runHttpArms({
  scenario,
  schedule,
  arms,
  endpoints,
  keys,
  run,
  signal,
  onProgress,
  onArm,
}: HttpComparisonOptions): Promise<readonly HttpMeasured[]> {
  const tenants = scenario.tenants.map((tenant): TenantLoad => {
    const key = keys.get(tenant.name);
    return key === undefined ? tenant : { ...tenant, key };
  });
  const quiet = new Set(tenants.filter((tenant) => tenant.quiet).map(({ name }) => name));
  const models = new Map<string, string>();
  for (const endpoint of new Set(arms.map((arm) => endpoints.get(targetOf(arm))))) {
    if (endpoint === undefined) throw new Error('an arm has no target');
    models.set(endpoint.url, scenario.model ?? (await firstModel(endpoint, [...keys.values()][0])));
  }
  const all: HttpMeasured[] = [];
  for (const arm of arms) {
    const endpoint = endpoints.get(targetOf(arm));
    if (endpoint === undefined || signal.aborted) break;
    const measured = await new HttpArm({
      arm,
      endpoint,
      requests:
        arm === 'solo' ? schedule.requests.filter(({ tenant }) => quiet.has(tenant)) : schedule.requests,
      ...(arm === 'request-bucket' &&
        schedule.bucketPerSecond !== undefined && { bucketPerSecond: schedule.bucketPerSecond }),
      tenants,
      durationMs: scenario.durationMs,
      ignoreEos: scenario.ignoreEos,
      model: models.get(endpoint.url) ?? '',
      run,
      signal,
      ...(onProgress !== undefined && { onProgress }),
    }).run();
    all.push(measured);
    onArm?.(measured);
    await untilIdle(endpoint, signal);
  }
  return all;
}
