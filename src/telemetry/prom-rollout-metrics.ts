/** Metrics of changes of models: canaries, and copies for mirror pools. */
import { Counter, type Registry } from 'prom-client';
import { knownCounter, rowGauge } from './prom-row-gauge.ts';

const GATES = ['failures', 'ttft'] as const;

export interface RolloutSource {
  readonly rollouts: () => Iterable<{
    readonly model: string;
    readonly canary: string;
    readonly weight: number;
  }>;
}

export interface RolloutMetrics {
  rolledBack(model: string, canary: string, gate: string): void;
  /** Counts a request of a model with a mirror that was drawn: `copy`, or why it was not copied. */
  mirrorDrawn(model: string, decision: string): void;
}

export function rolloutMetrics(registry: Registry, source: RolloutSource): RolloutMetrics {
  const rollbacks = knownCounter(registry, {
    name: 'fairlane_canary_rollbacks_total',
    help: 'Canaries that were rolled back, by what they were worse in: failures or ttft.',
    labels: ['model', 'canary', 'gate'],
    *known() {
      for (const { model, canary } of source.rollouts()) {
        for (const gate of GATES) yield { model, canary, gate };
      }
    },
  });
  rowGauge(registry, {
    name: 'fairlane_canary_weight',
    help: 'Part of the model’s requests that its canary has, 0 to 1: 0 once it was rolled back.',
    labels: ['model', 'canary'],
    *rows() {
      for (const { model, canary, weight } of source.rollouts()) yield [{ model, canary }, weight];
    },
  });
  const copies = new Counter({
    name: 'fairlane_shadow_copies_total',
    help: 'Requests of the model that Envoy was told to copy to its mirror pool.',
    labelNames: ['model'],
    registers: [registry],
  });
  const skips = new Counter({
    name: 'fairlane_shadow_skips_total',
    help: 'Requests that were drawn for a copy and not copied, by reason: unhealthy (an endpoint of the pool is, or is drained), unknown (no gauges), behind (requests wait there, or it is full), too-many (maxConcurrent) or too-fast (perSecond).',
    labelNames: ['model', 'reason'],
    registers: [registry],
  });
  return {
    rolledBack: (model, canary, gate) => rollbacks.inc({ model, canary, gate }),
    mirrorDrawn(model, decision) {
      if (decision === 'copy') copies.inc({ model });
      else skips.inc({ model, reason: decision });
    },
  };
}
