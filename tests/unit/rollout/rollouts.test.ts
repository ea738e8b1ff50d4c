import { describe, expect, it } from 'vitest';
import type { RolloutConfig } from '../../../src/config/config.ts';
import { type CanaryAssignment, createRollouts, type Rollouts } from '../../../src/rollout/rollouts.ts';

const config = (fields: Partial<RolloutConfig> = {}): RolloutConfig => ({
  model: 'next',
  weight: 0.5,
  by: 'session',
  sessionHeader: 'x-session-id',
  salt: '',
  ...fields,
});
const models = (fields?: Partial<RolloutConfig>) => [
  { name: 'now', canary: config(fields) },
  { name: 'other' },
];
const asker = (session: string, tenant = 'a') => ({
  tenant,
  header: (name: string) => (name === 'x-session-id' ? session : ''),
});
const assignmentOf = (rollouts: Rollouts, session: string, tenant?: string): CanaryAssignment | undefined =>
  rollouts.assign('now', asker(session, tenant), () => true);
const rollBack = (rollouts: Rollouts): void => {
  for (let i = 0; i < 200; i += 1) {
    const assignment = assignmentOf(rollouts, `s${i}`);
    assignment?.ended(assignment.model === 'next', i);
  }
};

describe('a rollout', () => {
  it('is of its model only, and sends what its canary cannot have to the model itself', () => {
    const rollouts = createRollouts(models({ weight: 1 }), () => undefined);
    expect(assignmentOf(rollouts, 'x')?.model).toBe('next');
    expect(rollouts.assign('other', asker('x'), () => true)).toBeUndefined();
    expect(rollouts.assign('now', asker('x'), () => false)).toBeUndefined();
  });

  it('tells sessions of two tenants apart, and does not read more than a part of a huge name', () => {
    const rollouts = createRollouts(models(), () => undefined);
    const arms = (tenant: string) =>
      Array.from({ length: 64 }, (_, i) => assignmentOf(rollouts, `s${i}`, tenant)?.model).join();
    expect(arms('a')).not.toBe(arms('b'));
    const huge = 'x'.repeat(1_000_000);
    expect(assignmentOf(rollouts, `${huge}1`)?.model).toBe(assignmentOf(rollouts, `${huge}2`)?.model);
  });

  it('keeps a tenant with one version when it goes by tenants', () => {
    const rollouts = createRollouts(models({ by: 'tenant' }), () => undefined);
    const arms = new Set(Array.from({ length: 64 }, (_, i) => assignmentOf(rollouts, `s${i}`)?.model));
    expect(arms.size).toBe(1);
  });

  it('that is rolled back says so once, and stays so over a reload that changes nothing', () => {
    const told: string[] = [];
    const rollouts = createRollouts(models(), ({ model, canary }, { gate }) =>
      told.push(`${model} ${canary} ${gate}`),
    );
    rollBack(rollouts);
    rollouts.reconfigure(models());
    rollBack(rollouts);
    expect(told).toEqual(['now next failures']);
    expect(rollouts.list()).toMatchObject([{ model: 'now', canary: 'next', weight: 0 }]);
    expect(assignmentOf(rollouts, 's0')).toBeUndefined();
  });

  it.each([{ weight: 0.6 }, { salt: 'again' }, { model: 'later' }, { by: 'tenant' } as const])(
    'that was rolled back begins anew with %j',
    (change) => {
      const rollouts = createRollouts(models(), () => undefined);
      rollBack(rollouts);
      rollouts.reconfigure(models(change));
      expect(rollouts.list()[0]?.rolledBack).toBeUndefined();
      expect(assignmentOf(rollouts, 's0')).toBeDefined();
    },
  );

  it('is not rolled back by requests that were sent to the version before it', () => {
    const told: unknown[] = [];
    const rollouts = createRollouts(models(), (rollout) => told.push(rollout));
    const old = Array.from({ length: 200 }, (_, i) => assignmentOf(rollouts, `s${i}`));
    rollouts.reconfigure(models({ model: 'later' }));
    for (const assignment of old) assignment?.ended(assignment.model === 'next', 1);
    expect(told).toEqual([]);
    expect(rollouts.list()[0]?.rolledBack).toBeUndefined();
  });
});
