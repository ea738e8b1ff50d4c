/** A comparison as JSON. */
import { type Comparison, type GroupReport, START_PART } from './compare.ts';
import type { Latency } from './outcome.ts';

/** The figures as plain data with the same keys in every run; what is not known is null. */
export function comparisonJson(comparison: Comparison): object {
  const { scenario, arms, ratios } = comparison;
  const known = <T>(value: T | undefined): T | null => value ?? null;
  const latency = ({ p50, p90, p99 }: Latency): object => ({
    p50: known(p50),
    p90: known(p90),
    p99: known(p99),
  });
  const group = ({ requests, completed, ttftMs, startTtftMs }: GroupReport): object => ({
    requests,
    completed,
    ttftMs: latency(ttftMs),
    startTtftMs: latency(startTtftMs),
  });
  return {
    formatVersion: 1,
    name: scenario.name,
    description: known(scenario.description),
    mode: comparison.mode,
    seed: scenario.seed,
    durationMs: scenario.durationMs,
    startMs: START_PART * scenario.durationMs,
    limits: { ttftMs: known(scenario.limits?.ttftMs), itlMs: known(scenario.limits?.itlMs) },
    engine: comparison.mode === 'virtual' ? scenario.engine : null,
    bucketPerSecond: known(comparison.bucketPerSecond),
    targets: Object.fromEntries(comparison.targets),
    interrupted: comparison.interrupted,
    saturated: comparison.saturated,
    warnings: comparison.warnings,
    notes: comparison.notes,
    arms: arms.map((arm) => ({
      arm: arm.arm,
      durationMs: arm.durationMs,
      saturated: arm.saturated,
      usefulTokensPerSecond: arm.usefulTokensPerSecond,
      completedPerSecond: arm.completedPerSecond,
      goodputPerSecond: known(arm.goodputPerSecond),
      jain: known(arm.jain),
      engine: known(arm.engine),
      refusals: arm.refusals,
      refusedWhileIdle: known(arm.refusedWhileIdle),
      notes: arm.notes,
      quiet: group(arm.quiet),
      others: group(arm.others),
      tenants: arm.tenants.map((tenant) => ({
        tenant: tenant.tenant,
        quiet: tenant.quiet,
        requests: tenant.requests,
        completed: tenant.completed,
        refused: tenant.refused,
        failed: tenant.failed,
        ttftMs: latency(tenant.ttftMs),
        startTtftMs: latency(tenant.startTtftMs),
        itlMs: latency(tenant.itlMs),
        tokensPerSecond: tenant.tokensPerSecond,
        goodputPerSecond: known(tenant.goodputPerSecond),
      })),
    })),
    ratios: ratios.map((one) => ({
      arm: one.arm,
      quietTtftP99Ms: known(one.quietTtftP99Ms),
      toFloor: known(one.toFloor),
      toSolo: known(one.toSolo),
      toDirect: known(one.toDirect),
      tokensKept: known(one.tokensKept),
    })),
  };
}
