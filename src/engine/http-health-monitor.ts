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
import { Followed } from './followed.ts';
import { type Identity, identityOf } from './http-identify.ts';
import { askAccess, askAsleep, askModels, type ProbeResult, probeHealth } from './http-probe.ts';

export interface HealthMonitor {
  /** Resolves when every endpoint has been probed once. */
  readonly firstRound: Promise<void>;
  /** Probes soon: requests fail there. */
  hurry(url: string): void;
  /** Its endpoints are others now; those that stay are probed on. */
  follow(endpoints: readonly EndpointConfig[]): void;
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
  /** It serves, and refuses some of what it is asked: why. Undefined: that is over. */
  readonly onRefused?: (endpoint: EndpointConfig, detail: string | undefined) => void;
  readonly onModels: (models: readonly string[]) => void;
  /** Which engine a healthy endpoint is; told again when it has been away. */
  readonly onEngine: (endpoint: EndpointConfig, identity: Identity) => void;
}

/** Models change when an adapter is loaded: asked again every so many probes. */
const PROBES_PER_MODEL_QUESTION = 5;
/** An endpoint that told nothing is asked again which engine it is, every so many probes. */
const PROBES_PER_ENGINE_QUESTION = 15;
/** One that lets us in is asked again whether it still does, every so many probes. */
const PROBES_PER_ACCESS_QUESTION = 15;
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

/** The probes of one endpoint, one after another. */
class EndpointProbe {
  readonly endpoint: EndpointConfig;
  /** Resolves when it has been probed once. */
  readonly first: Promise<void>;
  readonly #options: HealthMonitorOptions;
  readonly #stopping = new AbortController();
  readonly #stopped = this.#stopping.signal;

  // What it is.
  #readiness: Readiness;
  #identity: Identity | undefined;
  /** It has been healthy since something began to listen there. */
  #wasHealthy = false;
  /** It has no page that tells whether it sleeps. */
  #cannotSleep = false;

