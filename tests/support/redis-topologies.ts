/** Several Redis servers that know each other, of the tests' own, on the loopback interface: sentinels and clusters. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Redis } from 'ioredis';
import { eventually } from './eventually.ts';
import { freePorts } from './ports.ts';

const HOST = '127.0.0.1';
const START_MS = 20_000;

/** Certificates of an authority that only the tests trust; their one private key is no secret. */
export const certificate = (name: 'ca' | 'server' | 'localhost' | 'client' | 'key'): string =>
  fileURLToPath(new URL(`../fixtures/tls/${name}.pem`, import.meta.url));

export interface TestServer {
  readonly host: string;
  readonly port: number;
  /** On which a cluster's servers speak with each other. */
  readonly bus: number;
  /** For the test itself, as the user that may do everything. */
  readonly client: Redis;
  isRunning(): boolean;
  kill(): Promise<void>;
  /** On the same port, in the same folder. */
  restart(): Promise<void>;
  /** SIGSTOP and SIGCONT: its connections stay open, and nothing answers. */
  freeze(): void;
  resume(): void;
}

interface ServerOptions {
  /** What stands in its configuration file. */
  readonly settings?: readonly string[];
  /** Its certificate: it speaks TLS alone, and asks clients for theirs. */
  readonly tls?: 'server' | 'localhost';
  readonly isSentinel?: boolean;
  readonly password?: string;
}

export interface Servers {
  start(options?: ServerOptions): Promise<TestServer>;
  /** Kills them all. */
  close(): Promise<void>;
}

/** Whether this server's program was built with TLS: only then it misses the certificate. */
export const canSpeakTls = (program: string): boolean =>
  spawnSync(program, ['--port', '0', '--tls-port', '1'], { encoding: 'utf8' }).stdout.includes(
    'tls-cert-file',
  );

const clientTls = (): { readonly ca: string; readonly cert: string; readonly key: string } => ({
  ca: readFileSync(certificate('ca'), 'utf8'),
  cert: readFileSync(certificate('client'), 'utf8'),
  key: readFileSync(certificate('key'), 'utf8'),
});

