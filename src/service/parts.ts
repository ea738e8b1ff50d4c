/** Which parts a service has, and what they know of each other. Nothing is open yet but the connection to Redis. */
import { performance } from 'node:perf_hooks';
import { isDeepStrictEqual } from 'node:util';
import { isConsoleOn } from '../admin/command-source.ts';
import type { Explained } from '../admin/commands.ts';
import { ConsoleHistory } from '../admin/console-history.ts';
import type { HealthReport } from '../admin/health.ts';
import type { ExplainContext } from '../admission/explain.ts';
import { explainRequest, questionOf } from '../admission/explain.ts';
import { createSlowReaders } from '../admission/slow-readers.ts';
import type { ConfigSource } from '../config/changes.ts';
import type { Config } from '../config/config.ts';
import { SharedOwners } from '../conversation/shared-owners.ts';
import { moneyText } from '../domain/money.ts';
import { createEndpointResolver, type NameAddresses } from '../envoy/dns-endpoints.ts';
import { localCodeOf, localStatusOf } from '../envoy/local-replies.ts';
import { createRefusalService } from '../ext-proc/grpc-refusals.ts';
import type { ExtProcService } from '../ext-proc/request-stream.ts';
import type { GrpcService } from '../grpc/service.ts';
import { createMemoryStore, type MemoryStore } from '../limit/memory-store.ts';
import type { LimitStore } from '../limit/store.ts';
import type { RateLimitServiceOptions } from '../rate-limit-service/grpc-rate-limit.ts';
import { createMirrors, type Mirrors } from '../rollout/mirrors.ts';
import { createRollouts, type Rollouts } from '../rollout/rollouts.ts';
import { type Catalog, createCatalog } from '../routing/model-catalog.ts';
import type { Log } from '../telemetry/pino-log.ts';
import { createMetrics, type Metrics } from '../telemetry/prom-metrics.ts';
import { RecentUsage } from '../telemetry/recent-usage.ts';
import { Paces } from '../usage/abandoned.ts';
import { createOccupancy } from '../usage/occupancy.ts';
import { OddUsageNotices } from '../usage/odd-usage-notices.ts';
import { createPredictor } from '../usage/predictor.ts';
import type { UsageRecord } from '../usage/usage-record.ts';
import { EnvoyFiles } from './envoy-files.ts';
import { healthReport } from './health-report.ts';
import { LedgerRuntime, ledgerHealth } from './ledger.ts';
import { folderOf, LimitFiles } from './limit-files.ts';
import { metricsSource } from './metrics-source.ts';
import { MonthWatch } from './month-watch.ts';
import type { Tell } from './pool-context.ts';
import { PoolSet } from './pool-set.ts';
import { rateLimitOptions } from './rate-limit-options.ts';
import { RedisRuntime } from './redis-runtime.ts';
import { RefusedTenantFiles } from './refused-tenant-files.ts';
import { Reloader, type ReloadSteps } from './reloader.ts';
import { createRequestContext } from './request-context.ts';
import { createRequestEdge } from './request-edge.ts';
import type { RuntimeTenants } from './runtime-tenants.ts';
import { createScheduling, type Scheduling } from './scheduling.ts';
import type { Shutdown } from './shutdown.ts';
import { StatusSource } from './status-source.ts';
import { tenantLabels } from './tenant-label.ts';
import { Tracing } from './tracing.ts';
import { Webhooks } from './webhooks.ts';

export class Parts {
  readonly #initial: Config;
  readonly #log: Log;
  readonly #made: RuntimeTenants | undefined;

  // Limits.
  readonly memory: MemoryStore;
  /** As at the start: a new Redis is for a restart. */
  readonly redis: RedisRuntime | undefined;
  /** Where levels are: in Redis, or here. */
  readonly #store: LimitStore;
  readonly limits: LimitFiles;
  readonly scheduling: Scheduling;
  readonly #refusedTenantFiles: RefusedTenantFiles;
  readonly months: MonthWatch;
  readonly webhooks: Webhooks;