  // When what is asked.
  #isProbing = false;
  #probedMs = Number.NEGATIVE_INFINITY;
  /** Probes until the next question of its models, and of which engine it is. */
  #untilModels = 0;
  #untilEngine = 0;
  #untilAccess = 0;
  /** What it said when it refused, of what it is asked now. */
  #refusal: string | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(endpoint: EndpointConfig, options: HealthMonitorOptions) {
    this.endpoint = endpoint;
    this.#options = options;
    this.#readiness = unknownReadiness(options.now());
    this.first = this.#probe();
  }

  describe(): string {
    return describeReadiness(this.#readiness, this.#options.now());
  }

  probeSoon(): void {
    if (this.#stopped.aborted || this.#isProbing) return;
    this.#schedule(Math.max(0, this.#probedMs + HURRY_GAP_MS - this.#options.now()));
  }

  stop(): void {
    this.#stopping.abort();
    clearTimeout(this.#timer);
  }

  get #driver(): EngineDriver | undefined {
    return this.#identity?.engine === undefined ? undefined : DRIVERS[this.#identity.engine];
  }

  #schedule(waitMs: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#probe(), waitMs).unref();
  }

  async #probe(): Promise<void> {
    if (this.#stopped.aborted || this.#isProbing) return;
    this.#isProbing = true;
    const result = await this.#ask();
    const before = this.#take(result);
    if (this.#stopped.aborted) return;
    this.#tell(before, result.detail);
    if (this.#options.pool.discoverModels && isInRotation(this.#readiness)) await this.#askModels();
    if (this.#stopped.aborted) return;
    this.#isProbing = false;
    this.#schedule(nextProbeMs(this.#readiness, readinessConfigOf(this.#options.pool)));
  }

  async #ask(): Promise<ProbeResult> {
    const { health } = this.#options.pool;
    const known = this.#driver?.health;
    const leastMs = this.#identity === undefined ? LONGEST_TIMEOUT_MS : (known?.leastTimeoutMs ?? 0);
    const timeoutMs = Math.max(health.timeoutMs, leastMs);
    const { endpoint } = this;
    const stopped = this.#stopped;
    const result = await probeHealth(endpoint, health.path, timeoutMs, known, this.#wasHealthy, stopped);
    this.#wasHealthy = result.answered && (this.#wasHealthy || result.state === 'healthy');
    if (result.state !== 'healthy') return result;
    const refusal = await this.#askAccess(health.timeoutMs);
    if (refusal !== undefined) return { ...result, state: 'dead', detail: refusal };
    await this.#identify();
    const sleep = this.#driver?.health.sleep;
    if (sleep === undefined || sleep.wakesByRequest || this.#cannotSleep) return result;
    const answer = await askAsleep(endpoint, sleep, health.timeoutMs, stopped);
    this.#cannotSleep = answer === 'cannot';
    return answer === 'asleep' ? { ...result, state: 'asleep', detail: `GET ${sleep.path}: asleep` } : result;
  }

  /** @returns why no request would be served; undefined: nothing is known against that. */
  async #askAccess(timeoutMs: number): Promise<string | undefined> {
    if (this.#untilAccess > 0) {
      this.#untilAccess -= 1;
      return undefined;
    }
    const refusal = await askAccess(this.endpoint, timeoutMs, this.#stopped);
    if (this.#stopped.aborted) return undefined;
    // One that refuses may be put right at any time.
    this.#untilAccess = refusal?.refusesAll === true ? 0 : PROBES_PER_ACCESS_QUESTION;
    if (refusal?.refusesAll === true) return refusal.detail;
    if (refusal?.detail !== this.#refusal) {
      this.#refusal = refusal?.detail;
      this.#options.onRefused?.(this.endpoint, refusal?.detail);
    }
    return undefined;
  }

  async #identify(): Promise<void> {
    if (this.#identity?.engine !== undefined) return;
    if (this.#untilEngine > 0) {
      this.#untilEngine -= 1;
      return;
    }
    this.#untilEngine = PROBES_PER_ENGINE_QUESTION;
    const { pool, onEngine } = this.#options;
    const found = await identityOf(this.endpoint, pool, pool.health.timeoutMs, this.#stopped);
    const isNews = this.#identity === undefined || found.engine !== undefined;
    this.#identity = found;
    if (isNews && !this.#stopped.aborted) onEngine(this.endpoint, found);
  }

  /** @returns what it was before. */
  #take(result: ProbeResult): Readiness {
    const before = this.#readiness;
    this.#probedMs = this.#options.now();
    const config = readinessConfigOf(this.#options.pool);
    this.#readiness = afterEvidence(before, evidenceOf(result), config, this.#probedMs);
    if (!isInRotation(this.#readiness) && result.state !== 'healthy' && result.state !== 'asleep') {
      // What comes back may be another engine.
      this.#identity = undefined;
      this.#untilEngine = 0;
      this.#cannotSleep = false;
      this.#untilAccess = 0;
    }
    return before;
  }

  #tell(before: Readiness, detail: string): void {
    const isHealthy = isInRotation(this.#readiness);
    if (before.kind !== 'unknown' && isInRotation(before) === isHealthy) return;
    if (before.kind === 'loading') this.#options.onLoaded(this.endpoint);
    this.#options.onHealth(this.endpoint, isHealthy, detail);
    this.#untilModels = 0;
  }

  async #askModels(): Promise<void> {
    if (this.#untilModels <= 0) {
      const { pool, onModels } = this.#options;
      const models = await askModels(this.endpoint, pool.health.timeoutMs, this.#stopped);
      if (this.#stopped.aborted) return;
      if (models !== undefined) {
        onModels(models);
        this.#untilModels = PROBES_PER_MODEL_QUESTION;
      }
    }
    this.#untilModels -= 1;
  }
}

const readinessConfigOf = ({ health }: PoolConfig): ReadinessConfig => ({
  unhealthyAfter: health.unhealthyAfter,
  healthyAfter: health.healthyAfter,
  intervalMs: health.intervalMs,
  loadingIntervalMs: LOADING_INTERVAL_MS,
  loadTimeoutMs: LOAD_TIMEOUT_MS,
});

export function startHealthMonitor(options: HealthMonitorOptions): HealthMonitor {
  const probes = new Followed<EndpointProbe>();
  const follow = (endpoints: readonly EndpointConfig[]): void =>
    probes.follow(endpoints, (endpoint) => new EndpointProbe(endpoint, options));
  follow(options.pool.endpoints);
  return {
    firstRound: Promise.all(Array.from(probes.jobs(), ({ first }) => first)).then(() => undefined),
    hurry: (url) => probes.get(url)?.probeSoon(),
    follow,
    describe: (url) => probes.get(url)?.describe(),
    stop: () => probes.stop(),
  };
}
