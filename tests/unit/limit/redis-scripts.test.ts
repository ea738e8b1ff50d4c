import { describe, expect, it } from 'vitest';
import { LEASE_SCRIPT } from '../../../src/limit/redis-lease-script.ts';
import { RedisScript } from '../../../src/limit/redis-scripts.ts';

describe('the arguments of a script', () => {
  const script = new RedisScript(
    { name: 'text', amount: 'number', seed: 'optional', divides: 'flag' },
    'return rest\n',
  );

  it('are read and sent in the order of their names', () => {
    expect(script.text).toBe(
      "local name, amount, seed, divides = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4] == '1'\n" +
        'local rest = 5\nreturn rest\n',
    );
    expect(script.argumentsOf({ divides: true, seed: 0, amount: 2.5, name: 'a' }, ['c3', -1])).toEqual([
      'a',
      2.5,
      0,
      1,
      'c3',
      -1,
    ]);
    expect(script.argumentsOf({ name: '', amount: 0, seed: undefined, divides: false })).toEqual([
      '',
      0,
      '',
      0,
    ]);
  });

  it('tell one script from another', () => {
    expect(script.sha).toMatch(/^[0-9a-f]{40}$/);
    expect(script.sha).not.toBe(LEASE_SCRIPT.sha);
    expect(new RedisScript({ amount: 'number' }, 'return rest\n').sha).not.toBe(script.sha);
  });
});