  // Models, and the pools that serve them.
  readonly #catalog: Catalog;
  readonly #rollouts: Rollouts;
  readonly #mirrors: Mirrors;
  readonly files: EnvoyFiles;
  readonly pools: PoolSet;

  // What is known of requests.
  readonly #occupancy = createOccupancy();
  readonly #paces = new Paces();
  readonly #oddUsage = new OddUsageNotices();
  readonly #slowReaders = createSlowReaders();
  readonly #recent = new RecentUsage();
  readonly history = new ConsoleHistory(Date.now(), moneyText);
  /** As at the start: else nobody can ask for the history. */
  readonly #hasConsole: boolean;

  // What is served.
  readonly metrics: Metrics;
  readonly tracing: Tracing;
  readonly status: StatusSource;
  readonly #context: ExplainContext;
  readonly requests: ExtProcService;
  /** Calls of the rate limit service, however they come. */
  readonly rateLimit: RateLimitServiceOptions;
  readonly refusals: GrpcService;

  /** As at the start. */
  readonly ledger: LedgerRuntime | undefined;
  readonly reloader: Reloader<NameAddresses>;
  #isDraining = false;
  readonly #reloaded: ((config: Config) => void)[] = [];

  /**
   * @param files the configuration as it was read. @param shutdown is told of the connection to Redis.
   * @param source what the configuration was read from. @param made tenants that are not in it.
   */
  constructor(
    files: Config,
    log: Log,
    shutdown: Shutdown,
    source: ConfigSource | undefined,
    made: RuntimeTenants | undefined,
  ) {
    const { tell } = this;
    this.#log = log;
    this.#made = made;
    const options = { unixMs: Date.now, ...(source !== undefined && { source }) };
    this.reloader = new Reloader(files, this.#reloadSteps(), tell, {
      ...options,
      ...(made !== undefined && { complete: made.merge }),
    });
    const initial = this.reloader.config;
    this.#initial = initial;
    this.#hasConsole = isConsoleOn(initial.service.console, initial.service.metrics.host);
    this.memory = createMemoryStore();
    this.redis = this.#openRedis(shutdown);
    this.#store = this.redis?.store ?? this.memory;
    this.limits = new LimitFiles(tell, Date.now);
    this.#refusedTenantFiles = new RefusedTenantFiles(tell);
    const allotments = this.redis?.allotments;
    this.scheduling = createScheduling({ config: initial, store: this.#store, allotments, tell, all: this });
    this.months = this.#watchMonths();
    this.webhooks = this.#createWebhooks();
    this.#catalog = createCatalog(initial);
    this.#rollouts = createRollouts(initial.models.values(), (rollout, { gate, detail }) =>
      tell({ kind: 'canary-rolled-back', ...rollout, gate, detail }),
    );
    this.#mirrors = createMirrors(initial.models.values(), {
      poolOf: (name) => this.pools.mirrorView(name),
      onDrawn: (model, decision) => this.metrics.mirrorDrawn(model, decision),
    });
    this.files = new EnvoyFiles(initial);
    this.pools = this.#createPools();
    this.metrics = this.#createMetrics();
    this.tracing = new Tracing(initial.telemetry, this.metrics.spans, tell);
    this.status = this.#createStatus();
    this.ledger = this.#openLedger(shutdown);
    this.#context = this.#createContext();
    this.requests = createRequestEdge(initial, this.#context, this.pools, () => this.#isDraining, tell);
    this.rateLimit = rateLimitOptions({
      limits: this.limits,
      store: this.#store,
      metrics: this.metrics,
      config: this.#config,
      now: this.now,
      tell,
    });
    this.refusals = createRefusalService({
      onRefused: (counted, requests) => {
        const status = localStatusOf(counted);
        const known = status !== undefined && { status };
        this.tell({ kind: 'envoy-refused', reason: localCodeOf(counted), ...known, requests });
      },
      onError: (detail) => this.tell({ kind: 'stream-failed', detail }),
    });
  }

  /** Monotonic milliseconds. */
  readonly now = (): number => performance.now();

  readonly tell: Tell = (event, isNews = true) => {
    if (isNews) this.#log.event(event);
    // Absent: it is not made yet.
    if (isNews) this.webhooks?.event(event);
    this.metrics.event(
      event.kind === 'tenant-limited' || event.kind === 'budget-alert'
        ? { ...event, tenant: this.#tenantLabel(event.tenant) }
        : event,
    );
  };

  get isDraining(): boolean {
    return this.#isDraining;
  }

  /** @param applied is called with each configuration that was taken over, last. */
  onReloaded(applied: (config: Config) => void): void {
    this.#reloaded.push(applied);
  }

  /** From now on new streams are turned away, and `/health` says so. */
  beginDraining(): void {
    this.#isDraining = true;
  }

  /** Says of the configuration of the start what a reload would say. */
  tellRefusedFiles(): void {
    this.#refusedTenantFiles.update(this.#initial.refusedTenantFiles, Date.now());
  }

  health(): HealthReport {
    return healthReport({
      refusedTenantFiles: this.#refusedTenantFiles.report(),
      isDraining: this.#isDraining,
      isRedisConnected: this.redis?.isConnected(),
      ledger: this.ledger && ledgerHealth(this.ledger.status()),
      refused: [this.reloader.refused, this.limits.refused].flatMap((one) => one ?? []),
      mirrorPools: new Set([...this.#config().models.values()].flatMap(({ mirror }) => mirror?.pool ?? [])),
      ...(this.#made !== undefined && { made: this.#made }),
      pools: this.pools.facts(),
      canaries: this.#rollouts.list(),
      mirrors: this.#mirrors.list(this.now()),
    });
  }

  /** Answers a question of what would become of a request. @param question as it came. */
  async explain(question: unknown): Promise<Explained> {
    const read = questionOf(question);
    if (read.kind === 'bad') return { status: 400, answer: { error: read.problem } };
    // Other replicas may have used what this one thinks is left.
    await this.scheduling.tenants.get(read.question.tenant)?.limits.look(this.now());
    return { status: 200, answer: explainRequest(this.#context, read.question, this.now()) };
  }

  readonly #config = (): Config => this.reloader.config;

  readonly #record = (usage: UsageRecord): void => {
    this.#log.requestEnded(usage);
    if (usage.keyId !== undefined) this.#made?.noteUse(usage.keyId);
    this.ledger?.record(usage);
    const label = this.#tenantLabel(usage.tenant);
    this.#recent.ended(label, usage, this.now());
    if (this.#hasConsole) this.history.ended(usage, label);
    this.metrics.requestEnded(label === usage.tenant ? usage : { ...usage, tenant: label });
    if (usage.oddUsage !== undefined) {
      for (const notice of this.#oddUsage.of(usage, this.now())) {
        this.tell({ kind: 'engine-usage-odd', ...notice });
      }
    } else if (usage.model !== undefined && usage.outcome === 'completed') {
      this.#mirrors.learn(usage.model, usage.durationMs - usage.queueMs, usage.completionTokens);
    }
  };

  readonly #tenantLabel = tenantLabels(this.#config);

  #reloadSteps(): ReloadSteps<NameAddresses> {
    return {
      resolve: (config) => this.pools.resolve(config),
      // It is what can fail, and Envoy learns of an endpoint before it is probed, and so before it is picked.
      prepare: (next, names) => this.pools.announce(next, names),
      apply: (next, names, before) => {
        this.#refusedTenantFiles.update(next.refusedTenantFiles, Date.now());
        this.scheduling.tenants.reconfigure(next);
        this.months.reconfigured();
        this.webhooks.reconfigure(next);
        this.tracing.reconfigure(next.telemetry);
        this.#catalog.reconfigure(next);
        this.#rollouts.reconfigure(next.models.values());
        this.#mirrors.reconfigure(next.models.values());
        this.scheduling.dispatcher.reconfigure(next.queue, this.now());
        this.#log.setLevel(next.log.level);
        if (!isDeepStrictEqual(folderOf(before.rateLimit), folderOf(next.rateLimit))) {
          this.limits.reopen(next.rateLimit);
        }
        this.pools.apply(next, names);
        for (const applied of this.#reloaded) applied(next);
      },
      applyTenants: (next) => {
        this.scheduling.tenants.reconfigure(next);
        // Raises of those may end earlier.
        this.months.reconfigured();
      },
      announceTenants: (next) => this.pools.announceTenants(next),
    };
  }

  #openRedis(shutdown: Shutdown): RedisRuntime | undefined {
    const { redis: config } = this.#initial;
    if (config === undefined) return undefined;
    const redis = new RedisRuntime(config, this.now, this.tell);
    shutdown.opened({ name: 'Redis', close: () => redis.close() });
    return redis;
  }

  #openLedger(shutdown: Shutdown): LedgerRuntime | undefined {
    const { ledger: config } = this.#initial;
    if (config === undefined) return undefined;
    const ledger = new LedgerRuntime(config, this.tell);
    shutdown.opened({ name: 'ledger', close: () => ledger.close() });
    this.metrics.watchLedger(() => ledger.status());
    return ledger;
  }

  #watchMonths(): MonthWatch {
    const { tell, now } = this;
    return new MonthWatch({
      tenants: this.scheduling.tenants,
      store: this.#store,
      tell,
      now,
      unixMs: Date.now,
    });
  }

  #createWebhooks(): Webhooks {
    const { tell, now } = this;
    const count: Metrics['webhook'] = (...tried) => this.metrics.webhook(...tried);
    return new Webhooks(this.#initial, { tell, now, unixMs: Date.now, count });
  }

  #createPools(): PoolSet {
    const { dispatcher, quarantine, sharedLimitsOf } = this.scheduling;
    return new PoolSet({
      config: this.#config,
      now: this.now,
      tell: this.tell,
      dispatcher,
      catalog: this.#catalog,
      quarantine,
      sharedLimitsOf,
      watchNames: createEndpointResolver,
      writeFiles: (config, addresses) => this.files.write(config, addresses),
      onAddresses: (addresses) => this.#paces.keep(addresses),
      slowReaders: this.#slowReaders,
    });
  }

  #createMetrics(): Metrics {
    const { redis, now } = this;
    const metrics = createMetrics(
      metricsSource({
        pools: this.pools,
        dispatcher: this.scheduling.dispatcher,
        occupancy: this.#occupancy,
        recent: this.#recent,
        tenants: this.scheduling.tenants,
        reloader: this.reloader,
        tenantLabel: this.#tenantLabel,
        rollouts: this.#rollouts,
        openStreams: () => this.requests.open(),
        now,
      }),
    );
    metrics.watchBudgets({
      monthRatios: () => this.months.ratios(),
      webhooks: () => this.webhooks.queued(),
    });
    if (redis !== undefined) {
      metrics.watchRedis(() => redis.store.status());
      metrics.watchSharedCapacity((kind) => redis.allotments.totals(kind, now()));
    }
    return metrics;
  }

  #createStatus(): StatusSource {
    return new StatusSource({
      config: this.#config,
      inUse: () => this.reloader.inUse,
      health: () => this.health(),
      redis: () => this.redis?.store.status(),
      openStreams: () => this.requests.open(),
      pools: this.pools,
      dispatcher: this.scheduling.dispatcher,
      tenants: this.scheduling.tenants,
      catalog: this.#catalog,
      rollouts: this.#rollouts,
      mirrors: this.#mirrors,
      occupancy: this.#occupancy,
      recent: this.#recent,
      labelOf: this.#tenantLabel,
      now: this.now,
      unixMs: Date.now,
    });
  }

  #createContext(): ExplainContext {
    const { tenants, dispatcher, quarantine } = this.scheduling;
    return createRequestContext({
      config: this.#config,
      tenants,
      catalog: this.#catalog,
      rollouts: this.#rollouts,
      mirrors: this.#mirrors,
      dispatcher,
      predictor: this.redis?.predictor ?? createPredictor(),
      occupancy: this.#occupancy,
      paces: this.#paces,
      quarantine,
      owners: new SharedOwners(this.redis?.owners, this.now),
      pools: this.pools,
      tracing: this.tracing,
      record: this.#record,
      now: this.now,
      tell: this.tell,
    });
  }
}
