/** Asks an endpoint which engine it is, and what its engine says of itself. */
import type { EndpointConfig, PoolConfig } from '../config/config.ts';
import { API_ALONE, type EngineKind } from '../domain/engine-kinds.ts';
import type { EngineDriver } from './driver.ts';
import { readGauges } from './gauges.ts';
import { askText, whyNoAnswer } from './http-probe.ts';
import { IDENTIFYING_PATHS, recognise } from './identify.ts';

export interface Identity {
  /** Undefined: none that is known. */
  readonly engine: EngineKind | undefined;
  /** Where it was seen, or why it was not. For the log. */
  readonly by: string;
}

/** The JSON of a page; undefined when there is none. Rejects when there is no answer at all. */
async function askJson(
  endpoint: EndpointConfig,
  path: string,
  timeoutMs: number,
  stopped?: AbortSignal,
): Promise<unknown> {
  const { status, body } = await askText(endpoint, path, timeoutMs, undefined, stopped);
  if (status !== 200) return undefined;
  try {
    return JSON.parse(body) as unknown;
  } catch {
    return undefined;
  }
}

/** What the configuration says that an endpoint is, else what it answers. Never rejects. @param timeoutMs for all questions together. */
export async function identityOf(
  endpoint: EndpointConfig,
  { engine, gauges }: Pick<PoolConfig, 'engine' | 'gauges'>,
  timeoutMs: number,
  stopped?: AbortSignal,
): Promise<Identity> {
  if (engine === 'auto') return identifyEngine(endpoint, gauges.path, timeoutMs, stopped);
  return { engine: engine === API_ALONE ? undefined : engine, by: 'the configuration' };
}

/** Never rejects. @param timeoutMs for all questions together. */
export async function identifyEngine(
  endpoint: EndpointConfig,
  metricsPath: string,
  timeoutMs: number,
  stopped?: AbortSignal,
): Promise<Identity> {
  const until = performance.now() + timeoutMs;
  const left = (): number => Math.max(1, Math.ceil(until - performance.now()));
  try {
    const { status, body } = await askText(endpoint, metricsPath, left(), undefined, stopped);
    const metrics = status === 200 ? readGauges(body) : undefined;
    if (metrics?.kind === 'report') return { engine: metrics.report.kind, by: metricsPath };
    for (const path of IDENTIFYING_PATHS) {
      const engine = recognise(path, await askJson(endpoint, path, left(), stopped));
      if (engine !== undefined) return { engine, by: path };
    }
    return { engine: undefined, by: `neither ${metricsPath} nor ${IDENTIFYING_PATHS.join(', ')} tells` };
  } catch (error) {
    return { engine: undefined, by: await whyNoAnswer(error, endpoint) };
  }
}

/** The JSON of the engine's own page; undefined if it has none or does not answer. Never rejects. */
export async function askServerInfo(
  endpoint: EndpointConfig,
  { info }: EngineDriver,
  timeoutMs: number,
  stopped?: AbortSignal,
): Promise<unknown> {
  for (const path of info?.paths ?? []) {
    try {
      const page = await askJson(endpoint, path, timeoutMs, stopped);
      if (info?.isOwn(page) === true) return page;
    } catch {
      // The next path, or none.
    }
  }
  return undefined;
}

/** What it lists at `/v1/models`, as JSON; undefined: no answer that says anything. Never rejects. */
export async function askListing(
  endpoint: EndpointConfig,
  timeoutMs: number,
  stopped?: AbortSignal,
): Promise<unknown> {
  try {
    return await askJson(endpoint, '/v1/models', timeoutMs, stopped);
  } catch {
    return undefined;
  }
}
