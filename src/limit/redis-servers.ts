/**
 * The connection to Redis (one server, the primary that sentinels name, or the primaries of a cluster) and which of its
 * servers answer. Each is judged alone: of a cluster, only the keys of a server that is away are without Redis.
 */
import { Cluster, type ClusterNode, type ClusterOptions, Redis, type RedisOptions } from 'ioredis';
import { keySlot, SLOTS } from './key-slot.ts';
import { createRedisScripts, type RedisScripts, redisErrorText } from './redis-scripts.ts';

/** One Redis, one behind sentinels (`options.sentinels` and `options.name`), or a cluster. TLS and AUTH are options of ioredis. */
export type RedisTarget =
  | { readonly url: string; readonly options?: RedisOptions }
  | { readonly options: RedisOptions }
  | { readonly nodes: readonly ClusterNode[]; readonly options?: ClusterOptions };

/**
 * Said once per change; a cluster is lost while one of its servers is. Texts come from Redis or the socket, and hold neither
 * keys nor passwords.
 */
export type RedisEvent = { readonly kind: 'connected' } | { readonly kind: 'lost'; readonly reason: string };

export interface RedisServersOptions {
  readonly target: string | RedisTarget;
  readonly keyPrefix: string;
  /** Runs what is run for every key, on one that is nobody's: PING would not tell whether Redis lets it write. */
  readonly probe: (redisKey: string) => Promise<unknown>;
  readonly onEvent: (event: RedisEvent) => void;
  readonly now: () => number;
}

export interface RedisServers {
  readonly scripts: RedisScripts;
  /** What the others call the place of a key: the key stays there, also when its slot moves to another server. */
  placeOf(redisKey: string): number;
  /** Whether the server of this place answers: nothing should be asked of it otherwise. */
  isUp(place: number): boolean;
  /** Whether all servers do, as `onEvent` was told. */
  isConnected(): boolean;
  answered(place: number): void;
  /** Returns whether it was the server that said so: the fault may be the key's alone. */
  failed(place: number, error: unknown): boolean;
  /** An answer is not waited for any longer. */
  late(place: number): void;
  /** Every TICK_MS. */
  tick(nowMs: number): void;
  close(): void;
}

export const TICK_MS = 100;
/** Without an answer for this long, a server is said to be lost. */
const LOST_MS = 200;
/** A connection on which nothing is heard for this long, though something was asked, is given up. */
const DEAD_MS = 1_000;
/** A server that may not be written to is left for another one at most this often. */
const RECONNECT_MS = 1_000;
/** A cluster answers a key of a server that is away with a new connection each time. */
const PROBE_AGAIN_MS = 500;
/** So many names hit every slot. */
const PROBE_KEYS = 300_000;

/**
 * A command fails rather than waits. Dead sockets are found here: a timer of ioredis's `socketTimeout` outlives its
 * connection and ends the next one. What ioredis says of itself (CLIENT SETINFO) would need a permission.
 */
const BOUNDED = {
  enableOfflineQueue: false,
  autoResendUnfulfilledCommands: false,
  maxRetriesPerRequest: 0,
  connectTimeout: 1_000,
  // Nothing is awaited any more by then. ioredis waits as long for a socket that is closed already.
  disconnectTimeout: 100,
  sentinelCommandTimeout: 1_000,
  maxLoadingRetryTime: 500,
  disableClientInfo: true,
} satisfies RedisOptions;
const retry = (times: number): number => Math.min(50 * times, 500);

function connect(target: string | RedisTarget): Redis | Cluster {
  if (typeof target === 'string') return new Redis(target, { ...BOUNDED, retryStrategy: retry });
  if ('nodes' in target) {
    return new Cluster([...target.nodes], {
      clusterRetryStrategy: retry,
      // The name is what a certificate is for, so it is the socket that looks up the address.
      dnsLookup: (name, done) => done(null, name),
      ...target.options,
      enableOfflineQueue: false,
      retryDelayOnFailover: 0,
      retryDelayOnClusterDown: 0,
      redisOptions: { ...BOUNDED, ...target.options?.redisOptions },
    });
  }
  const { tls } = target.options ?? {};
  const options = {
    retryStrategy: retry,
    sentinelRetryStrategy: retry,
    // Without these, ioredis speaks no TLS where there are sentinels.
    ...(tls !== undefined && { sentinelTLS: tls, enableTLSForSentinelMode: true }),
    ...target.options,
    ...BOUNDED,
  };
  return 'url' in target ? new Redis(target.url, options) : new Redis(options);
}

