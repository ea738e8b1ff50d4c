import { describe, expect, it } from 'vitest';
import { httpSchedule, labSchedule } from '../../../src/loadtest/schedule.ts';
import { HTTP, lonely, NOISY } from '../../support/scenarios.ts';

describe('a schedule', () => {
  it('is the same for the same seed, another for another, and in the order of arrival', () => {
    const short = { ...NOISY, durationMs: 5_000 };
    const first = labSchedule(short);
    expect(labSchedule(short)).toEqual(first);
    expect(labSchedule({ ...short, seed: 2 })).not.toEqual(first);
    if (first.kind === 'bad') throw new Error(first.problem);
    const times = first.requests.map(({ atMs }) => atMs);
    expect(times).toEqual([...times].sort((a, b) => a - b));
  });

  it('gives 1.5 times the capacity, which the bucket is 0.8 times of', () => {
    const schedule = labSchedule(NOISY);
    if (schedule.kind === 'bad') throw new Error(schedule.problem);
    const noisy = schedule.requests.filter(({ tenant }) => tenant === 'noisy').length / 60;
    const capacity = (schedule.bucketPerSecond ?? 0) / NOISY.bucket;
    expect(noisy / capacity).toBeGreaterThan(1.3);
    expect(noisy / capacity).toBeLessThan(1.7);
  });

  it('of a real target refuses timesCapacity and says what to write', () => {
    expect(httpSchedule(NOISY)).toEqual({
      kind: 'bad',
      problem: expect.stringContaining('tenant noisy: timesCapacity'),
    });
    expect(httpSchedule(NOISY)).toMatchObject({ problem: expect.stringContaining('perSecond') });
    expect(httpSchedule(HTTP)).toMatchObject({ kind: 'ok', bucketPerSecond: 8 });
  });

  it.each([
    ['too many requests', lonely('arrivals: { perSecond: 100000 }'), 'more than 1000000 requests'],
    ['none', { ...lonely('arrivals: { trace: [500] }'), durationMs: 100 }, 'no request arrives'],
    [
      'one that the engine cannot hold',
      { ...lonely('arrivals: { perSecond: 1 }'), engine: { ...NOISY.engine, maxModelLen: 50 } },
      'can ask for 110 tokens, prompt and output, and the engine holds 50',
    ],
  ])('refuses %s', (_, scenario, problem) => {
    expect(labSchedule(scenario)).toEqual({ kind: 'bad', problem: expect.stringContaining(problem) });
  });
});
