import { Command } from 'commander';
import type { Config, EndpointConfig, PoolConfig, ServiceAddress } from '../config/config.ts';
import { loadConfig } from '../config/fs-config.ts';
import type { EngineKind } from '../domain/engine-kinds.ts';
import type { EngineDriver } from '../engine/driver.ts';
import { DRIVERS } from '../engine/drivers.ts';
import type { EngineReport } from '../engine/gauges.ts';
import { probeCapabilities } from '../engine/http-capabilities.ts';
import { askGauges } from '../engine/http-gauge-monitor.ts';
import { askServerInfo, type Identity, identifyEngine } from '../engine/http-identify.ts';
import { askAsleep, askModels, askText, probeHealth } from '../engine/http-probe.ts';
import { adapterFindings, healthFindings, type Level } from './doctor-findings.ts';
import { askServing } from './grpc-health.ts';
import { printMarked } from './terminal.ts';

type Tell = (level: Level, text: string) => void;

const SERVICE_TIMEOUT_MS = 2_000;
/** No engine's health is slower. */
const HEALTH_TIMEOUT_MS = 5_000;
const COLOUR: Readonly<Record<Level, number>> = { ok: 32, warning: 33, problem: 31 };
const coloured = process.stdout.isTTY && process.env['NO_COLOR'] === undefined;

/** @returns the models and adapters that it lists; undefined: unknown. */
async function checkEngine(
  pool: PoolConfig,
  endpoint: EndpointConfig,
  config: Config,
  tell: Tell,
): Promise<readonly string[] | undefined> {
  const where = `pool ${pool.name}, ${endpoint.url}`;
  const timeoutMs = Math.max(pool.health.timeoutMs, HEALTH_TIMEOUT_MS);
  const identity: Identity =
    pool.engine === 'auto'
      ? await identifyEngine(endpoint, pool.gauges.path, timeoutMs)
      : { engine: pool.engine, by: 'the configuration' };
  const driver = identity.engine === undefined ? undefined : DRIVERS[identity.engine];
  const health = await probeHealth(endpoint, pool.health.path, timeoutMs, driver?.health);
  if (health.state !== 'healthy') {
    tell(
      health.state === 'loading' ? 'warning' : 'problem',
      health.state === 'loading'
        ? `${where}: ${health.detail}; ask again when it is ready`
        : `${where}: ${health.detail}; is the engine running, and is the path right (pools.${pool.name}.health.path)?`,
    );
    return undefined;
  }
  tell('ok', `${where}: ${health.detail}`);
  if (driver === undefined) {
    tell(
      'warning',
      `${where}: which engine it is cannot be seen (${identity.by}); set pools.${pool.name}.engine`,
    );
  } else tell('ok', `${where}: ${driver.title}, by ${identity.by}`);
  const sleep = driver?.health.sleep;
  if (sleep !== undefined && (await askAsleep(endpoint, sleep, timeoutMs)) === 'asleep') {
    tell(
      sleep.wakesByRequest ? 'ok' : 'problem',
      `${where}: it sleeps; ${sleep.wakesByRequest ? 'a request wakes it' : 'a request would hang: wake it'}`,
    );
  }

  const models = await checkModels(pool, endpoint, config, tell);
  if (pool.adaptersPerEndpoint !== undefined && driver !== undefined && driver.lora.load === undefined) {
    tell(
      'problem',
      `${where}: Fairlane loads no adapters into ${driver.title}; remove pools.${pool.name}.adaptersPerEndpoint`,
    );
  }
  const page = driver === undefined ? undefined : await askServerInfo(endpoint, driver, timeoutMs);
  checkSequences(pool, endpoint, driver?.info?.maxSequences(page), tell);
  const seen = await checkGauges(pool, endpoint, driver?.info?.kvCapacityTokens?.(page), config, tell);
  if (seen !== undefined) await checkCapabilities(pool, endpoint, DRIVERS[seen], models?.[0], tell);
  return models;
}

