/** Metrics of the service itself: its configuration and its streams. */
import { Counter, type Registry } from 'prom-client';
import { rowGauge } from './prom-row-gauge.ts';

export interface ServiceSource {
  readonly openStreams: () => number;
}

export interface ServiceMetrics {
  reloaded(result: 'applied' | 'refused'): void;
  streamFailed(): void;
}

export function serviceMetrics(registry: Registry, source: ServiceSource): ServiceMetrics {
  const reloads = new Counter({
    name: 'fairlane_config_reloads_total',
    help: 'Configuration reloads, by result: applied or refused.',
    labelNames: ['result'],
    registers: [registry],
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
  return {
    reloaded: (result) => reloads.inc({ result }),
    streamFailed: () => streamErrors.inc(),
  };
}
