/** What `fairlane doctor` says of what it was told: pure. */
import type { Config, PoolConfig } from '../config/config.ts';
import { expiryOf } from '../config/pem.ts';
import { counted } from '../domain/counted.ts';
import { hostPortText } from '../domain/host-port.ts';

export type Level = 'ok' | 'warning' | 'problem';

export interface Finding {
  readonly level: Level;
  readonly text: string;
}

/** Takes a finding as it is made. */
export type Tell = (level: Level, text: string) => void;

type Fields = Readonly<Record<string, unknown>>;

const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
/** Of what came over the wire: nothing where it is something else. */
const fieldsOf = (value: unknown): Fields => (isFields(value) ? value : {});
const rowsOf = (value: unknown): readonly (readonly [string, Fields])[] =>
  Object.entries(fieldsOf(value)).map(([name, row]) => [name, fieldsOf(row)]);
const textOf = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);
const numberOf = (value: unknown): number => (typeof value === 'number' ? value : 0);
const namesOf = (value: unknown): readonly string[] =>
  Array.isArray(value) ? value.filter((one) => typeof one === 'string') : [];

const found = (level: Level, text: string): Finding => ({ level, text });
const percent = (part: unknown): string => `${Number((100 * numberOf(part)).toPrecision(3))} %`;

function* endpointFindings(where: string, endpoint: Fields): Generator<Finding> {
  const state = textOf(endpoint['state']) ?? '';
  if (state !== '' && !state.startsWith('healthy')) yield found('problem', `${where}: ${state}`);
  if (endpoint['ejected'] === true) {
    yield found('warning', `${where}: kept out, because requests failed there`);
  }
  for (const model of namesOf(endpoint['broken'])) {
    yield found('warning', `${where}: ${model} is broken there: requests of several tenants failed`);
  }
  const engine = textOf(endpoint['engine']);
  const gauges = textOf(endpoint['gauges']);
  const by = textOf(endpoint['by']) ?? '';
  yield found(
    gauges === undefined || by === 'fixed' ? 'ok' : 'warning',
    `${where}: ${engine === undefined ? '' : `${engine}, `}concurrency limit ${numberOf(endpoint['window'])} by ${by}${gauges === undefined ? '' : ` (gauges: ${gauges})`}`,
  );
  if (!isFields(endpoint['adapters'])) return;
  const loading = namesOf(endpoint['adapters']['loading']);
  const loaded = namesOf(endpoint['adapters']['loaded']);
  yield found(
    'ok',
    `${where}: adapters loaded: ${loaded.join(', ') || 'none'}${loading.length === 0 ? '' : `; loading: ${loading.join(', ')}`}`,
  );
}

function* poolFindings(name: string, pool: Fields): Generator<Finding> {
  const [healthy, endpoints] = [numberOf(pool['healthy']), numberOf(pool['endpoints'])];
  const draining = rowsOf(pool['draining']);
  const states = fieldsOf(pool['windows']);
  const serving = healthy - draining.filter(([url]) => isHealthy(states[url])).length;
  const drained = draining.length === 0 ? '' : `, ${draining.length} drained`;
  yield found(
    healthy === endpoints && (serving > 0 || endpoints === 0) ? 'ok' : 'problem',
    `pool ${name}: endpoints that take requests: ${serving} of ${endpoints}${drained}`,
  );
  for (const [url, drain] of draining) {
    const left =
      drain['empty'] === true ? 'empty' : `${counted(numberOf(drain['inFlight']), 'request')} left`;
    yield found(
      'warning',
      `pool ${name}, ${url}: drained, ${left}; to undo it: fairlane drain ${url} --undo, or pools.${name}.drain in the configuration`,
    );
  }
  for (const [url, endpoint] of rowsOf(states)) yield* endpointFindings(`pool ${name}, ${url}`, endpoint);
}

const isHealthy = (endpoint: unknown): boolean =>
  textOf(fieldsOf(endpoint)['state'])?.startsWith('healthy') === true;