export function createServers(program: string): Servers {
  const folder = mkdtempSync(join(tmpdir(), 'fairlane-redis-'));
  const running = new Set<ChildProcess>();
  const clients: Redis[] = [];
  const killOne = async (server: ChildProcess): Promise<void> => {
    if (!running.has(server)) return;
    const ended = new Promise((resolve) => server.once('exit', resolve));
    server.kill('SIGKILL');
    await ended;
  };

  return {
    async start({ settings = [], tls, isSentinel = false, password } = {}) {
      const [port = 0, bus = 0] = await freePorts(2);
      const directory = mkdtempSync(join(folder, `${port}-`));
      const file = join(directory, 'redis.conf');
      const own = [
        `bind ${HOST}`,
        `dir ${directory}`,
        `logfile ${join(directory, 'log')}`,
        ...(isSentinel ? [] : ['save ""', 'appendonly no', 'repl-diskless-sync-delay 0']),
        ...(password === undefined ? [] : [`requirepass ${password}`]),
        ...(settings.includes('cluster-enabled yes') ? [`cluster-port ${bus}`] : []),
        ...(tls === undefined
          ? [`port ${port}`]
          : [
              'port 0',
              `tls-port ${port}`,
              `tls-cert-file ${certificate(tls)}`,
              `tls-key-file ${certificate('key')}`,
              `tls-ca-cert-file ${certificate('ca')}`,
              'tls-replication yes',
            ]),
      ];
      writeFileSync(file, [...own, ...settings, ''].join('\n'));
      let server: ChildProcess;
      const launch = (): void => {
        const started = spawn(program, [file, ...(isSentinel ? ['--sentinel'] : [])], { stdio: 'ignore' });
        server = started;
        running.add(started);
        started.once('exit', () => running.delete(started));
      };
      launch();
      const client = new Redis({
        host: tls === 'localhost' ? tls : HOST,
        port,
        ...(password !== undefined && { password }),
        retryStrategy: () => 50,
        maxRetriesPerRequest: null,
        ...(tls !== undefined && { tls: clientTls() }),
      });
      clients.push(client);
      client.on('error', () => undefined);
      const answers = (): Promise<unknown> =>
        eventually(
          () => (running.has(server) ? client.ping().catch(String) : 'it has ended'),
          (answer) => answer === 'PONG',
          START_MS,
        );
      await answers();
      return {
        host: HOST,
        port,
        bus,
        client,
        isRunning: () => running.has(server),
        kill: () => killOne(server),
        async restart() {
          await killOne(server);
          launch();
          await answers();
        },
        freeze: () => void server.kill('SIGSTOP'),
        resume: () => void server.kill('SIGCONT'),
      };
    },
    async close() {
      for (const client of clients) client.disconnect();
      await Promise.all([...running].map(killOne));
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** What sentinels call the primary. */
export const PRIMARY = 'primary';

export interface Sentinels {
  readonly primary: TestServer;
  readonly replica: TestServer;
  readonly sentinels: readonly TestServer[];
}

/** A primary with a replica, and three sentinels that give it up after 300 ms. */
export async function startSentinels(servers: Servers, options: ServerOptions = {}): Promise<Sentinels> {
  const { settings = [] } = options;
  const primary = await servers.start(options);
  const replica = await servers.start({
    ...options,
    settings: [...settings, `replicaof ${HOST} ${primary.port}`],
  });
  const sentinels = await Promise.all(
    Array.from({ length: 3 }, () =>
      servers.start({
        ...(options.tls !== undefined && { tls: options.tls }),
        isSentinel: true,
        settings: [
          `sentinel monitor ${PRIMARY} ${HOST} ${primary.port} 2`,
          `sentinel down-after-milliseconds ${PRIMARY} 300`,
          `sentinel failover-timeout ${PRIMARY} 2000`,
        ],
      }),
    ),
  );
  await eventually(
    () => replica.client.info('replication'),
    (info) => info.includes('master_link_status:up'),
    START_MS,
  );
  for (const { client } of sentinels) {
    await eventually(
      async () => String(await client.call('SENTINEL', 'MASTER', PRIMARY)),
      (told) => told.includes('num-slaves,1,') && told.includes('num-other-sentinels,2,'),
      START_MS,
    );
  }
  return { primary, replica, sentinels };
}

export interface TestCluster {
  readonly primaries: readonly TestServer[];
  /** Of the last primary. */
  readonly replica: TestServer;
  idOf(server: TestServer): Promise<string>;
  /** The primary that says it has the slot. */
  ownerOf(slot: number): Promise<TestServer>;
}

const SLOTS = 16_384;
const PRIMARIES = 3;

/** Three primaries with a third of the slots each, and a replica of the last. Slots of one that is away do not stop the others. */
export async function startCluster(servers: Servers, options: ServerOptions = {}): Promise<TestCluster> {
  const nodes = await Promise.all(
    Array.from({ length: PRIMARIES + 1 }, () =>
      servers.start({
        ...options,
        settings: [
          ...(options.settings ?? []),
          'cluster-enabled yes',
          'cluster-node-timeout 1500',
          'cluster-require-full-coverage no',
          // A replica that has heard nothing yet is none.
          'repl-ping-replica-period 1',
          ...(options.tls === undefined
            ? []
            : [
                'tls-cluster yes',
                'cluster-announce-hostname localhost',
                'cluster-preferred-endpoint-type hostname',
              ]),
        ],
      }),
    ),
  );
  const primaries = nodes.slice(0, PRIMARIES);
  const [first, replica] = [nodes[0], nodes[PRIMARIES]];
  if (first === undefined || replica === undefined) throw new Error('no nodes');
  const idOf = async ({ client }: TestServer): Promise<string> => client.cluster('MYID');

  const share = Math.ceil(SLOTS / PRIMARIES);
  for (const [i, { client }] of primaries.entries()) {
    await client.cluster('ADDSLOTSRANGE', i * share, Math.min(SLOTS, (i + 1) * share) - 1);
    // Two with the same epoch would have to settle first which of them has the slots.
    await client.cluster('SET-CONFIG-EPOCH', i + 1);
  }
  for (const { port, bus } of nodes.slice(1)) await first.client.call('CLUSTER', ['MEET', HOST, port, bus]);
  const last = primaries.at(-1);
  if (last === undefined) throw new Error('no primary');
  const lastId = await idOf(last);
  await eventually(
    () => replica.client.cluster('REPLICATE', lastId).catch(String),
    (answer) => answer === 'OK',
    START_MS,
  );
  for (const { client } of nodes) {
    await eventually(
      async () => {
        const [info, slots] = await Promise.all([client.cluster('INFO'), client.cluster('SLOTS')]);
        return { isOk: info.includes('cluster_state:ok'), slots };
      },
      ({ isOk, slots }) =>
        isOk && Array.isArray(slots) && slots.length === PRIMARIES && slots.flat(1).length === 10,
      START_MS,
    );
  }
  await eventually(
    () => replica.client.info('replication'),
    (info) => info.includes('master_link_status:up'),
    START_MS,
  );
  return {
    primaries,
    replica,
    idOf,
    async ownerOf(slot) {
      for (const node of nodes.filter((one) => one.isRunning())) {
        const own = String(await node.client.cluster('NODES'))
          .split('\n')
          .find((line) => line.includes('myself,master'));
        const ranges = own?.split(' ').slice(8) ?? [];
        const has = ranges.some((range) => {
          const [from, to = from] = range.split('-').map(Number);
          return from !== undefined && to !== undefined && slot >= from && slot <= to;
        });
        if (has) return node;
      }
      throw new Error(`nobody has slot ${slot}`);
    },
  };
}
