/** Metrics of the service itself: its configuration and its streams. */
import { performance } from 'node:perf_hooks';
import { Counter, type Registry } from 'prom-client';
import type { BuildInfo } from '../domain/build-info.ts';
import { EventLoopDelay } from './event-loop-delay.ts';
import { knownCounter, rowGauge } from './prom-row-gauge.ts';

export interface ServiceSource {
  readonly openStreams: () => number;
  /** Of the configuration: when the one in use was taken over, in Unix milliseconds, and whether a later one was refused. */
  readonly reloads: () => { readonly sinceMs: number; readonly refused: boolean };
}

export interface ServiceMetrics {
  reloaded(result: 'applied' | 'refused'): void;
  streamFailed(): void;
  /** Says which Fairlane this is. Before, nothing does. */
  built(build: BuildInfo): void;
}

export function serviceMetrics(registry: Registry, source: ServiceSource): ServiceMetrics {
  const reloads = knownCounter(registry, {
    name: 'fairlane_config_reloads_total',
    help: 'Configuration reloads, by result: applied or refused.',
    labels: ['result'],
    known: () => [{ result: 'applied' }, { result: 'refused' }],
  });
  const streamErrors = new Counter({
    name: 'fairlane_stream_errors_total',
    help: 'ext_proc streams that ended by a fault of the service. Each is a bug worth a report.',
    registers: [registry],
  });
  rowGauge(registry, {
    name: 'fairlane_ext_proc_streams',
    help: 'Open ext_proc streams: one per HTTP request that Envoy has in flight.',
    labels: [],
    rows: () => [[{}, source.openStreams()]],
  });
  rowGauge(registry, {
    name: 'fairlane_config_last_reload_success_timestamp_seconds',
    help: 'When the configuration in use was taken over, in Unix time: at the start, or by the last reload that was applied.',
    labels: [],
    rows: () => [[{}, source.reloads().sinceMs / 1_000]],
  });
  rowGauge(registry, {
    name: 'fairlane_config_last_reload_successful',
    help: '1 while the files are in use as they were read last; 0: their last reload was refused.',
    labels: [],
    rows: () => [[{}, source.reloads().refused ? 0 : 1]],
  });
  const delay = new EventLoopDelay();
  rowGauge(registry, {
    name: 'fairlane_event_loop_delay_seconds',
    help: 'How late the event loop was, over the last 10 seconds or more, whoever scrapes how often. stat is p50, p99 or max.',
    labels: ['stat'],
    rows: () => delay.rows(performance.now()),
  });
  let build: BuildInfo | undefined;
  rowGauge(registry, {
    name: 'fairlane_build_info',
    help: '1, with the version, the commit that it was built of (or unknown) and the version of Node.js.',
    labels: ['version', 'commit', 'node'],
    *rows() {
      if (build === undefined) return;
      yield [{ version: build.version, commit: build.commit ?? 'unknown', node: process.version }, 1];
    },
  });
  return {
    built(info) {
      build = info;
    },
    reloaded: (result) => reloads.inc({ result }),
    streamFailed: () => streamErrors.inc(),
  };
}
