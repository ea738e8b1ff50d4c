/** Probes every endpoint of a pool at its interval, each on its own timer, and tells of changes. */
import type { EndpointConfig, PoolConfig } from '../config/config.ts';
import { afterProbe, type HealthState, UNKNOWN_HEALTH } from '../route/health.ts';
import { askModels, probeHealth } from './http-probe.ts';

export interface HealthMonitor {
  /** Resolves when every endpoint has been probed once. */
  readonly firstRound: Promise<void>;
  /** Probes soon: Envoy could not reach an endpoint. */
  hurry(address: string): void;
  stop(): void;
}

export interface HealthMonitorOptions {
  readonly pool: PoolConfig;
  /** `ip:port` of a configured endpoint, for hurry(). */
  readonly addressOf: (endpoint: EndpointConfig) => string;
  readonly onHealth: (endpoint: EndpointConfig, healthy: boolean, detail: string) => void;
  readonly onModels: (models: readonly string[]) => void;
}

/** Models change when an adapter is loaded: asked again every so many probes. */
const PROBES_PER_MODEL_QUESTION = 5;

export function startHealthMonitor({
  pool,
  addressOf,
  onHealth,
  onModels,
}: HealthMonitorOptions): HealthMonitor {
  const { health } = pool;
  let stopped = false;
  const timers = new Map<string, NodeJS.Timeout>();
  const running = new Set<string>();

  const watch = (endpoint: EndpointConfig): { first: Promise<void>; probeNow: () => void } => {
    let state: HealthState = UNKNOWN_HEALTH;
    let untilModels = 0;
    const probe = async (): Promise<void> => {
      if (stopped || running.has(endpoint.url)) return;
      running.add(endpoint.url);
      const result = await probeHealth(endpoint, health.path, health.timeoutMs);
      const before = state;
      state = afterProbe(state, result.ok, health);
      if (stopped) return;
      if (!before.known || before.healthy !== state.healthy) {
        onHealth(endpoint, state.healthy, result.detail);
        untilModels = 0;
      }
      if (pool.discoverModels && state.healthy) {
        if (untilModels <= 0) {
          const models = await askModels(endpoint, health.timeoutMs);
          if (stopped) return;
          if (models !== undefined) {
            onModels(models);
            untilModels = PROBES_PER_MODEL_QUESTION;
          }
        }
        untilModels -= 1;
      }
      running.delete(endpoint.url);
      timers.set(endpoint.url, setTimeout(probeAgain, health.intervalMs).unref());
    };
    const probeAgain = (): void => void probe();
    return {
      first: probe(),
      probeNow() {
        if (running.has(endpoint.url)) return;
        clearTimeout(timers.get(endpoint.url));
        probeAgain();
      },
    };
  };

  const watched = pool.endpoints.map((endpoint) => ({ endpoint, ...watch(endpoint) }));
  return {
    firstRound: Promise.all(watched.map(({ first }) => first)).then(() => undefined),
    hurry(address) {
      for (const { endpoint, probeNow } of watched) if (addressOf(endpoint) === address) probeNow();
    },
    stop() {
      stopped = true;
      for (const timer of timers.values()) clearTimeout(timer);
    },
  };
}
