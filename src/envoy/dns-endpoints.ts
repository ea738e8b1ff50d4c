/**
 * Resolves the endpoints' host names: Envoy's override_host policy matches `ip:port`. Names are looked up again at an
 * interval; an answer that fails keeps the last one.
 */
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import type { Config, EndpointConfig } from '../config/config.ts';

/** IP address of each endpoint's URL; endpoints whose name has never been resolved are absent. */
type ResolvedAddresses = ReadonlyMap<string, string>;

export interface EndpointResolver {
  /** Resolves this configuration's endpoints and watches them from now on. Never rejects. */
  resolve(config: Config): Promise<ResolvedAddresses>;
  stop(): void;
}

export interface ResolverOptions {
  /** What is used now: a change that could not be taken over is told again. */
  readonly inUse: () => ResolvedAddresses;
  readonly onChange: (addresses: ResolvedAddresses) => void;
  /** Told once for each name until it resolves again. */
  readonly onProblem: (detail: string) => void;
  /** Between looks. Default: 5 s. */
  readonly intervalMs?: number;
}

export function createEndpointResolver({
  inUse,
  onChange,
  onProblem,
  intervalMs = 5_000,
}: ResolverOptions): EndpointResolver {
  const known = new Map<string, string>();
  const failing = new Set<string>();
  let endpoints: readonly EndpointConfig[] = [];
  let timer: NodeJS.Timeout | undefined;
  let stopped = false;

  const resolveHost = async (host: string): Promise<void> => {
    try {
      const answers = await lookup(host, { all: true });
      const addresses = answers.map(({ address }) => address);
      // A name with several addresses: the one in use stays as long as it is among them.
      const before = known.get(host);
      const first = answers.find(({ family }) => family === 4)?.address ?? addresses[0];
      if (first !== undefined && (before === undefined || !addresses.includes(before)))
        known.set(host, first);
      failing.delete(host);
    } catch (error) {
      if (failing.has(host)) return;
      failing.add(host);
      const reason = error instanceof Error ? error.message : String(error);
      const kept = known.get(host);
      onProblem(`endpoint host ${host}: ${reason}${kept === undefined ? '' : `; ${kept} stays in use`}`);
    }
  };

  const addresses = (): ResolvedAddresses => {
    const result = new Map<string, string>();
    for (const { url, host } of endpoints) {
      const address = isIP(host) > 0 ? host : known.get(host);
      if (address !== undefined) result.set(url, address);
    }
    return result;
  };

  const resolveAll = async (): Promise<ResolvedAddresses> => {
    const names = new Set(endpoints.map(({ host }) => host).filter((host) => isIP(host) === 0));
    await Promise.all([...names].map(resolveHost));
    return addresses();
  };

  const again = async (): Promise<void> => {
    const after = await resolveAll();
    if (stopped) return;
    const before = inUse();
    if (after.size !== before.size || [...after].some(([url, address]) => before.get(url) !== address)) {
      onChange(after);
    }
    schedule();
  };
  const schedule = (): void => {
    clearTimeout(timer);
    if (stopped || endpoints.every(({ host }) => isIP(host) > 0)) return;
    timer = setTimeout(() => void again(), intervalMs).unref();
  };

  return {
    async resolve(config) {
      endpoints = [...config.pools.values()].flatMap((pool) => pool.endpoints);
      const result = await resolveAll();
      schedule();
      return result;
    },
    stop() {
      stopped = true;
      clearTimeout(timer);
    },
  };
}