/** @param health as for `healthFindings`. */
export function refusedFindings(health: unknown): readonly Finding[] {
  const { refused } = fieldsOf(health);
  return (Array.isArray(refused) ? refused.map(fieldsOf) : []).map(({ file, since, problems }) => {
    const [first = 'the log says why'] = namesOf(problems);
    const text = `${textOf(file) ?? '?'}: what it says now is not in use, since ${textOf(since) ?? '?'}: ${first}`;
    return found('problem', text);
  });
}

/** @param health the answer of `/health`: of a service that may be another version's, or of somebody else. */
export function* healthFindings(health: unknown): Generator<Finding> {
  const { pools, canaries, shadows: mirrors } = fieldsOf(health);
  for (const [name, pool] of rowsOf(pools)) yield* poolFindings(name, pool);
  for (const [model, { model: canary, weight, rolledBack }] of rowsOf(canaries)) {
    const where = `model ${model}, canary ${textOf(canary) ?? '?'}`;
    if (isFields(rolledBack)) {
      yield found(
        'warning',
        `${where}: rolled back (${textOf(rolledBack['detail']) ?? 'it was worse'}); a change of the canary, its salt for example, tries it again`,
      );
    } else yield found('ok', `${where}: has ${percent(weight)} of the requests`);
  }
  for (const [model, { pool, fraction, running }] of rowsOf(mirrors)) {
    yield found(
      'ok',
      `model ${model}, mirror in pool ${textOf(pool) ?? '?'}: copies ${percent(fraction)} of the requests, ${counted(numberOf(running), 'copy').replace('copys', 'copies')} running`,
    );
  }
}

const DAY_MS = 86_400_000;
/** Renewals come earlier: one that has not come by then has failed. */
const SOON_DAYS = 14;

/** Where clients connect, and how long certificates are good. @param nowMs Unix time. */
export function listenerFindings(
  { listen, picker }: Pick<Config, 'listen' | 'picker'>,
  nowMs: number,
): readonly Finding[] {
  if (picker !== undefined) return [];
  return listen.map(({ address, tls }) => {
    const at = hostPortText(address);
    if (tls === undefined) return found('ok', `clients: http://${at}`);
    const days = Math.floor((expiryOf(tls.cert) - nowMs) / DAY_MS);
    const asked = tls.clientCa === undefined ? '' : ', clients need a certificate';
    const left =
      days < 0 ? 'the certificate has expired' : `the certificate is good for ${counted(days, 'day')}`;
    const level = days < 0 ? 'problem' : days < SOON_DAYS ? 'warning' : 'ok';
    return found(level, `clients: https://${at}, ${left}${asked}`);
  });
}

/**
 * Adapters of the configuration that nobody has and nobody may load.
 *
 * @param served what each endpoint of the pool lists; undefined where that is not known.
 */
export function adapterFindings(
  config: Pick<Config, 'adapters' | 'models'>,
  { name: pool, adaptersPerEndpoint }: Pick<PoolConfig, 'name' | 'adaptersPerEndpoint'>,
  served: readonly (readonly string[] | undefined)[],
): readonly Finding[] {
  if (served.includes(undefined)) return [];
  return [...config.adapters.values()]
    .filter(({ base }) => config.models.get(base)?.pool === pool)
    .filter(({ path }) => path === undefined || adaptersPerEndpoint === undefined)
    .filter(({ name }) => !served.some((names) => names?.includes(name)))
    .map(({ name, path }) =>
      found(
        'warning',
        `pool ${pool}: no endpoint has the adapter ${name}, and Fairlane may not load it: requests for it get a 503. Load it, or set ${path === undefined ? `adapters.${name}.path` : ''}${path === undefined && adaptersPerEndpoint === undefined ? ' and ' : ''}${adaptersPerEndpoint === undefined ? `pools.${pool}.adaptersPerEndpoint` : ''}`,
      ),
    );
}
