/** Finds out what an engine can do for fairness itself, by asking it for one token. */
import type { EndpointConfig, PoolConfig } from '../config/config.ts';
import type { EngineKind } from '../domain/engine-kinds.ts';
import type { EngineCapabilities } from './capabilities.ts';
import type { EngineDriver, PriorityValues } from './driver.ts';
import { DRIVERS } from './drivers.ts';
import { askServerInfo } from './http-identify.ts';
import { askText } from './http-probe.ts';

const TIMEOUT_MS = 10_000;
const SALT = 'fairlane-probe';

/** The status of a one-token completion with this field; 0 without an answer. */
async function tryField(
  endpoint: EndpointConfig,
  model: string,
  field: object,
  stopped?: AbortSignal,
): Promise<number> {
  const body = { model, prompt: 'a', max_tokens: 1, ...field };
  try {
    return (await askText(endpoint, '/v1/completions', TIMEOUT_MS, body, stopped)).status;
  } catch {
    return 0;
  }
}

async function askPriority(
  endpoint: EndpointConfig,
  driver: EngineDriver,
  model: string,
  stopped?: AbortSignal,
): Promise<PriorityValues | undefined> {
  const { priority } = driver;
  if (priority === undefined) return undefined;
  const { field, found } = priority;
  return found.by === 'probe'
    ? found.valuesOf(await tryField(endpoint, model, { [field]: 1 }, stopped))
    : found.valuesOf(await askServerInfo(endpoint, driver, TIMEOUT_MS, stopped));
}

/** @param model one that the endpoint serves. */
export async function probeCapabilities(
  endpoint: EndpointConfig,
  kind: EngineKind,
  model: string,
  wanted: PoolConfig['engineCapabilities'],
  stopped?: AbortSignal,
): Promise<EngineCapabilities> {
  const driver = DRIVERS[kind];
  const { cacheSalt } = driver;
  return {
    priority: wanted.priority === 'off' ? undefined : await askPriority(endpoint, driver, model, stopped),
    cacheSalt:
      wanted.cacheSalt === 'auto' &&
      cacheSalt !== undefined &&
      (await tryField(endpoint, model, { [cacheSalt.field]: SALT }, stopped)) === 200,
  };
}
