/** Owners of ids in Redis: whatever it answers, or does not, nobody waits longer than may be and nothing is thrown. */
import { describe, expect, it } from 'vitest';
import { createRedisOwners } from '../../../src/limit/redis-owners.ts';

const LIFE_MS = 1_000;

function owners(reply: () => Promise<unknown>, isUp = true) {
  const calls: { readonly key: string; readonly args: readonly (string | number)[] }[] = [];
  const made = createRedisOwners({
    scripts: {
      run: (_script, key, args) => {
        calls.push({ key, args });
        return reply();
      },
      commands: () => calls.length,
    },
    isUp: () => isUp,
    keyPrefix: 'fairlane:',
    maxWaitMs: 20,
  });
  return { made, calls };
}
const failing = () => Promise.reject(new Error('NOPERM'));
const never = () => new Promise<never>(() => undefined);

describe('owners in Redis', () => {
  it('are asked for by the hash of an id, whatever the id', async () => {
    const { made, calls } = owners(() => Promise.resolve(['owner', '12']));
    expect(await made.ask('resp_1')).toEqual({ owner: 'owner', tokens: 12 });
    await made.tell(`resp_${'x'.repeat(10_000)}\r\n`, 'owner', 1.4, LIFE_MS);
    made.forget('resp_1', 'owner');
    for (const { key } of calls) expect(key).toMatch(/^fairlane:\{response:[0-9a-f]{64}\}$/);
    expect(calls[1]?.args).toEqual(['1', 'owner', '1000']);
  });

  it.each<[unknown]>([[[]], [null], ['text'], [[1, 2]], [{}], [undefined]])('%j is nobody', async (reply) => {
    expect(await owners(() => Promise.resolve(reply)).made.ask('resp_1')).toBe('unknown');
  });

  it('are not sure when Redis is late, refuses or is away', async () => {
    expect(await owners(never).made.ask('resp_1')).toBe('unsure');
    expect(await owners(failing).made.ask('resp_1')).toBe('unsure');
    const { made, calls } = owners(never, false);
    expect(await made.ask('resp_1')).toBe('unsure');
    expect(await made.tell('resp_1', 'owner', 1, LIFE_MS)).toBeUndefined();
    made.forget('resp_1', 'owner');
    expect(calls).toEqual([]);
  });

  it('say who was there before', async () => {
    expect(await owners(() => Promise.resolve('another')).made.tell('resp_1', 'owner', 1, LIFE_MS)).toBe(
      'another',
    );
    expect(
      await owners(() => Promise.resolve(null)).made.tell('resp_1', 'owner', 1, LIFE_MS),
    ).toBeUndefined();
    expect(await owners(failing).made.tell('resp_1', 'owner', 1, LIFE_MS)).toBeUndefined();
    owners(failing).made.forget('resp_1', 'owner');
  });

  it('pile nothing up on a Redis that does not answer', () => {
    const { made, calls } = owners(never);
    for (let i = 0; i < 5_000; i += 1) void made.tell(`resp_${i}`, 'owner', 1, LIFE_MS);
    expect(calls).toHaveLength(1_000);
  });
});
