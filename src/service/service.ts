/** A running service: what it is made of, how it starts, and how it ends. */

import type { Commands } from '../admin/commands.ts';
import type { HealthReport } from '../admin/health.ts';
import { type AdminServer, startAdminServer } from '../admin/http-admin-server.ts';
import { startTenantApi, TenantApi } from '../admin/http-tenant-api.ts';
import type { ConfigSource } from '../config/changes.ts';
import { apiUrlOf, type Config, type ServiceAddress } from '../config/config.ts';
import { atMost } from '../domain/at-most.ts';
import type { BuildInfo } from '../domain/build-info.ts';
import { createRateLimitGrpcService } from '../rate-limit-service/grpc-rate-limit.ts';
import { startRateLimitHttp } from '../rate-limit-service/http-rate-limit.ts';
import type { Log } from '../telemetry/pino-log.ts';
import { type GrpcServer, requireFreeAddress, shownTlsOf, startGrpcServer } from './grpc-server.ts';
import { unservedOf } from './health-report.ts';
import { Parts } from './parts.ts';
import { RuntimeTenants } from './runtime-tenants.ts';
import { Shutdown } from './shutdown.ts';

import { Snapshots, together } from './snapshots.ts';
import { tenantPlaceOf } from './tenant-place.ts';

export interface Service {
  readonly address: ServiceAddress;
  readonly metricsPort: number;
  /** A line for each engine of the pools that no engine serves: where it is, and what its probes say. */
  unserved(): readonly string[];
  /** Takes over a new configuration; what runs goes on. */
  reload(config: Config, warnings: readonly string[], source?: ConfigSource): Promise<void>;
  /** Says why a new configuration was not taken over. */
  refuseReload(problems: readonly string[]): void;
  /** What `/health` says. */
  health(): HealthReport;
  /**
   * Starts the time that running requests have to end: whatever else ends before the service, Envoy's listeners for example,
   * takes of it. Later calls change nothing.
   *
   * @returns what is left of it, in milliseconds.
   */
  beginEnd(): number;
  /** Resolves when no request is open, or when the time to end is over. */
  idle(): Promise<void>;
  /**
   * Takes no new streams, lets the open ones finish, and ends within the configured deadline: what still waits then is
   * refused with 503, and what still streams goes on in Envoy without us. A second call waits for the first.
   */
  drain(): Promise<void>;
}

/** How often waiting requests are looked at for maxWait: the precision of a 503, never of a release. */
const EXPIRY_CHECK_MS = 50;
/** How often streams are looked at whose client may have stopped reading. */
const STALL_CHECK_MS = 500;
/** Whoever starts it waits this long for the first probes; rate limits are served meanwhile, and requests queue. */
const FIRST_PROBES_MS = 2_000;
const DRAIN_CHECK_MS = 20;
/** A request as text in JSON is up to so many times as long. */
const QUESTION_FACTOR = 2;
/** Time for the last answers to leave after the deadline. */
const LAST_ANSWERS_MS = 500;

/**
 * Starts a service. What a start that fails has opened is closed again, and what it wrote is removed.
 *
 * @param source what the configuration was read from: reloads then say what they change.
 * @param build which Fairlane it is, for metrics.
 * @throws what keeps it from starting: an address that is taken, a folder that cannot be used, bad files of limits.
 */
export async function startService(
  initial: Config,
  log: Log,
  source?: ConfigSource,
  build?: BuildInfo,
): Promise<Service> {
  const shutdown = new Shutdown();
  try {
    return await open(initial, log, shutdown, source, build);
  } catch (error) {
    return await shutdown.fail(error);
  }
}

