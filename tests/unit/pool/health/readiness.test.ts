import { describe, expect, it } from 'vitest';
import {
  afterEvidence,
  describeReadiness,
  type Evidence,
  isInRotation,
  nextProbeMs,
  type Readiness,
  type ReadinessConfig,
  unknownReadiness,
} from '../../../../src/pool/health/readiness.ts';

const config: ReadinessConfig = {
  unhealthyAfter: 3,
  healthyAfter: 2,
  intervalMs: 2_000,
  loadingIntervalMs: 500,
  loadTimeoutMs: 60_000,
};
const OK: Evidence = { kind: 'ready', detail: '200' };
const LOADING: Evidence = { kind: 'loading', detail: '503, loading' };
const ASLEEP: Evidence = { kind: 'asleep', detail: 'asleep' };
const REFUSED: Evidence = { kind: 'refused', detail: 'connect ECONNREFUSED 127.0.0.1:8000' };
const HANGS: Evidence = { kind: 'failed', detail: 'no answer in 1000 ms' };
const BROKEN: Evidence = { kind: 'failed', detail: '503' };

const after = (state: Readiness, nowMs: number, ...answers: readonly Evidence[]): Readiness =>
  answers.reduce((current, answer) => afterEvidence(current, answer, config, nowMs), state);
const start = (...answers: readonly Evidence[]): Readiness => after(unknownReadiness(0), 0, ...answers);

describe('an endpoint', () => {
  it('is decided by its first probe alone', () => {
    expect([OK, LOADING, ASLEEP, REFUSED, HANGS].map((answer) => start(answer).kind)).toEqual([
      'healthy',
      'loading',
      'asleep',
      'dead',
      'dead',
    ]);
  });
  it('is in the rotation while it is healthy, and in no other state', () => {
    expect([OK, LOADING, ASLEEP, REFUSED].map((answer) => isInRotation(start(answer)))).toEqual([
      true,
      false,
      false,
      false,
    ]);
  });
  it('dies after three bad probes in a row, and returns after two good ones', () => {
    expect(after(start(OK), 0, HANGS, REFUSED, OK, HANGS, BROKEN).kind).toBe('healthy');
    const dead = after(start(OK), 0, HANGS, HANGS, HANGS);
    expect(dead.kind).toBe('dead');
    expect(after(dead, 0, OK, HANGS, OK).kind).toBe('dead');
    expect(after(dead, 0, OK, OK).kind).toBe('healthy');
  });
  it('is believed at once when it says that it loads or sleeps, and when it is ready after that', () => {
    expect(after(start(OK), 0, LOADING).kind).toBe('loading');
    expect(after(start(OK), 0, ASLEEP).kind).toBe('asleep');
    expect(after(start(OK), 0, LOADING, OK).kind).toBe('healthy');
    expect(after(start(REFUSED), 0, LOADING, OK).kind).toBe('healthy');
  });
  it('is probed sooner while it loads', () => {
    expect(nextProbeMs(start(LOADING), config)).toBe(500);
    expect(nextProbeMs(start(HANGS), config)).toBe(2_000);
    expect(nextProbeMs(start(LOADING), { ...config, intervalMs: 100 })).toBe(100);
  });
  it('that loads for too long is dead until it is ready, or begins again', () => {
    const stuck = after(start(LOADING), 60_000, LOADING);
    expect(stuck.kind).toBe('dead');
    expect(stuck.detail).toMatch('still loading after 60 s');
    expect(after(stuck, 61_000, LOADING).kind).toBe('dead');
    expect(after(stuck, 61_000, REFUSED, LOADING).kind).toBe('loading');
    expect(after(stuck, 61_000, OK, OK).kind).toBe('healthy');
  });
  it('says what it is, for how long, and by what', () => {
    expect(describeReadiness(start(LOADING), 12_000)).toBe('loading for 12 s: 503, loading');
  });
});