interface Server {
  /** `host:port`; empty where there is only one, and while no server of a cluster is known. */
  readonly name: string;
  probeKey: string;
  state: 'starting' | 'connected' | 'lost';
  /** Since when a decision was not answered in time and nothing else was either. */
  slowSinceMs: number | undefined;
  heardMs: number;
  isProbing: boolean;
  probeAtMs: number;
  /** What the socket said last. */
  error: string;
}

const nameOf = ({ options }: Redis): string => `${options.host}:${options.port}`;
const isReply = (error: unknown): boolean => error instanceof Error && error.name === 'ReplyError';

/** Of ioredis's errors about many servers, what one of them was about. */
function textOf(error: unknown): string {
  const inner = error instanceof Error && 'lastNodeError' in error ? error.lastNodeError : undefined;
  return inner instanceof Error ? `no node answers: ${redisErrorText(inner)}` : redisErrorText(error);
}

/** Reconnects for ever. */
export function createRedisServers(options: RedisServersOptions): RedisServers {
  const { keyPrefix, onEvent, now } = options;
  const client = connect(options.target);
  const scripts = createRedisScripts(client);

  const createServer = (name: string, probeKey: string): Server => ({
    name,
    probeKey,
    state: 'starting',
    slowSinceMs: undefined,
    heardMs: now(),
    isProbing: false,
    probeAtMs: 0,
    error: '',
  });
  const first = createServer('', `${keyPrefix}probe`);
  let servers: ReadonlyMap<string, Server> = new Map([[first.name, first]]);
  /** By place. */
  let owners: readonly (Server | undefined)[] = client instanceof Redis ? [first] : [];
  let said: RedisEvent['kind'] | undefined;
  let isClosed = false;
  let reconnectAtMs = 0;

  const lost = (server: Server, reason: string): void => {
    if (isClosed || server.state === 'lost') return;
    server.state = 'lost';
    if (said === 'lost') return;
    said = 'lost';
    onEvent({ kind: 'lost', reason: server.name === '' ? reason : `${server.name}: ${reason}` });
  };
  const sayConnected = (): void => {
    if (isClosed || said === 'connected') return;
    if ([...servers.values()].some(({ state }) => state !== 'connected')) return;
    said = 'connected';
    onEvent({ kind: 'connected' });
  };
  const alive = (server: Server): void => {
    server.heardMs = now();
    server.slowSinceMs = undefined;
    if (server.state === 'connected' || isClosed) return;
    server.state = 'connected';
    server.error = '';
    sayConnected();
  };

  const probe = async (server: Server): Promise<void> => {
    if (server.isProbing || isClosed) return;
    server.isProbing = true;
    try {
      await options.probe(server.probeKey);
      alive(server);
    } catch (error) {
      const text = redisErrorText(error);
      if (isReply(error)) server.heardMs = now();
      // The name of a primary may lead to another server by now.
      if (text.startsWith('READONLY') && client instanceof Redis && now() >= reconnectAtMs) {
        reconnectAtMs = now() + RECONNECT_MS;
        client.disconnect(true);
      }
      // What the socket said is more than that there is none.
      lost(server, isReply(error) || server.error === '' ? text : server.error);
      if (client instanceof Cluster) server.probeAtMs = now() + PROBE_AGAIN_MS;
    } finally {
      server.isProbing = false;
    }
  };

  const heard = (): void => {
    for (const server of servers.values()) server.heardMs = now();
  };
  client.on('connect', heard);
  client.on('ready', () => {
    heard();
    for (const server of servers.values()) void probe(server);
  });
  client.on('error', (error: unknown) => {
    const text = textOf(error);
    // Each has said why before.
    if (text.startsWith('All sentinels are unreachable')) return;
    for (const server of servers.values()) server.error = text;
  });
  client.on('sentinelError', (error: unknown) => {
    first.error = redisErrorText(error);
  });
  client.on('close', () => {
    for (const server of servers.values()) {
      lost(server, server.error === '' ? 'connection closed' : server.error);
    }
  });

  /** For each slot, the number of a name that falls into it. */
  const probeNumbers = new Map<number, number>();
  let namesTried = 0;
  const probeKeyIn = (slots: ReadonlySet<number>): string | undefined => {
    const keyOf = (number: number): string => `${keyPrefix}{probe${number}}`;
    for (const [slot, number] of probeNumbers) if (slots.has(slot)) return keyOf(number);
    while (namesTried < PROBE_KEYS) {
      const number = namesTried;
      namesTried += 1;
      const slot = keySlot(keyOf(number));
      if (!probeNumbers.has(slot)) probeNumbers.set(slot, number);
      if (slots.has(slot)) return keyOf(number);
    }
    return undefined;
  };

  /** Which server has which slot, as the cluster says it now. */
  const readSlots = (cluster: Cluster): void => {
    const slotsOf = new Map<string, Set<number>>();
    cluster.slots.forEach(([name], slot) => {
      if (name === undefined) return;
      const slots = slotsOf.get(name);
      if (slots === undefined) slotsOf.set(name, new Set([slot]));
      else slots.add(slot);
    });
    const next = new Map<string, Server>();
    const owning: (Server | undefined)[] = Array.from({ length: SLOTS });
    for (const [name, slots] of slotsOf) {
      const old = servers.get(name);
      const probeKey =
        old !== undefined && slots.has(keySlot(old.probeKey)) ? old.probeKey : probeKeyIn(slots);
      // Where no name leads, no key of this prefix does.
      if (probeKey === undefined) continue;
      const server = old ?? createServer(name, probeKey);
      server.probeKey = probeKey;
      next.set(name, server);
      for (const slot of slots) owning[slot] = server;
    }
    servers = next;
    owners = owning;
    if (cluster.status !== 'ready') return;
    for (const server of servers.values()) if (server.state === 'starting') void probe(server);
    if (servers.size > 0) sayConnected();
  };
  if (client instanceof Cluster) {
    client.on('refresh', () => readSlots(client));
    client.on('+node', (node: Redis) => {
      node.on('connect', () => {
        const server = servers.get(nameOf(node));
        if (server !== undefined) server.heardMs = now();
      });
    });
    client.on('-node', (node: Redis) => {
      const server = servers.get(nameOf(node));
      if (server === undefined) return;
      lost(server, server.error === '' ? 'connection closed' : server.error);
    });
    client.on('node error', (error: unknown, name: string) => {
      const server = servers.get(name) ?? servers.get('');
      if (server !== undefined) server.error = redisErrorText(error);
    });
  }

  const giveUp = ({ name }: Server): void => {
    const nodes = client instanceof Redis ? [client] : client.nodes('all');
    // FIN alone would wait for a peer that is gone.
    for (const node of nodes) if (name === '' || nameOf(node) === name) node.stream?.destroy();
  };

  return {
    scripts,
    placeOf: (redisKey) => (client instanceof Redis ? 0 : keySlot(redisKey)),
    isUp(place) {
      const server = owners[place];
      return server?.state === 'connected' && server.slowSinceMs === undefined;
    },
    isConnected: () => said === 'connected',
    answered(place) {
      const server = owners[place];
      if (server !== undefined) alive(server);
    },
    failed(place, error) {
      const server = owners[place];
      if (server === undefined) return isReply(error);
      if (isReply(error)) {
        server.heardMs = now();
        void probe(server);
        return true;
      }
      lost(server, server.error === '' ? redisErrorText(error) : server.error);
      return false;
    },
    late(place) {
      const server = owners[place];
      if (server !== undefined) server.slowSinceMs ??= now();
    },
    tick(nowMs) {
      for (const server of servers.values()) {
        const { slowSinceMs } = server;
        if (server.state === 'connected' && slowSinceMs === undefined) continue;
        if (slowSinceMs !== undefined && nowMs - slowSinceMs >= LOST_MS) {
          lost(server, `no answer for ${LOST_MS} ms`);
        }
        if (nowMs - Math.max(server.heardMs, slowSinceMs ?? 0) >= DEAD_MS) {
          lost(server, server.error === '' ? `no answer for ${DEAD_MS} ms` : server.error);
          server.heardMs = nowMs;
          giveUp(server);
        }
        if (client.status === 'ready' && nowMs >= server.probeAtMs) void probe(server);
      }
    },
    close() {
      isClosed = true;
      client.disconnect();
    },
  };
}