async function open(
  initial: Config,
  log: Log,
  shutdown: Shutdown,
  source: ConfigSource | undefined,
  build: BuildInfo | undefined,
): Promise<Service> {
  // What refuses a start without having changed anything comes first: another service may run in the same folder.
  await requireFreeAddress(initial.service.address);
  const made = await openMade(initial, shutdown);
  const parts = new Parts(initial, log, shutdown, source, made);
  if (build !== undefined) {
    parts.metrics.built(build);
    parts.tracing.built(build);
  }
  shutdown.opened({ name: 'webhooks', close: () => parts.webhooks.close() });
  shutdown.opened({ name: 'traces', close: () => parts.tracing.close() });
  shutdown.opened({ name: 'months', close: () => parts.months.close() });
  shutdown.opened({ name: 'limit files', close: () => parts.limits.close() });
  parts.limits.open(initial.rateLimit);
  parts.tellRefusedFiles();
  await openPools(parts.reloader.config, parts, shutdown);
  openSnapshots(initial, parts, shutdown);
  await parts.redis?.firstAnswer();
  openTimers(parts, shutdown);

  const { service, envoy } = initial;
  const services = [parts.requests, createRateLimitGrpcService(parts.rateLimit), parts.refusals];
  const grpc = await startGrpcServer(service.address, services, envoy.maxBodyBytes, shownTlsOf(initial));
  parts.onReloaded((config) => grpc.setTls(config.service.tls));
  shutdown.opened({ name: 'gRPC server', close: () => grpc.close(LAST_ANSWERS_MS) });
  const commands: Commands = {
    drain: (endpoint, undo) => parts.pools.drain(endpoint, undo),
    explain: (question) => parts.explain(question),
    maxBodyBytes: QUESTION_FACTOR * envoy.maxBodyBytes,
  };
  const api = made && adminApi(made, parts);
  const metrics = await startAdminServer(
    service.metrics,
    parts.metrics.registry,
    () => parts.health(),
    commands,
    (query) => parts.status.text(query),
    { history: parts.history, mode: service.console, build, api, apiUrl: apiUrlOfClients(initial) },
  );
  shutdown.opened({ name: 'metrics server', close: () => metrics.close() });
  await openRateLimitHttp(initial, parts, shutdown);
  if (api !== undefined) await openAdminApi(api, parts, shutdown);
  shutdown.opened({ name: 'reloads', close: () => parts.reloader.close() });
  await atMost(FIRST_PROBES_MS, parts.pools.firstRound());
  return new RunningService(parts, grpc, metrics, shutdown);
}

/** Absent: a gateway asks the picker, and clients ask the gateway. */
function apiUrlOfClients({ listen: [listener], picker }: Config): string | undefined {
  return picker === undefined && listener !== undefined ? apiUrlOf(listener) : undefined;
}

/** Before anything is told of tenants: Envoy's files are never without those that were made. */
async function openMade(initial: Config, shutdown: Shutdown): Promise<RuntimeTenants | undefined> {
  const place = tenantPlaceOf(initial, () => performance.now());
  if (place === undefined) return undefined;
  const made = new RuntimeTenants(place);
  shutdown.opened({ name: 'made tenants', close: () => made.close() });
  await made.open();
  return made;
}

function adminApi(made: RuntimeTenants, { reloader, metrics, tell }: Parts): TenantApi {
  made.follow({ tell, retake: () => reloader.retake() });
  metrics.made.watch(() => made.counts());
  return new TenantApi({
    made,
    admin: () => required(reloader.config.admin),
    unixMs: Date.now,
    onRefused: (requests) => tell({ kind: 'admin-refused', requests }),
    onAnswered: (status) => metrics.made.answered(status),
  });
}

async function openAdminApi(api: TenantApi, parts: Parts, shutdown: Shutdown): Promise<void> {
  const server = await startTenantApi(api);
  parts.onReloaded(() => server.reconfigure(api.options.admin()));
  shutdown.opened({ name: 'admin API', close: () => server.close() });
}

const required = <T>(value: T | undefined): T => {
  if (value === undefined) throw new Error('the admin API is served without its settings');
  return value;
};

