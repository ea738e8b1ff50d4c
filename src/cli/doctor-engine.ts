/** What `fairlane doctor` asks an engine, and what it says of the answers. */
import type { Config, EndpointConfig, PoolConfig } from '../config/config.ts';
import { API_ALONE } from '../domain/engine-kinds.ts';
import type { EngineDriver } from '../engine/driver.ts';
import { DRIVERS } from '../engine/drivers.ts';
import type { EngineReport } from '../engine/gauges.ts';
import { probeCapabilities } from '../engine/http-capabilities.ts';
import { askGauges } from '../engine/http-gauge-monitor.ts';
import { askServerInfo, type Identity, identityOf } from '../engine/http-identify.ts';
import { askAccess, askAsleep, askModels, CHAT_QUESTION, probeHealth } from '../engine/http-probe.ts';
import type { Tell } from './doctor-findings.ts';

/** No engine's health is slower. */
const HEALTH_TIMEOUT_MS = 5_000;

export interface EngineQuestion {
  readonly pool: PoolConfig;
  readonly endpoint: EndpointConfig;
  readonly config: Config;
  readonly tell: Tell;
}

/** The same, with what every question needs. */
interface Check extends EngineQuestion {
  /** Pool and endpoint, for messages. */
  readonly where: string;
  readonly timeoutMs: number;
}

/** Asks an engine everything. @returns the models and adapters that it lists; undefined: unknown. */
export async function checkEngine(question: EngineQuestion): Promise<readonly string[] | undefined> {
  const { pool, endpoint, tell } = question;
  const where = `pool ${pool.name}, ${endpoint.url}`;
  const check: Check = {
    ...question,
    where,
    timeoutMs: Math.max(pool.health.timeoutMs, HEALTH_TIMEOUT_MS),
  };
  const identity = await identityOf(endpoint, pool, check.timeoutMs);
  const driver = identity.engine === undefined ? undefined : DRIVERS[identity.engine];
  if (!(await checkHealth(check, driver))) return undefined;
  tellKind(check, identity);
  await checkSleep(check, driver);
  const models = await checkModels(check);
  if (pool.adaptersPerEndpoint !== undefined && driver !== undefined && driver.lora.load === undefined) {
    tell(
      'problem',
      `${where}: Fairlane loads no adapters into ${driver.title}; remove pools.${pool.name}.adaptersPerEndpoint`,
    );
  }
  const page = driver === undefined ? undefined : await askServerInfo(endpoint, driver, check.timeoutMs);
  checkSequences(check, driver?.info?.maxSequences(page));
  const reported = await checkGauges(check, driver?.info?.kvCapacityTokens?.(page));
  if (reported !== undefined) await checkCapabilities(check, reported, models?.[0]);
  return models;
}

function tellKind({ pool, tell, where }: Check, { engine, by }: Identity): void {
  if (engine !== undefined) tell('ok', `${where}: ${DRIVERS[engine].title}, by ${by}`);
  else if (pool.engine === API_ALONE) tell('ok', `${where}: an API like OpenAI’s, by ${by}`);
  else {
    tell(
      'warning',
      `${where}: which engine it is cannot be seen (${by}); set pools.${pool.name}.engine (${API_ALONE}: none of those that are known)`,
    );
  }
}

/** @returns false if nothing else is worth asking. */
async function checkHealth(
  { pool, endpoint, tell, where, timeoutMs }: Check,
  driver: EngineDriver | undefined,
): Promise<boolean> {
  const { state, detail, isExplained } = await probeHealth(
    endpoint,
    pool.health.path,
    timeoutMs,
    driver?.health,
  );
  if (state === 'healthy') tell('ok', `${where}: ${detail}`);
  else if (state === 'loading') tell('warning', `${where}: ${detail}; ask again when it is ready`);
  else {
    const question = `is the engine running, and is the path right (pools.${pool.name}.health.path)?`;
    tell('problem', `${where}: ${detail}${isExplained === true ? '' : `; ${question}`}`);
  }
  if (state !== 'healthy') return false;
  const refusal =
    (await askAccess(endpoint, timeoutMs)) ??
    (await askAccess(endpoint, timeoutMs, undefined, CHAT_QUESTION));
  if (refusal !== undefined) tell('problem', `${where}: ${refusal.detail}`);
  return refusal?.refusesAll !== true;
}

async function checkSleep(
  { endpoint, tell, where, timeoutMs }: Check,
  driver: EngineDriver | undefined,
): Promise<void> {
  const sleep = driver?.health.sleep;
  if (sleep === undefined || (await askAsleep(endpoint, sleep, timeoutMs)) !== 'asleep') return;
  tell(
    sleep.wakesByRequest ? 'ok' : 'problem',
    `${where}: it sleeps; ${sleep.wakesByRequest ? 'a request wakes it' : 'a request would hang: wake it'}`,
  );
}

