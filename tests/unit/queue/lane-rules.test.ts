import { describe, expect, it } from 'vitest';
import { DEFAULT_LANE, type LaneCondition, type LaneConfig } from '../../../src/config/config.ts';
import { type LaneSubject, laneFor } from '../../../src/queue/lane-rules.ts';

const lane = (name: string, when?: readonly LaneCondition[]): [string, LaneConfig] => [
  name,
  {
    ...DEFAULT_LANE,
    name,
    ...(when !== undefined && { when }),
  },
];
const subject: LaneSubject = {
  tenant: 'alice',
  tier: 'gold',
  model: 'llama',
  route: 'chat.completions',
  promptTokens: 100,
  maxOutputTokens: 50,
  header: (name) => (name === 'x-class' ? 'tools' : ''),
};

describe('the lane of a request', () => {
  it.each<[LaneCondition, Partial<LaneSubject>]>([
    [{ tenants: ['alice'] }, { tenant: 'bob' }],
    [{ tiers: ['gold'] }, { tier: undefined }],
    [{ models: ['llama', 'other'] }, { model: 'mistral' }],
    [{ routes: ['chat.completions'] }, { route: 'embeddings' }],
    [{ header: { name: 'x-class', value: 'tools' } }, { header: () => 'Tools' }],
    [{ minPromptTokens: 100 }, { promptTokens: 99 }],
    [{ maxPromptTokens: 100 }, { promptTokens: 101 }],
    [{ minOutputTokens: 50 }, { maxOutputTokens: 49 }],
    [{ maxOutputTokens: 50 }, { maxOutputTokens: undefined }],
  ])('%j takes what it says, and nothing else', (condition, other) => {
    const lanes = new Map([lane('special', [condition]), lane('rest')]);
    expect(laneFor(lanes, subject).name).toBe('special');
    expect(laneFor(lanes, { ...subject, ...other }).name).toBe('rest');
    const strict = new Map([lane('special', [{ ...condition, tenants: ['nobody'] }]), lane('rest')]);
    expect(laneFor(strict, subject).name).toBe('rest');
  });

  it('is the first that takes it, by any of its conditions, and the first of all where none does', () => {
    const lanes = new Map([
      lane('a', [{ tenants: ['x'] }]),
      lane('b', [{ tenants: ['x'] }, { tiers: ['gold'] }]),
      lane('c', [{ tiers: ['gold'] }]),
    ]);
    expect(laneFor(lanes, subject).name).toBe('b');
    expect(laneFor(lanes, { ...subject, tier: 'none' }).name).toBe('a');
  });
});
