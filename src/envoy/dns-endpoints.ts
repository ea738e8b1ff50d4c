/**
 * Looks up the names of endpoints, and again at an interval: each name on a timer of its own, which jitters. A question that
 * fails, or is answered without an address, keeps the last ones.
 */
import { lookup, Resolver } from 'node:dns/promises';
import { isIP } from 'node:net';
import type { Config } from '../config/config.ts';
import { atMost } from '../domain/at-most.ts';
import { messageOf } from '../domain/text-of.ts';

/** By host name: its IP addresses, sorted, at least one. Names that have never been resolved are absent. */
export type NameAddresses = ReadonlyMap<string, readonly string[]>;

/** Every address of a name. @throws why there is none. */
export type LookUp = (host: string) => Promise<readonly string[]>;

export interface EndpointResolver {
  /** Looks up this configuration's names and watches them from now on. Never rejects, and waits for no slow name. */
  resolve(config: Config): Promise<NameAddresses>;
  stop(): void;
}

export interface ResolverOptions {
  /** Told after each look, whether it found anything new or not. */
  readonly onLook: (names: NameAddresses) => void;
  /** Told once for each name until it resolves again. */
  readonly onProblem: (detail: string) => void;
  /** Default: as `service.dns` says. */
  readonly lookUp?: LookUp;
  /** 0 to 1. */
  readonly random?: () => number;
}

/** How long whoever starts or reloads waits for names. */
const FIRST_LOOK_MS = 5_000;
/** The system's resolver works in Node's pool of four threads, which files need too. */
const AT_ONCE = 3;
/** Replicas do not ask in the same moment. */
const JITTER = 0.2;
/** Of one answer. A DNS message has no room for more. */
const MOST_READ = 4_096;
const QUESTION_MS = 2_000;
const TRIES = 2;

/** What can be an endpoint: Envoy knows no zones of IPv6 addresses (`fe80::1%eth0`). IPv6 only where there is no IPv4. */
export function usableOf(answers: readonly string[]): readonly string[] {
  const known = answers.slice(0, MOST_READ).filter((one) => isIP(one) > 0 && !one.includes('%'));
  // A name with both stands for the same machines twice.
  const v4 = known.filter((one) => isIP(one) === 4);
  return [...new Set(v4.length > 0 ? v4 : known)].sort();
}

const hasNone = (error: unknown): boolean =>
  ['ENODATA', 'ENOTFOUND'].includes((error as NodeJS.ErrnoException).code ?? '');

/** @param servers `ip` or `ip:port`; none: as the system does it. */
export function lookUpWith(servers: readonly string[]): LookUp {
  if (servers.length === 0) {
    return async (host) => (await lookup(host, { all: true })).map(({ address }) => address);
  }
  const resolver = new Resolver({ timeout: QUESTION_MS, tries: TRIES });
  resolver.setServers(servers);
  return async (host) => {
    const v4 = await resolver.resolve4(host).catch((error: unknown) => {
      // Whatever else keeps IPv4 from being known is no reason to go over to IPv6.
      if (hasNone(error)) return [];
      throw error;
    });
    return v4.length > 0 ? v4 : await resolver.resolve6(host);
  };
}

/** Lets so many run at once; the others wait in their order. */
class Turns {
  #free = AT_ONCE;
  readonly #waiting: (() => void)[] = [];

  async run<T>(job: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise<void>((resolve) => void this.#waiting.push(resolve));
    try {
      return await job();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free += 1;
      else next();
    }
  }
}

class DnsEndpoints implements EndpointResolver {
  readonly #options: ResolverOptions;
  readonly #turns = new Turns();
  readonly #known = new Map<string, readonly string[]>();
  readonly #failing = new Set<string>();
  /** Of names that are watched: undefined while one is looked up. */
  readonly #timers = new Map<string, NodeJS.Timeout | undefined>();
  #lookUp: LookUp;
  #intervalMs = 0;
  #isStopped = false;

  constructor(options: ResolverOptions) {
    this.#options = options;
    this.#lookUp = options.lookUp ?? lookUpWith([]);
  }

  async resolve({ pools, service }: Config): Promise<NameAddresses> {
    const { refreshMs, servers } = service.dns;
    this.#intervalMs = refreshMs;
    this.#lookUp = this.#options.lookUp ?? lookUpWith(servers);
    const hosts = new Set([...pools.values()].flatMap(({ endpoints }) => endpoints.map(({ host }) => host)));
    for (const host of hosts) if (isIP(host) > 0) hosts.delete(host);
    for (const [host, timer] of this.#timers) {
      if (hosts.has(host)) continue;
      clearTimeout(timer);
      this.#timers.delete(host);
      this.#known.delete(host);
      this.#failing.delete(host);
    }
    await atMost(FIRST_LOOK_MS, Promise.all([...hosts].map((host) => this.#look(host))));
    return new Map(this.#known);
  }

  stop(): void {
    this.#isStopped = true;
    for (const timer of this.#timers.values()) clearTimeout(timer);
  }

  async #look(host: string): Promise<void> {
    if (this.#isStopped) return;
    clearTimeout(this.#timers.get(host));
    this.#timers.set(host, undefined);
    const lookUp = this.#lookUp;
    try {
      const found = usableOf(await this.#turns.run(() => lookUp(host)));
      if (found.length === 0) throw new Error('no address that can be used');
      if (!this.#timers.has(host)) return;
      this.#known.set(host, found);
      this.#failing.delete(host);
    } catch (error) {
      if (!this.#timers.has(host)) return;
      this.#failed(host, messageOf(error));
    }
    if (!this.#isStopped && this.#timers.get(host) === undefined) this.#schedule(host);
  }

  #schedule(host: string): void {
    const { onLook, random = Math.random } = this.#options;
    const ms = this.#intervalMs * (1 + JITTER * (random() - 0.5));
    const again = async (): Promise<void> => {
      await this.#look(host);
      if (!this.#isStopped && this.#timers.has(host)) onLook(new Map(this.#known));
    };
    this.#timers.set(host, setTimeout(() => void again(), ms).unref());
  }

  #failed(host: string, reason: string): void {
    if (this.#failing.has(host)) return;
    this.#failing.add(host);
    const kept = this.#known.get(host);
    const rest = kept === undefined ? '' : `; ${shown(kept)} stay in use as long as they are healthy`;
    this.#options.onProblem(`endpoint host ${host}: ${reason}${rest}`);
  }
}

const SHOWN = 5;

/** For a message. */
const shown = (addresses: readonly string[]): string =>
  addresses.length <= SHOWN
    ? addresses.join(', ')
    : `${addresses.slice(0, SHOWN).join(', ')} and ${addresses.length - SHOWN} more`;

export const createEndpointResolver = (options: ResolverOptions): EndpointResolver =>
  new DnsEndpoints(options);
