import { describe, expect, it } from 'vitest';
import { afterProbe, type HealthState, UNKNOWN_HEALTH } from '../../../src/route/health.ts';

const thresholds = { unhealthyAfter: 3, healthyAfter: 2 };
const after = (state: HealthState, ...probes: boolean[]): HealthState =>
  probes.reduce((current, ok) => afterProbe(current, ok, thresholds), state);

describe("an endpoint's health", () => {
  it('is decided by the first probe alone', () => {
    expect(UNKNOWN_HEALTH.healthy).toBe(false);
    expect(after(UNKNOWN_HEALTH, true).healthy).toBe(true);
    expect(after(UNKNOWN_HEALTH, false).healthy).toBe(false);
  });
  it('changes only after so many probes in a row', () => {
    const up = after(UNKNOWN_HEALTH, true);
    expect(after(up, false, false).healthy).toBe(true);
    expect(after(up, false, false, true, false, false).healthy).toBe(true);
    const down = after(up, false, false, false);
    expect(down.healthy).toBe(false);
    expect(after(down, true, false, true).healthy).toBe(false);
    expect(after(down, true, true).healthy).toBe(true);
  });
});
