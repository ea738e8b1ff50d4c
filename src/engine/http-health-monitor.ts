/** Probes every endpoint of a pool at its interval, each on its own timer, and tells of changes. */
import type { EndpointConfig, PoolConfig } from '../config/config.ts';
import {
  afterEvidence,
  describeReadiness,
  type Evidence,
  isInRotation,
  nextProbeMs,
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

export function startHealthMonitor({
  pool,
  now,
  onHealth,
  onLoaded,
  onModels,
  onEngine,
}: HealthMonitorOptions): HealthMonitor {
  const { health } = pool;
  const readinessConfig: ReadinessConfig = {
    unhealthyAfter: health.unhealthyAfter,
    healthyAfter: health.healthyAfter,
    intervalMs: health.intervalMs,
    loadingIntervalMs: LOADING_INTERVAL_MS,
    loadTimeoutMs: LOAD_TIMEOUT_MS,
  };
  const stopping = new AbortController();
  const { signal } = stopping;
  const timers = new Map<string, NodeJS.Timeout>();
  const running = new Set<string>();

  const watch = (
    endpoint: EndpointConfig,
  ): { first: Promise<void>; probeNow: () => void; describe: () => string } => {
    let state = unknownReadiness(now());
    let probedMs = Number.NEGATIVE_INFINITY;
    let untilModels = 0;
    let untilEngine = 0;
    let identity: Identity | undefined;
    let wasHealthy = false;
    let cannotSleep = false;
    const adapter = (): EngineDriver | undefined =>
      identity?.engine === undefined ? undefined : DRIVERS[identity.engine];

    const identify = async (): Promise<void> => {
      if (identity?.engine !== undefined) return;
      if (untilEngine > 0) {
        untilEngine -= 1;
        return;
      }
      untilEngine = PROBES_PER_ENGINE_QUESTION;
      const found: Identity =
        pool.engine === 'auto'
          ? await identifyEngine(endpoint, pool.gauges.path, health.timeoutMs, signal)
          : { engine: pool.engine, by: 'the configuration' };
      const isNews = identity === undefined || found.engine !== undefined;
      identity = found;
      if (isNews && !signal.aborted) onEngine(endpoint, found);
    };

    const ask = async (): Promise<ProbeResult> => {
      const known = adapter()?.health;
      const leastMs = identity === undefined ? LONGEST_TIMEOUT_MS : (known?.leastTimeoutMs ?? 0);
      const timeoutMs = Math.max(health.timeoutMs, leastMs);
      const result = await probeHealth(endpoint, health.path, timeoutMs, known, wasHealthy, signal);
      wasHealthy = result.answered && (wasHealthy || result.state === 'healthy');
      if (result.state !== 'healthy') return result;
      await identify();
      const sleep = adapter()?.health.sleep;
      if (sleep === undefined || sleep.wakesByRequest || cannotSleep) return result;
      const answer = await askAsleep(endpoint, sleep, health.timeoutMs, signal);
      cannotSleep = answer === 'cannot';
      return answer === 'asleep'
        ? { ...result, state: 'asleep', detail: `GET ${sleep.path}: asleep` }
        : result;
    };

    const probe = async (): Promise<void> => {
      if (signal.aborted || running.has(endpoint.url)) return;
      running.add(endpoint.url);
      const result = await ask();
      probedMs = now();
      const before = state;
      state = afterEvidence(state, evidenceOf(result), readinessConfig, probedMs);
      const isHealthy = isInRotation(state);
      if (!isHealthy && result.state !== 'healthy' && result.state !== 'asleep') {
        // What comes back may be another engine.
        identity = undefined;
        untilEngine = 0;
        cannotSleep = false;
      }
      if (signal.aborted) return;
      if (before.kind === 'unknown' || isInRotation(before) !== isHealthy) {
        if (before.kind === 'loading') onLoaded(endpoint);
        onHealth(endpoint, isHealthy, result.detail);
        untilModels = 0;
      }
      if (pool.discoverModels && isHealthy) {
        if (untilModels <= 0) {
          const models = await askModels(endpoint, health.timeoutMs, signal);
          if (signal.aborted) return;
          if (models !== undefined) {
            onModels(models);
            untilModels = PROBES_PER_MODEL_QUESTION;
          }
        }
        untilModels -= 1;
      }
      running.delete(endpoint.url);
      timers.set(endpoint.url, setTimeout(probeAgain, nextProbeMs(state, readinessConfig)).unref());
    };
    const probeAgain = (): void => void probe();
    return {
      first: probe(),
      probeNow() {
        if (signal.aborted || running.has(endpoint.url)) return;
        clearTimeout(timers.get(endpoint.url));
        const waitMs = Math.max(0, probedMs + HURRY_GAP_MS - now());
        timers.set(endpoint.url, setTimeout(probeAgain, waitMs).unref());
      },
      describe: () => describeReadiness(state, now()),
    };
  };

  const watched = pool.endpoints.map((endpoint) => ({ endpoint, ...watch(endpoint) }));
  return {
    firstRound: Promise.all(watched.map(({ first }) => first)).then(() => undefined),
    hurry(url) {
      for (const { endpoint, probeNow } of watched) if (endpoint.url === url) probeNow();
    },
    describe: (url) => watched.find(({ endpoint }) => endpoint.url === url)?.describe(),
    stop() {
      stopping.abort();
      for (const timer of timers.values()) clearTimeout(timer);
    },
  };
}
