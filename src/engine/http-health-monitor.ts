/** Probes every endpoint of a pool at its interval, each on its own timer, and tells of changes. */
import type { EndpointConfig, PoolConfig } from '../config/config.ts';
import {
  afterEvidence,
  describeReadiness,
  type Evidence,
  isInRotation,
  nextProbeMs,
  type Readiness,
  type ReadinessConfig,
  unknownReadiness,
} from '../pool/health/readiness.ts';
import type { EngineDriver } from './driver.ts';
import { ALL_DRIVERS, DRIVERS } from './drivers.ts';
import { type Identity, identifyEngine } from './http-identify.ts';
import { askAsleep, askModels, type ProbeResult, probeHealth } from './http-probe.ts';

export interface HealthMonitor {
  /** Resolves when every endpoint has been probed once. */
  readonly firstRound: Promise<void>;
  /** Probes soon: requests fail there. */
  hurry(url: string): void;
  /** What the endpoint is, for how long, and by what. */
  describe(url: string): string | undefined;
  stop(): void;
}

export interface HealthMonitorOptions {
  readonly pool: PoolConfig;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  readonly onHealth: (endpoint: EndpointConfig, healthy: boolean, detail: string) => void;
  /** It has loaded, and is told to be healthy next. */
  readonly onLoaded: (endpoint: EndpointConfig) => void;
  readonly onModels: (models: readonly string[]) => void;
  /** Which engine a healthy endpoint is; told again when it has been away. */
  readonly onEngine: (endpoint: EndpointConfig, identity: Identity) => void;
}

/** Models change when an adapter is loaded: asked again every so many probes. */
const PROBES_PER_MODEL_QUESTION = 5;
/** An endpoint that told nothing is asked again which engine it is, every so many probes. */
const PROBES_PER_ENGINE_QUESTION = 15;
/** A loading endpoint is probed so often. */
const LOADING_INTERVAL_MS = 500;
/** The largest models are read from slow disks. */
const LOAD_TIMEOUT_MS = 3_600_000;
/** However many requests fail: between the end of a probe and the next one. */
const HURRY_GAP_MS = 100;
/** What is not yet known may be the slowest to answer. */
const LONGEST_TIMEOUT_MS = Math.max(...ALL_DRIVERS.map(({ health }) => health.leastTimeoutMs));

function evidenceOf({ state, refused, detail }: ProbeResult): Evidence {
  if (state === 'healthy') return { kind: 'ready', detail };
  if (state === 'dead') return { kind: refused ? 'refused' : 'failed', detail };
  return { kind: state, detail };
}

/** One endpoint: what its probes have shown, and when the next one is. */
class ProbedEndpoint {
  /** Resolves at the end of the first probe. */
  readonly first: Promise<void>;
  readonly endpoint: EndpointConfig;
  readonly #options: HealthMonitorOptions;
  readonly #config: ReadinessConfig;

  // Readiness, by the evidence of the probes.
  #readiness: Readiness;
  /** It has been healthy since something began to listen there. */
  #wasHealthy = false;

  // Which engine it is.
  #identity: Identity | undefined;
  /** Its engine was not started for sleeping. */
  #cannotSleep = false;

  // Probes until the next question.
  #untilModels = 0;
  #untilEngine = 0;

  // The next probe.
  #isProbing = false;
  #stopped = false;
  #probedMs = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;

  constructor(endpoint: EndpointConfig, config: ReadinessConfig, options: HealthMonitorOptions) {
    this.endpoint = endpoint;
    this.#config = config;
    this.#options = options;
    this.#readiness = unknownReadiness(options.now());
    this.first = this.#probe();
  }

