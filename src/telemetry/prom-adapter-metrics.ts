/** Metrics of LoRA adapters: what endpoints have loaded, and what came of telling them to. */
import type { Registry } from 'prom-client';
import { knownCounter, rowGauge } from './prom-row-gauge.ts';

export interface AdapterSource {
  /** Endpoints of pools that have adapters. */
  readonly adapters: () => Iterable<{
    readonly pool: string;
    readonly endpoint: string;
    /** `ip:port`. */
    readonly address: string;
    readonly loaded: number;
    readonly loading: number;
  }>;
}

export interface AdapterMetrics {
  /** Counts what came of a load. */
  load(pool: string, result: 'loaded' | 'failed'): void;
  unload(pool: string, result: 'unloaded' | 'failed'): void;
}

export function adapterMetrics(registry: Registry, source: AdapterSource): AdapterMetrics {
  const known = (...results: readonly string[]) =>
    function* (): Iterable<{ readonly pool: string; readonly result: string }> {
      for (const { pool } of source.adapters()) for (const result of results) yield { pool, result };
    };
  const loads = knownCounter(registry, {
    name: 'fairlane_adapter_loads_total',
    help: 'Loads of LoRA adapters that engines were asked for, by result: loaded or failed.',
    labels: ['pool', 'result'],
    known: known('loaded', 'failed'),
  });
  const unloads = knownCounter(registry, {
    name: 'fairlane_adapter_unloads_total',
    help: 'LoRA adapters that engines were told to unload, by result: unloaded or failed.',
    labels: ['pool', 'result'],
    known: known('unloaded', 'failed'),
  });
  const gauge = (name: string, help: string, value: 'loaded' | 'loading'): void =>
    rowGauge(registry, {
      name,
      help,
      labels: ['pool', 'endpoint', 'address'],
      *rows() {
        for (const row of source.adapters()) {
          const { pool, endpoint, address } = row;
          yield [{ pool, endpoint, address }, row[value]];
        }
      },
    });
  gauge(
    'fairlane_endpoint_adapters',
    'LoRA adapters that the endpoint has loaded, also by others; only of pools that have adapters.',
    'loaded',
  );
  gauge(
    'fairlane_endpoint_adapters_loading',
    'LoRA adapters that the endpoint is loading, or will be.',
    'loading',
  );
  return {
    load: (pool, result) => loads.inc({ pool, result }),
    unload: (pool, result) => unloads.inc({ pool, result }),
  };
}
