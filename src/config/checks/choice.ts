/** What the schema cannot say of `pools.NAME.choice`, `kvCache` and `service.zone`. */
import { kvTokensIn } from '../../domain/kv-size.ts';
import { isolatesSlowClients, PROFILE_NAMES } from '../../domain/routing-profiles.ts';
import type { Config } from '../config.ts';
import { quote } from '../report.ts';
import { entriesAt } from '../written-data.ts';
import type { Path } from '../yaml-source.ts';
import type { Check } from './check.ts';
import { type Endpoints, ownUrlsAt } from './endpoints.ts';

/** URLs of each pool's endpoints that its `choice` names. */
export type ChosenEndpoints = ReadonlyMap<
  string,
  {
    readonly slowClients: readonly string[];
    readonly zones: ReadonlyMap<string, readonly string[]>;
  }
>;

export function checkChosenEndpoints(endpoints: Endpoints, check: Check): ChosenEndpoints {
  const { root, report, hide } = check;
  const found = new Map<string, { slowClients: string[]; zones: Map<string, string[]> }>();
  for (const entry of entriesAt(root, 'pools')) {
    const [pool, settings] = entry;
    const own = (endpoints.get(pool) ?? []).map(({ config }) => config.url);
    const urlsAt = (...path: readonly string[]): ReadonlyMap<string, Path> =>
      ownUrlsAt(entry, path, own, check);
    const slowClients = [...urlsAt('choice', 'slowClients').keys()];
    if (own.length > 0 && slowClients.length === own.length) {
      report.problem(
        ['pools', pool, 'choice', 'slowClients'],
        'leaves no endpoint for other clients; name fewer, or add an endpoint',
        'key',
      );
    }
    const zones = new Map<string, string[]>();
    const zoneOf = new Map<string, string>();
    for (const [zone] of entriesAt(settings, 'choice', 'zones')) {
      const urls = urlsAt('choice', 'zones', zone);
      zones.set(zone, [...urls.keys()]);
      for (const [url, path] of urls) {
        const other = zoneOf.get(url);
        zoneOf.set(url, zone);
        if (other === undefined) continue;
        report.problem(path, `${url} is in zone ${quote(hide(other))} already; an endpoint is in one zone`);
      }
    }
    found.set(pool, { slowClients, zones });
  }
  return found;
}

/** Settings that mean nothing beside the others. */
export function checkChoice(config: Config, { root, report }: Check): void {
  const { zone } = config.service;
  for (const [name, { routing, choice, kvCache }] of config.pools) {
    const path = ['pools', name, 'choice'];
    if (kvCache !== undefined && kvTokensIn(kvCache.memoryBytes, kvCache.shape) < 1) {
      report.problem(
        ['pools', name, 'kvCache', 'memory'],
        'holds not one token of this model; give the memory of the KV cache and the numbers of config.json',
      );
    }
    if (routing === 'least-loaded') {
      for (const [key] of entriesAt(root, ...path)) {
        const remedy = 'has no effect with routing: least-loaded; set routing to another profile';
        report.warning([...path, key], remedy, 'key');
      }
      continue;
    }
    if (choice.largeTokens !== undefined && routing !== 'class-aware') {
      report.warning([...path, 'largeTokens'], 'has no effect without routing: class-aware', 'key');
    }
    if (choice.slowClients.length > 0 && !isolatesSlowClients(routing)) {
      const profiles = PROFILE_NAMES.filter(isolatesSlowClients).join(' or ');
      report.warning([...path, 'slowClients'], `has no effect without routing: ${profiles}`, 'key');
    }
    if (choice.zones.size > 0 && zone === undefined) {
      report.warning([...path, 'zones'], 'has no effect without service.zone', 'key');
    }
  }
  const hasZone = [...config.pools.values()].some(({ choice }) => choice.zones.has(zone ?? ''));
  if (zone === undefined || hasZone) return;
  report.warning(
    ['service', 'zone'],
    'has no effect: no pool has endpoints in this zone under choice.zones',
    'key',
  );
}