async function openPools(initial: Config, parts: Parts, shutdown: Shutdown): Promise<void> {
  const { pools, files } = parts;
  shutdown.opened({ name: 'Envoy files', close: () => files.close(), undo: () => files.removeCreated() });
  shutdown.opened({ name: 'pools', close: () => pools.stop() });
  const names = await pools.resolve(initial);
  pools.announce(initial, names);
  pools.apply(initial, names);
}

function openSnapshots(initial: Config, parts: Parts, shutdown: Shutdown): void {
  const { redis, memory, scheduling, now, tell } = parts;
  const { snapshot: path } = initial.rateLimit;
  if (path === undefined) return;
  // Redis keeps the levels itself, but may be away at the next start.
  const store = redis === undefined ? memory : together(scheduling.tenants, parts.months.alerts);
  const snapshots = new Snapshots({ path, store, now, tell });
  shutdown.opened({ name: 'snapshots', close: () => snapshots.close(), undo: () => snapshots.stop() });
  snapshots.open();
}

async function openRateLimitHttp(initial: Config, parts: Parts, shutdown: Shutdown): Promise<void> {
  const { http: address } = initial.rateLimit;
  if (address === undefined) return;
  const options = { ...parts.rateLimit, isServing: () => !parts.isDraining };
  const http = await startRateLimitHttp(address, options);
  shutdown.opened({ name: 'rate limit HTTP server', close: () => http.close(LAST_ANSWERS_MS) });
}

function openTimers({ scheduling, requests, pools, now }: Parts, shutdown: Shutdown): void {
  const expiry = setInterval(() => scheduling.dispatcher.tick(now()), EXPIRY_CHECK_MS);
  const stalls = setInterval(() => {
    requests.tick(now());
    pools.sweepDrains();
  }, STALL_CHECK_MS);
  shutdown.opened({
    name: 'timers',
    close() {
      clearInterval(expiry);
      clearInterval(stalls);
    },
  });
}

class RunningService implements Service {
  readonly address: ServiceAddress;
  readonly metricsPort: number;
  readonly #parts: Parts;
  readonly #grpc: GrpcServer;
  readonly #shutdown: Shutdown;
  /** When what runs is cut, by `now`; set when the end begins. */
  #endsAtMs: number | undefined;
  /** Set from the first `drain` on. */
  #drained: Promise<void> | undefined;

  constructor(parts: Parts, grpc: GrpcServer, metrics: AdminServer, shutdown: Shutdown) {
    this.address = grpc.address;
    this.metricsPort = metrics.port;
    this.#parts = parts;
    this.#grpc = grpc;
    this.#shutdown = shutdown;
  }

  unserved(): readonly string[] {
    return unservedOf(this.#parts.pools.facts());
  }

  reload(config: Config, warnings: readonly string[], source?: ConfigSource): Promise<void> {
    return this.#parts.reloader.reload(config, warnings, source);
  }

  refuseReload(problems: readonly string[]): void {
    this.#parts.reloader.refuse(problems);
  }

  health(): HealthReport {
    return this.#parts.health();
  }

  beginEnd(): number {
    const { reloader, now } = this.#parts;
    this.#endsAtMs ??= now() + reloader.config.service.drainTimeoutMs;
    return Math.max(0, this.#endsAtMs - now());
  }

  async idle(): Promise<void> {
    const { requests } = this.#parts;
    while (requests.open() > 0 && this.beginEnd() > 0) {
      await new Promise((resolve) => setTimeout(resolve, DRAIN_CHECK_MS));
    }
  }

  drain(): Promise<void> {
    this.#drained ??= this.#drain();
    return this.#drained;
  }

  async #drain(): Promise<void> {
    const { scheduling, requests, now, tell } = this.#parts;
    this.#parts.beginDraining();
    this.#grpc.setServing(false);
    tell({ kind: 'draining', deadlineMs: Math.round(this.beginEnd()) });
    await this.idle();
    const unfinished = requests.open();
    scheduling.dispatcher.flush(now());
    requests.endAll();
    await this.#shutdown.close();
    tell({ kind: 'drained', unfinished });
  }
}