  /** Probes soon, but HURRY_GAP_MS after the last probe at the earliest. */
  hurry(): void {
    if (this.#stopped || this.#isProbing) return;
    clearTimeout(this.#timer);
    this.#probeIn(Math.max(0, this.#probedMs + HURRY_GAP_MS - this.#options.now()));
  }

  describe(): string {
    return describeReadiness(this.#readiness, this.#options.now());
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  #probeIn(ms: number): void {
    this.#timer = setTimeout(() => void this.#probe(), ms).unref();
  }

  async #probe(): Promise<void> {
    if (this.#stopped || this.#isProbing) return;
    this.#isProbing = true;
    const result = await this.#ask();
    this.#probedMs = this.#options.now();
    const before = this.#readiness;
    this.#readiness = afterEvidence(before, evidenceOf(result), this.#config, this.#probedMs);
    const isHealthy = isInRotation(this.#readiness);
    if (!isHealthy && result.state !== 'healthy' && result.state !== 'asleep') {
      // What comes back may be another engine.
      this.#identity = undefined;
      this.#untilEngine = 0;
      this.#cannotSleep = false;
    }
    if (this.#stopped) return;
    if (before.kind === 'unknown' || isInRotation(before) !== isHealthy) {
      if (before.kind === 'loading') this.#options.onLoaded(this.endpoint);
      this.#options.onHealth(this.endpoint, isHealthy, result.detail);
      this.#untilModels = 0;
    }
    if (this.#options.pool.discoverModels && isHealthy) await this.#discoverModels();
    if (this.#stopped) return;
    this.#isProbing = false;
    this.#probeIn(nextProbeMs(this.#readiness, this.#config));
  }

  async #ask(): Promise<ProbeResult> {
    const { health } = this.#options.pool;
    const known = this.#driver()?.health;
    const leastMs = this.#identity === undefined ? LONGEST_TIMEOUT_MS : (known?.leastTimeoutMs ?? 0);
    const timeoutMs = Math.max(health.timeoutMs, leastMs);
    const result = await probeHealth(this.endpoint, health.path, timeoutMs, known, this.#wasHealthy);
    this.#wasHealthy = result.answered && (this.#wasHealthy || result.state === 'healthy');
    if (result.state !== 'healthy') return result;
    await this.#identify();
    const sleep = this.#driver()?.health.sleep;
    if (sleep === undefined || sleep.wakesByRequest || this.#cannotSleep) return result;
    const answer = await askAsleep(this.endpoint, sleep, health.timeoutMs);
    this.#cannotSleep = answer === 'cannot';
    return answer === 'asleep' ? { ...result, state: 'asleep', detail: `GET ${sleep.path}: asleep` } : result;
  }

  #driver(): EngineDriver | undefined {
    const engine = this.#identity?.engine;
    return engine === undefined ? undefined : DRIVERS[engine];
  }

  async #identify(): Promise<void> {
    if (this.#identity?.engine !== undefined) return;
    if (this.#untilEngine > 0) {
      this.#untilEngine -= 1;
      return;
    }
    this.#untilEngine = PROBES_PER_ENGINE_QUESTION;
    const { pool, onEngine } = this.#options;
    const found: Identity =
      pool.engine === 'auto'
        ? await identifyEngine(this.endpoint, pool.gauges.path, pool.health.timeoutMs)
        : { engine: pool.engine, by: 'the configuration' };
    const isNews = this.#identity === undefined || found.engine !== undefined;
    this.#identity = found;
    if (isNews && !this.#stopped) onEngine(this.endpoint, found);
  }

  async #discoverModels(): Promise<void> {
    const { pool, onModels } = this.#options;
    if (this.#untilModels <= 0) {
      const models = await askModels(this.endpoint, pool.health.timeoutMs);
      if (this.#stopped) return;
      if (models !== undefined) {
        onModels(models);
        this.#untilModels = PROBES_PER_MODEL_QUESTION;
      }
    }
    this.#untilModels -= 1;
  }
}

export function startHealthMonitor(options: HealthMonitorOptions): HealthMonitor {
  const { endpoints, health } = options.pool;
  const config: ReadinessConfig = {
    unhealthyAfter: health.unhealthyAfter,
    healthyAfter: health.healthyAfter,
    intervalMs: health.intervalMs,
    loadingIntervalMs: LOADING_INTERVAL_MS,
    loadTimeoutMs: LOAD_TIMEOUT_MS,
  };
  const probed = new Map(
    endpoints.map((endpoint) => [endpoint.url, new ProbedEndpoint(endpoint, config, options)]),
  );
  return {
    firstRound: Promise.all([...probed.values()].map(({ first }) => first)).then(() => undefined),
    hurry: (url) => probed.get(url)?.hurry(),
    describe: (url) => probed.get(url)?.describe(),
    stop() {
      for (const endpoint of probed.values()) endpoint.stop();
    },
  };
}