/** @returns the models that it lists; undefined: unknown. */
async function checkModels(
  pool: PoolConfig,
  endpoint: EndpointConfig,
  config: Config,
  tell: Tell,
): Promise<readonly string[] | undefined> {
  const where = `pool ${pool.name}, ${endpoint.url}`;
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

/**
 * @param kvOfPage KV cache by the engine's own page, in tokens, for when its metrics do not say it.
 * @returns whose gauges they are; undefined: nothing can be made of them.
 */
async function checkGauges(
  pool: PoolConfig,
  endpoint: EndpointConfig,
  kvOfPage: number | undefined,
  config: Config,
  tell: Tell,
): Promise<EngineKind | undefined> {
  const where = `pool ${pool.name}, ${endpoint.url}`;
  const gauges = await askGauges(endpoint, pool.gauges.path, pool.engine);
  if (gauges.kind === 'unusable') {
    const getsCopies = [...config.models.values()].some((one) => one.mirror?.pool === pool.name);
    if (getsCopies) {
      tell(
        'problem',
        `${where}: ${gauges.detail}; nothing is copied to this pool without gauges. Set pools.NAME.gauges.path`,
      );
    } else if (pool.concurrencyLimit === 'auto') {
      tell(
        'warning',
        `${where}: ${gauges.detail}; the concurrency limit goes by times to first token, which is slower and less exact. Set pools.NAME.gauges.path, or concurrencyLimit to what the engine runs at once`,
      );
    } else tell('ok', `${where}: ${gauges.detail}`);
    return undefined;
  }
  const { report } = gauges;
  tell('ok', `${where}: ${reportText(report, kvOfPage)}`);
  if (report.gauges.waiting > 0) {
    tell(
      'warning',
      `${where}: requests wait in the engine; another client uses it, or concurrencyLimit is too large`,
    );
  }
  return report.kind;
}

/** @param ofPage KV cache by the engine's own page, in tokens, for when its metrics do not say it. */
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

/** Where an engine says how many sequences it runs, a fixed concurrency limit should be no larger. */
function checkSequences(
  { name, concurrencyLimit }: PoolConfig,
  endpoint: EndpointConfig,
  most: number | undefined,
  tell: Tell,
): void {
  if (most === undefined) return;
  const tooLarge = concurrencyLimit !== 'auto' && concurrencyLimit > most;
  tell(
    tooLarge ? 'warning' : 'ok',
    `pool ${name}, ${endpoint.url}: runs ${most} sequences at once${tooLarge ? `, less than pools.${name}.concurrencyLimit` : ''}`,
  );
}

async function checkCapabilities(
  { name, engineCapabilities: wanted }: PoolConfig,
  endpoint: EndpointConfig,
  { kind }: EngineDriver,
  model: string | undefined,
  tell: Tell,
): Promise<void> {
  if ((wanted.priority === 'off' && wanted.cacheSalt === 'off') || model === undefined) return;
  const { priority, cacheSalt } = await probeCapabilities(endpoint, kind, model, wanted);
  const answer = (isTaken: boolean, what: string): void =>
    tell(
      isTaken ? 'ok' : 'warning',
      `pool ${name}, ${endpoint.url}: ${isTaken ? 'takes' : 'does not take'} ${what}`,
    );
  if (wanted.priority === 'auto') answer(priority !== undefined, 'priorities');
  if (wanted.cacheSalt === 'auto') answer(cacheSalt, 'a cache salt');
}

interface ServiceHealth {
  readonly status?: string;
  /** `connected` or `away`; absent without Redis. */
  readonly redis?: string;
}

/** Whether Envoy could ask it. */
async function checkGrpc(address: ServiceAddress, tell: Tell): Promise<void> {
  const host = address.kind === 'tcp' && address.host.includes(':') ? `[${address.host}]` : undefined;
  const target = address.kind === 'unix' ? `unix:${address.path}` : `${host ?? address.host}:${address.port}`;
  try {
    const status = await askServing(target, SERVICE_TIMEOUT_MS);
    tell(status === 'SERVING' ? 'ok' : 'warning', `gRPC on ${target}: ${status}`);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    tell(
      'problem',
      `gRPC on ${target}: ${why}; was the service started with another service.address, or is the socket another user's?`,
    );
  }
}

/** What a service that runs with this configuration says of itself. */
async function checkService(
  { metrics: { host, port }, address }: Config['service'],
  tell: Tell,
): Promise<void> {
  let answer: { readonly status: number; readonly body: string };
  try {
    answer = await askText({ url: '', host, port }, '/health', SERVICE_TIMEOUT_MS);
  } catch {
    tell('ok', `no service answers on ${host}:${port}: nothing to say of its concurrency limits`);
    return;
  }
  let health: ServiceHealth;
  try {
    health = JSON.parse(answer.body) as ServiceHealth;
    if (typeof health !== 'object' || health === null) throw new Error('it is no object');
  } catch {
    tell('problem', `${host}:${port} answers, but is no Fairlane: choose another service.metrics`);
    return;
  }
  tell(
    health.status === 'ok' ? 'ok' : 'warning',
    `service on ${host}:${port}: ${health.status ?? 'unknown'}`,
  );
  await checkGrpc(address, tell);
  if (health.redis !== undefined) {
    const isThere = health.redis === 'connected';
    tell(
      isThere ? 'ok' : 'warning',
      isThere
        ? 'Redis: connected'
        : 'Redis: away; limits are decided alone with redis.failureShare of each, the service logs why',
    );
  }
  for (const { level, text } of healthFindings(health)) tell(level, text);
}

/** `fairlane doctor`: what is wrong between the configuration, the engines and a running service. */
export function doctorCommand(): Command {
  return new Command('doctor')
    .description(
      'Check the configuration, ask every engine for its health, models and gauges, and a running service for its concurrency limits, drains, adapters, canaries and mirrors. Exit code 1 if there is a problem.',
    )
    .requiredOption('-c, --config <file>', 'configuration (YAML)')
    .action(async ({ config: path }: { config: string }) => {
      let problems = 0;
      const tell: Tell = (level, text) => {
        if (level === 'problem') problems += 1;
        const word = level.padEnd(7);
        printMarked(coloured ? `\u001b[${COLOUR[level]}m${word}\u001b[0m` : word, text);
      };
      const loaded = loadConfig(path, process.env);
      if (loaded.kind === 'bad') {
        for (const problem of loaded.problems) tell('problem', problem);
        process.exit(1);
      }
      const { config, warnings } = loaded;
      for (const warning of warnings) tell('warning', warning);
      tell('ok', `${path}: ${config.tenants.size} tenants, ${config.pools.size} pools`);
      for (const pool of config.pools.values()) {
        const served: (readonly string[] | undefined)[] = [];
        for (const endpoint of pool.endpoints) served.push(await checkEngine(pool, endpoint, config, tell));
        for (const { level, text } of adapterFindings(config, pool, served)) tell(level, text);
      }
      await checkService(config.service, tell);
      process.exit(problems === 0 ? 0 : 1);
    });
}