/** @returns what the engine lists; undefined: unknown. */
async function checkModels({
  pool,
  endpoint,
  config,
  tell,
  where,
}: Check): Promise<readonly string[] | undefined> {
  const models = await askModels(endpoint, pool.health.timeoutMs);
  const wanted = [...config.models.values()]
    .filter((model) => model.pool === pool.name || model.mirror?.pool === pool.name)
    .map(({ name }) => name);
  const missing = wanted.filter((name) => models?.includes(name) === false);
  if (models === undefined) {
    tell(pool.discoverModels ? 'problem' : 'warning', `${where}: does not list its models at /v1/models`);
  } else if (missing.length > 0) {
    tell(
      'problem',
      `${where}: does not serve ${missing.join(', ')}, which the configuration names; it serves ${models.join(', ')}`,
    );
  } else tell('ok', `${where}: serves ${models.join(', ')}`);
  return models;
}

/** Where an engine says how many sequences it runs, a fixed concurrency limit should be no larger. */
function checkSequences({ pool, tell, where }: Check, most: number | undefined): void {
  if (most === undefined) return;
  const tooLarge = pool.concurrencyLimit !== 'auto' && pool.concurrencyLimit > most;
  tell(
    tooLarge ? 'warning' : 'ok',
    `${where}: runs ${most} sequences at once${tooLarge ? `, less than pools.${pool.name}.concurrencyLimit` : ''}`,
  );
}

/**
 * @param kvOfPage KV cache by the engine's own page, in tokens, for when its metrics do not say it.
 * @returns the driver of the engine that reports; undefined: its gauges are unusable.
 */
async function checkGauges(
  { pool, endpoint, config, tell, where }: Check,
  kvOfPage: number | undefined,
): Promise<EngineDriver | undefined> {
  const gauges = await askGauges(endpoint, pool.gauges.path, pool.engine);
  if (gauges.kind === 'unusable') {
    const isMirror = [...config.models.values()].some((one) => one.mirror?.pool === pool.name);
    if (isMirror) {
      tell(
        'problem',
        `${where}: ${gauges.detail}; nothing is copied to this pool without gauges. Set pools.NAME.gauges.path`,
      );
    } else if (pool.engine === API_ALONE) {
      const by = pool.concurrencyLimit === 'auto' ? 'the concurrency limit goes by times to first token' : '';
      tell('ok', `${where}: gauges are ${[gauges.detail, by].filter((text) => text !== '').join('; ')}`);
    } else if (pool.concurrencyLimit === 'auto') {
      tell(
        'warning',
        `${where}: ${gauges.detail}; the concurrency limit goes by times to first token, which is slower and less exact. Set pools.NAME.gauges.path, or concurrencyLimit to what the engine runs at once`,
      );
    } else tell('ok', `${where}: ${gauges.detail}`);
    return undefined;
  }
  tell('ok', `${where}: ${reportText(gauges.report, kvOfPage)}`);
  if (gauges.report.gauges.waiting > 0) {
    tell(
      'warning',
      `${where}: requests wait in the engine; another client uses it, or concurrencyLimit is too large`,
    );
  }
  return DRIVERS[gauges.report.kind];
}

async function checkCapabilities(
  { pool: { engineCapabilities: wanted }, endpoint, tell, where }: Check,
  { kind }: EngineDriver,
  model: string | undefined,
): Promise<void> {
  if ((wanted.priority === 'off' && wanted.cacheSalt === 'off') || model === undefined) return;
  const has = await probeCapabilities(endpoint, kind, model, wanted);
  if (wanted.priority === 'auto') {
    const takes = has.priority !== undefined;
    tell(takes ? 'ok' : 'warning', `${where}: ${takes ? 'takes' : 'does not take'} priorities`);
  }
  if (wanted.cacheSalt === 'auto') {
    tell(
      has.cacheSalt ? 'ok' : 'warning',
      `${where}: ${has.cacheSalt ? 'takes' : 'does not take'} a cache salt`,
    );
  }
}

function reportText(
  { kind, gauges, kvCapacityTokens, prefixCache, loras }: EngineReport,
  ofPage: number | undefined,
): string {
  const capacity = kvCapacityTokens ?? ofPage;
  const parts = [
    kind,
    `${gauges.running} running`,
    `${gauges.waiting} waiting`,
    capacity === undefined ? 'KV cache of unknown size' : `KV cache of ${capacity} tokens`,
  ];
  if (prefixCache?.kind === 'rate' || (prefixCache?.promptTokens ?? 0) > 0) {
    parts.push(`${Math.round(100 * hitRateOf(prefixCache))} % of the prompt tokens from its prefix cache`);
  }
  if (loras !== undefined) parts.push(`at most ${loras.max} LoRA adapters at once`);
  return parts.join(', ');
}

function hitRateOf(cache: EngineReport['prefixCache']): number {
  if (cache === undefined) return 0;
  return cache.kind === 'rate' ? cache.hitRate : cache.cachedTokens / cache.promptTokens;
}
