/** Reads the gauges of every endpoint of a pool, each on its own timer, sooner while that decides something. */
import type { EndpointConfig, PoolConfig } from '../config/config.ts';
import { API_ALONE } from '../domain/engine-kinds.ts';
import { Followed } from './followed.ts';
import type { EngineReport, GaugesResult } from './gauges.ts';
import { readGauges } from './gauges.ts';
import { askText, whyNoAnswer } from './http-probe.ts';
import { refusalText } from './probe-problems.ts';

export interface GaugeMonitor {
  /** Its endpoints are others now; those that stay are read on. */
  follow(endpoints: readonly EndpointConfig[]): void;
  stop(): void;
}

export interface GaugeMonitorOptions {
  readonly pool: PoolConfig;
  /** True while an answer is worth having sooner. */
  readonly isEager: (endpoint: EndpointConfig) => boolean;
  readonly onReport: (endpoint: EndpointConfig, report: EngineReport) => void;
  readonly onUnusable: (endpoint: EndpointConfig, detail: string) => void;
}

type Reader = { stop(): void };

const EAGER_PART = 5;
const MIN_INTERVAL_MS = 100;
/** An answer that takes longer says nothing of now. */
const MAX_AGE_MS = 1_000;
/** Endpoints are not all read in the same moment. */
const JITTER = 0.1;

/** @param engine what it must be; `auto`: whichever it is; `openai`: not asked. */
export async function askGauges(
  endpoint: EndpointConfig,
  path: string,
  engine: PoolConfig['engine'],
  stopped?: AbortSignal,
): Promise<GaugesResult> {
  if (engine === API_ALONE) return { kind: 'unusable', detail: `not read, with engine: ${API_ALONE}` };
  try {
    const { status, body } = await askText(endpoint, path, MAX_AGE_MS, undefined, stopped);
    if (status !== 200) {
      const refusal = refusalText({ status, body }, path, endpoint);
      return { kind: 'unusable', detail: refusal ?? `GET ${path}: ${status}` };
    }
    return readGauges(body, engine === 'auto' ? undefined : engine);
  } catch (error) {
    return { kind: 'unusable', detail: `GET ${path}: ${await whyNoAnswer(error, endpoint)}` };
  }
}

export function startGaugeMonitor({
  pool,
  isEager,
  onReport,
  onUnusable,
}: GaugeMonitorOptions): GaugeMonitor {
  const watched = new Followed<Reader>();
  const watch = (endpoint: EndpointConfig): Reader => {
    const stopping = new AbortController();
    const { signal } = stopping;
    let timer: NodeJS.Timeout | undefined;
    const read = async (): Promise<void> => {
      const result = await askGauges(endpoint, pool.gauges.path, pool.engine, signal);
      if (signal.aborted) return;
      if (result.kind === 'report') onReport(endpoint, result.report);
      else onUnusable(endpoint, result.detail);
      const { intervalMs } = pool.gauges;
      const ms = isEager(endpoint)
        ? Math.max(MIN_INTERVAL_MS, intervalMs / EAGER_PART)
        : intervalMs * (1 + JITTER * (Math.random() - 0.5));
      timer = setTimeout(() => void read(), ms).unref();
    };
    void read();
    return {
      stop() {
        stopping.abort();
        clearTimeout(timer);
      },
    };
  };
  watched.follow(pool.endpoints, watch);
  return {
    follow: (endpoints) => watched.follow(endpoints, watch),
    stop: () => watched.stop(),
  };
}
