/**
 * The connection to Redis (one server, the primary that sentinels name, or the primaries of a cluster) and which of its
 * servers answer. Each is judged alone: of a cluster, only the keys of a server that is away are without Redis.
 */
import { Cluster, type ClusterNode, type ClusterOptions, Redis, type RedisOptions } from 'ioredis';
import { keySlot, SLOTS } from './key-slot.ts';
import { ProbeKeys } from './probe-keys.ts';
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

/** What is known of one server. `ConnectedServers` alone writes it. */
class Server {
  /** `host:port`; empty where there is only one, and while no server of a cluster is known. */
  readonly name: string;
  probeKey: string;
  state: 'starting' | 'connected' | 'lost' = 'starting';
  /** Since when a decision was not answered in time and nothing else was either. */
  slowSinceMs: number | undefined = undefined;
  heardMs: number;
  isProbing = false;
  probeAtMs = 0;
  /** What the socket said last. */
  error = '';

  constructor(name: string, probeKey: string, nowMs: number) {
    this.name = name;
    this.probeKey = probeKey;
    this.heardMs = nowMs;
  }

  /** What the socket said is more than that there is none. */
  reasonOr(otherwise: string): string {
    return this.error === '' ? otherwise : this.error;
  }
}

const ignore = (): void => undefined;
/** A TLS socket may fail twice, as after an alert that comes while it is written to: ioredis listens for the first time alone. */
function hearAgain(client: Redis): void {
  const hear = (): void => void client.stream?.on('error', ignore);
  client.on('connect', hear).on('error', hear);
}

const nameOf = ({ options }: Redis): string => `${options.host}:${options.port}`;
const isReply = (error: unknown): boolean => error instanceof Error && error.name === 'ReplyError';

/** Of ioredis's errors about many servers, what one of them was about. */
function textOf(error: unknown): string {
  const inner = error instanceof Error && 'lastNodeError' in error ? error.lastNodeError : undefined;
  return inner instanceof Error ? `no node answers: ${redisErrorText(inner)}` : redisErrorText(error);
}

class ConnectedServers implements RedisServers {
  readonly scripts: RedisScripts;
  private readonly options: RedisServersOptions;
  private readonly client: Redis | Cluster;
  private readonly probeKeys: ProbeKeys;

  // The servers.
  /** By name. */
  private servers: ReadonlyMap<string, Server>;
  /** By place. */
  private owners: readonly (Server | undefined)[];

  // The connection.
  /** What `onEvent` was told last. */
  private said: RedisEvent['kind'] | undefined = undefined;
  private reconnectAtMs = 0;
  private isClosed = false;

  constructor(options: RedisServersOptions) {
    this.options = options;
    this.client = connect(options.target);
    this.scripts = createRedisScripts(this.client);
    this.probeKeys = new ProbeKeys(options.keyPrefix);
    const first = new Server('', `${options.keyPrefix}probe`, options.now());
    this.servers = new Map([[first.name, first]]);
    this.owners = this.client instanceof Redis ? [first] : [];
    this.listen(first);
    if (this.client instanceof Cluster) this.listenToCluster(this.client);
  }

  placeOf(redisKey: string): number {
    return this.client instanceof Redis ? 0 : keySlot(redisKey);
  }

  isUp(place: number): boolean {
    const server = this.owners[place];
    return server?.state === 'connected' && server.slowSinceMs === undefined;
  }

  isConnected(): boolean {
    return this.said === 'connected';
  }

  answered(place: number): void {
    const server = this.owners[place];
    if (server !== undefined) this.alive(server);
  }

  failed(place: number, error: unknown): boolean {
    const server = this.owners[place];
    if (server === undefined) return isReply(error);
    if (isReply(error)) {
      server.heardMs = this.options.now();
      void this.probe(server);
      return true;
    }
    this.lost(server, server.reasonOr(redisErrorText(error)));
    return false;
  }

  late(place: number): void {
    const server = this.owners[place];
    if (server !== undefined) server.slowSinceMs ??= this.options.now();
  }

  tick(nowMs: number): void {
    for (const server of this.servers.values()) {
      const { slowSinceMs } = server;
      if (server.state === 'connected' && slowSinceMs === undefined) continue;
      if (slowSinceMs !== undefined && nowMs - slowSinceMs >= LOST_MS) {
        this.lost(server, `no answer for ${LOST_MS} ms`);
      }
      if (nowMs - Math.max(server.heardMs, slowSinceMs ?? 0) >= DEAD_MS) {
        this.lost(server, server.reasonOr(`no answer for ${DEAD_MS} ms`));
        server.heardMs = nowMs;
        this.giveUp(server);
      }
      if (this.client.status === 'ready' && nowMs >= server.probeAtMs) void this.probe(server);
    }
  }

  close(): void {
    this.isClosed = true;
    this.client.disconnect();
  }

  // ---- What is said of it.

