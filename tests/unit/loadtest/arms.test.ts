import { describe, expect, it } from 'vitest';
import { ARMS, httpArms, labArms, type TargetName } from '../../../src/loadtest/arms.ts';
import { HTTP, lonely, NOISY } from '../../support/scenarios.ts';

describe('the arms', () => {
  const targets = (...names: TargetName[]): ReadonlySet<TargetName> => new Set(names);

  it('of the lab are all five in a comparison, and fairlane alone without', () => {
    expect(labArms(NOISY, { compare: true })).toEqual({ kind: 'ok', arms: ARMS, skipped: [] });
    expect(labArms(NOISY, { compare: false })).toMatchObject({ arms: ['fairlane'] });
    expect(labArms(NOISY, { compare: true, arms: ['floor', 'direct'] })).toMatchObject({
      arms: ['direct', 'floor'],
    });
  });

  it('leave out solo where nobody is quiet, and say so', () => {
    const scenario = lonely('arrivals: { perSecond: 1 }');
    expect(labArms(scenario, { compare: true })).toMatchObject({
      arms: ['direct', 'request-bucket', 'fairlane', 'floor'],
      skipped: ['The arm solo was left out: no tenant of the scenario is quiet.'],
    });
  });

  it('over HTTP are those that have a target', () => {
    expect(httpArms(HTTP, { compare: true }, targets('direct', 'fairlane'))).toMatchObject({
      arms: ['solo', 'direct', 'request-bucket', 'fairlane'],
      skipped: [],
    });
    expect(httpArms(HTTP, { compare: true }, targets('direct'))).toMatchObject({
      arms: ['solo', 'direct', 'request-bucket'],
      skipped: ['The arm fairlane was left out: it needs --target fairlane=URL.'],
    });
    expect(httpArms(HTTP, { compare: false }, targets('target'))).toMatchObject({ arms: ['target'] });
    expect(httpArms(HTTP, { compare: false }, targets('direct', 'fairlane'))).toMatchObject({
      arms: ['direct', 'fairlane'],
    });
  });

  it.each([
    [{ compare: true }, targets('target'), '--target direct=URL'],
    [{ compare: false, arms: ['floor'] }, targets('direct'), 'there is none of a real engine'],
    [{ compare: false, arms: ['fairlane'] }, targets('direct'), 'it needs --target fairlane=URL'],
  ] as const)('over HTTP refuse %j with too little', (asked, given, problem) => {
    expect(httpArms(HTTP, asked, given)).toEqual({ kind: 'bad', problem: expect.stringContaining(problem) });
  });

  it('over HTTP have no bucket without its rate', () => {
    const { bucketPerSecond: _, ...without } = HTTP;
    expect(httpArms(without, { compare: false, arms: ['request-bucket'] }, targets('direct'))).toEqual({
      kind: 'bad',
      problem: expect.stringContaining('needs bucketPerSecond'),
    });
  });
});
