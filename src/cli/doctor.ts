import { Command } from 'commander';
import type { Config, EndpointConfig, HostPort, PoolConfig } from '../config/config.ts';
import { loadConfig } from '../config/fs-config.ts';
import type { EngineKind } from '../engine/gauges.ts';
import { askGauges } from '../engine/http-gauge-monitor.ts';
import { probeHelp } from '../engine/http-help.ts';
import { askModels, askText, probeHealth } from '../engine/http-probe.ts';

type Level = 'ok' | 'warning' | 'problem';
type Tell = (level: Level, text: string) => void;

const SERVICE_TIMEOUT_MS = 2_000;
const COLOUR: Readonly<Record<Level, number>> = { ok: 32, warning: 33, problem: 31 };
const coloured = process.stdout.isTTY && process.env['NO_COLOR'] === undefined;

async function checkEngine(
  pool: PoolConfig,
  endpoint: EndpointConfig,
  config: Config,
  tell: Tell,
): Promise<void> {
  const where = `pool ${pool.name}, ${endpoint.url}`;
  const health = await probeHealth(endpoint, pool.health.path, pool.health.timeoutMs);
  if (!health.ok) {
    tell(
      'problem',
      `${where}: ${health.detail}; is the engine running, and is the path right (pools.${pool.name}.health.path)?`,
    );
    return;
  }
  tell('ok', `${where}: ${health.detail}`);

  const models = await askModels(endpoint, pool.health.timeoutMs);
  const wanted = [...config.models.values()]
    .filter((model) => model.pool === pool.name)
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

  const gauges = await askGauges(endpoint, pool.gauges.path);
  if (gauges.kind === 'unusable') {
    const auto = pool.windowPerEndpoint === 'auto';
    tell(
      auto ? 'warning' : 'ok',
      `${where}: ${gauges.detail}${auto ? '; the window goes by times to first token, which is slower and less exact. Set pools.NAME.gauges.path, or windowPerEndpoint to what the engine runs at once' : ''}`,
    );
    return;
  }
  const { kind, gauges: now, kvCapacityTokens } = gauges.report;
  const capacity =
    kvCapacityTokens === undefined ? 'KV cache of unknown size' : `KV cache of ${kvCapacityTokens} tokens`;
  tell('ok', `${where}: ${kind}, ${now.running} running, ${now.waiting} waiting, ${capacity}`);
  if (now.waiting > 0) {
    tell(
      'warning',
      `${where}: requests wait in the engine; another client uses it, or windowPerEndpoint is too large`,
    );
  }
  await checkHelp(pool, endpoint, kind, models?.[0], tell);
}

async function checkHelp(
  pool: PoolConfig,
  endpoint: EndpointConfig,
  kind: EngineKind,
  model: string | undefined,
  tell: Tell,
): Promise<void> {
  const { engineHelp } = pool;
  if ((engineHelp.priority === 'off' && engineHelp.cacheSalt === 'off') || model === undefined) return;
  const help = await probeHelp(endpoint, kind, model, engineHelp);
  const where = `pool ${pool.name}, ${endpoint.url}`;
  if (engineHelp.priority === 'auto') {
    const takes = help.priority !== undefined;
    tell(takes ? 'ok' : 'warning', `${where}: ${takes ? 'takes' : 'does not take'} priorities`);
  }
  if (engineHelp.cacheSalt === 'auto') {
    tell(
      help.cacheSalt ? 'ok' : 'warning',
      `${where}: ${help.cacheSalt ? 'takes' : 'does not take'} a cache salt`,
    );
  }
}

interface ServiceHealth {
  readonly status?: string;
  readonly pools?: Readonly<
    Record<
      string,
      {
        readonly healthy?: number;
        readonly endpoints?: number;
        readonly windows?: Readonly<Record<string, { window?: number; by?: string; gauges?: string }>>;
      }
    >
  >;
}

/** What a service that runs with this configuration says of itself. */
async function checkService({ host, port }: HostPort, tell: Tell): Promise<void> {
  let answer: { readonly status: number; readonly body: string };
  try {
    answer = await askText({ url: '', host, port }, '/health', SERVICE_TIMEOUT_MS);
  } catch {
    tell('ok', `no service answers on ${host}:${port}: nothing to say of its windows`);
    return;
  }
  let health: ServiceHealth;
  try {
    health = JSON.parse(answer.body) as ServiceHealth;
  } catch {
    tell('problem', `${host}:${port} answers, but is no Fairlane: choose another service.metrics`);
    return;
  }
  tell(
    health.status === 'ok' ? 'ok' : 'warning',
    `service on ${host}:${port}: ${health.status ?? 'unknown'}`,
  );
  for (const [pool, { healthy = 0, endpoints = 0, windows = {} }] of Object.entries(health.pools ?? {})) {
    tell(
      healthy === endpoints ? 'ok' : 'problem',
      `pool ${pool}: ${healthy} of ${endpoints} endpoints are in the rotation`,
    );
    for (const [url, { window = 0, by = '', gauges }] of Object.entries(windows)) {
      tell(
        gauges === undefined || by === 'fixed' ? 'ok' : 'warning',
        `pool ${pool}, ${url}: window ${window} by ${by}${gauges === undefined ? '' : ` (gauges: ${gauges})`}`,
      );
    }
  }
}

/** `fairlane doctor`: what is wrong between the configuration, the engines and a running service. */
export function doctorCommand(): Command {
  return new Command('doctor')
    .description(
      'Check the configuration, ask every engine for its health, models and gauges, and a running service for its windows. Exit code 1 if there is a problem.',
    )
    .requiredOption('-c, --config <file>', 'configuration (YAML)')
    .action(async ({ config: path }: { config: string }) => {
      let problems = 0;
      const tell: Tell = (level, text) => {
        if (level === 'problem') problems += 1;
        const word = level.padEnd(7);
        console.log(`${coloured ? `\u001b[${COLOUR[level]}m${word}\u001b[0m` : word}  ${text}`);
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
        for (const endpoint of pool.endpoints) await checkEngine(pool, endpoint, config, tell);
      }
      await checkService(config.service.metrics, tell);
      process.exit(problems === 0 ? 0 : 1);
    });
}