  private lost(server: Server, reason: string): void {
    if (this.isClosed || server.state === 'lost') return;
    server.state = 'lost';
    if (this.said === 'lost') return;
    this.said = 'lost';
    this.options.onEvent({
      kind: 'lost',
      reason: server.name === '' ? reason : `${server.name}: ${reason}`,
    });
  }

  private alive(server: Server): void {
    server.heardMs = this.options.now();
    server.slowSinceMs = undefined;
    if (server.state === 'connected' || this.isClosed) return;
    server.state = 'connected';
    server.error = '';
    this.sayConnected();
  }

  private sayConnected(): void {
    if (this.isClosed || this.said === 'connected') return;
    for (const { state } of this.servers.values()) if (state !== 'connected') return;
    this.said = 'connected';
    this.options.onEvent({ kind: 'connected' });
  }

  private async probe(server: Server): Promise<void> {
    if (server.isProbing || this.isClosed) return;
    server.isProbing = true;
    const { now } = this.options;
    try {
      await this.options.probe(server.probeKey);
      this.alive(server);
    } catch (error) {
      const text = redisErrorText(error);
      if (isReply(error)) server.heardMs = now();
      // The name of a primary may lead to another server by now.
      if (text.startsWith('READONLY') && this.client instanceof Redis && now() >= this.reconnectAtMs) {
        this.reconnectAtMs = now() + RECONNECT_MS;
        this.client.disconnect(true);
      }
      this.lost(server, isReply(error) ? text : server.reasonOr(text));
      if (this.client instanceof Cluster) server.probeAtMs = now() + PROBE_AGAIN_MS;
    } finally {
      server.isProbing = false;
    }
  }

  private giveUp({ name }: Server): void {
    const nodes = this.client instanceof Redis ? [this.client] : this.client.nodes('all');
    // FIN alone would wait for a peer that is gone.
    for (const node of nodes) if (name === '' || nameOf(node) === name) node.stream?.destroy();
  }

  // ---- What the client says.

  private heard(): void {
    for (const server of this.servers.values()) server.heardMs = this.options.now();
  }

  private listen(first: Server): void {
    const { client } = this;
    if (client instanceof Redis) hearAgain(client);
    client.on('connect', () => this.heard());
    client.on('ready', () => {
      this.heard();
      for (const server of this.servers.values()) void this.probe(server);
    });
    client.on('error', (error: unknown) => {
      const text = textOf(error);
      // Each has said why before.
      if (text.startsWith('All sentinels are unreachable')) return;
      for (const server of this.servers.values()) server.error = text;
    });
    client.on('sentinelError', (error: unknown) => {
      first.error = redisErrorText(error);
    });
    client.on('close', () => {
      for (const server of this.servers.values()) this.lost(server, server.reasonOr('connection closed'));
    });
  }

  private listenToCluster(cluster: Cluster): void {
    cluster.on('refresh', () => this.readSlots(cluster));
    cluster.on('+node', (node: Redis) => {
      hearAgain(node);
      node.on('connect', () => {
        const server = this.servers.get(nameOf(node));
        if (server !== undefined) server.heardMs = this.options.now();
      });
    });
    cluster.on('-node', (node: Redis) => {
      const server = this.servers.get(nameOf(node));
      if (server !== undefined) this.lost(server, server.reasonOr('connection closed'));
    });
    cluster.on('node error', (error: unknown, name: string) => {
      const server = this.servers.get(name) ?? this.servers.get('');
      if (server !== undefined) server.error = redisErrorText(error);
    });
  }

  /** Which server has which slot, as the cluster says it now. */
  private readSlots(cluster: Cluster): void {
    const slotsOf = new Map<string, Set<number>>();
    cluster.slots.forEach(([name], slot) => {
      if (name === undefined) return;
      const slots = slotsOf.get(name);
      if (slots === undefined) slotsOf.set(name, new Set([slot]));
      else slots.add(slot);
    });
    const next = new Map<string, Server>();
    const owners: (Server | undefined)[] = Array.from({ length: SLOTS });
    for (const [name, slots] of slotsOf) {
      const old = this.servers.get(name);
      const isStillThere = old !== undefined && slots.has(keySlot(old.probeKey));
      const probeKey = isStillThere ? old.probeKey : this.probeKeys.keyIn(slots);
      // Where no name leads, no key of this prefix does.
      if (probeKey === undefined) continue;
      const server = old ?? new Server(name, probeKey, this.options.now());
      server.probeKey = probeKey;
      next.set(name, server);
      for (const slot of slots) owners[slot] = server;
    }
    this.servers = next;
    this.owners = owners;
    if (cluster.status !== 'ready') return;
    for (const server of this.servers.values()) if (server.state === 'starting') void this.probe(server);
    if (this.servers.size > 0) this.sayConnected();
  }
}

/** Reconnects for ever. */
export const createRedisServers = (options: RedisServersOptions): RedisServers =>
  new ConnectedServers(options);
