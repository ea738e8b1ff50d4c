/** One endpoint for each address of a name: which come, which stay, which go. */
import { describe, expect, it } from 'vitest';
import type { PoolConfig } from '../../../src/config/config.ts';
import {
  type AddressState,
  type AddressUses,
  addressedPool,
  addressOf,
  followAddresses,
  MOST_ADDRESSES,
} from '../../../src/service/addressed-pools.ts';
import { configOf, minimal } from '../config/parse.ts';

const poolOf = (settings: object): PoolConfig => {
  const pool = configOf({ ...minimal(), pools: { main: settings } }).pools.get('main');
  if (pool === undefined) throw new Error('there is one');
  return pool;
};
const uses = (text: Readonly<Record<string, 'listed' | 'kept' | 'leaving'>>): AddressUses =>
  new Map(Object.entries(text));
const states =
  (known: Readonly<Record<string, AddressState>>) =>
  (address: string): AddressState | undefined =>
    known[address];
const busy = { healthy: true, inFlight: 3 };
const idle = { healthy: true, inFlight: 0 };
const dead = { healthy: false, inFlight: 0 };

describe('an address', () => {
  it.each<[string, AddressUses, string[], Record<string, AddressState>, Record<string, string>]>([
    ['comes', uses({}), ['a'], {}, { a: 'listed' }],
    ['stays', uses({ a: 'listed' }), ['b', 'a'], { a: idle }, { a: 'listed', b: 'listed' }],
    [
      'that is not listed any more leaves when its requests have ended',
      uses({ a: 'listed', b: 'listed' }),
      ['b'],
      { a: busy, b: idle },
      { b: 'listed', a: 'leaving' },
    ],
    [
      'without requests is gone at once',
      uses({ a: 'listed', b: 'listed' }),
      ['b'],
      { a: idle, b: idle },
      { b: 'listed' },
    ],
    [
      'that left is gone when it is empty',
      uses({ a: 'leaving', b: 'listed' }),
      ['b'],
      { a: idle, b: idle },
      { b: 'listed' },
    ],
    [
      'that left comes back',
      uses({ a: 'leaving', b: 'listed' }),
      ['a', 'b'],
      { a: busy, b: idle },
      { a: 'listed', b: 'listed' },
    ],
    [
      'serves on until one of those that replace it can',
      uses({ a: 'listed' }),
      ['b'],
      { a: idle },
      { b: 'listed', a: 'kept' },
    ],
    [
      'was kept, and its place is taken',
      uses({ a: 'kept', b: 'listed' }),
      ['b'],
      { a: busy, b: idle },
      { b: 'listed', a: 'leaving' },
    ],
    ['that is dead is not kept', uses({ a: 'listed' }), ['b'], { a: dead }, { b: 'listed' }],
    [
      'that is dead and has requests has them to their end',
      uses({ a: 'listed' }),
      ['b'],
      { a: { healthy: false, inFlight: 1 } },
      { b: 'listed', a: 'leaving' },
    ],
  ])('%s', (_name, known, listed, known2, expected) => {
    expect(Object.fromEntries(followAddresses(known, listed, states(known2)))).toEqual(expected);
  });

  it('has its use whatever the order of an answer', () => {
    const all = Array.from({ length: 50 }, (_, i) => `10.0.0.${i}`);
    const first = followAddresses(new Map(), all, states({}));
    expect([...followAddresses(first, all.toReversed(), () => idle)]).toEqual([...first]);
    expect(first.size).toBe(50);
  });

  it('is one of a bounded number, and those in use come first', () => {
    const all = Array.from({ length: 300 }, (_, i) => `a${i}`);
    const first = followAddresses(new Map(), all.slice(100), states({}));
    expect(first.size).toBe(MOST_ADDRESSES);
    expect(new Set(followAddresses(first, all, () => busy).keys())).toEqual(new Set(first.keys()));
    let now: AddressUses = first;
    for (let i = 0; i < 50; i += 1) {
      now = followAddresses(
        now,
        Array.from({ length: 100 }, (_, n) => `${i}-${n}`),
        () => busy,
      );
      expect(now.size).toBeLessThanOrEqual(2 * MOST_ADDRESSES);
    }
  });
});

describe('a pool', () => {
  const A = 'http://a.test:8000';
  const B = 'http://b.test:8000';

  it('has an endpoint for each address, called by its name where that has one', () => {
    const pool = poolOf({ endpoints: [A, B, 'http://[fd00::9]:1', 'http://c.test:1'] });
    const { config, labels } = addressedPool(pool, (url) =>
      url === A
        ? uses({ '10.0.0.1': 'listed', 'fd00::2': 'listed' })
        : url === B
          ? uses({ '10.0.0.3': 'listed', '10.0.0.4': 'leaving' })
          : undefined,
    );
    expect(config.endpoints.map((one) => [one.url, addressOf(one), labels.get(one.url)])).toEqual([
      [`${A}#10.0.0.1`, '10.0.0.1:8000', `${A}#10.0.0.1`],
      [`${A}#fd00::2`, '[fd00::2]:8000', `${A}#fd00::2`],
      [`${B}#10.0.0.3`, '10.0.0.3:8000', B],
      [`${B}#10.0.0.4`, '10.0.0.4:8000', `${B}#10.0.0.4`],
      ['http://[fd00::9]:1', '[fd00::9]:1', 'http://[fd00::9]:1'],
      ['http://c.test:1', 'c.test:1', 'http://c.test:1'],
    ]);
    expect(config.endpoints.map(({ host }) => host)).toEqual([
      'a.test',
      'a.test',
      'b.test',
      'b.test',
      'fd00::9',
      'c.test',
    ]);
  });

  it('drains, isolates and places all addresses of a name that settings name, and drains those that leave', () => {
    const pool = poolOf({
      endpoints: [A, B],
      drain: [A],
      routing: 'slow-client-isolation',
      choice: { slowClients: [A], zones: { eu: [B] } },
    });
    const { config } = addressedPool(pool, (url) =>
      url === A
        ? uses({ '10.0.0.1': 'listed', '10.0.0.2': 'listed' })
        : uses({ '10.0.0.3': 'listed', '10.0.0.4': 'leaving' }),
    );
    expect(config.drain).toEqual([`${A}#10.0.0.1`, `${A}#10.0.0.2`, `${B}#10.0.0.4`]);
    expect(config.choice.slowClients).toEqual([`${A}#10.0.0.1`, `${A}#10.0.0.2`]);
    expect([...config.choice.zones]).toEqual([['eu', [`${B}#10.0.0.3`, `${B}#10.0.0.4`]]]);
  });

  it('has one endpoint where two names, or a name and an address, are the same place', () => {
    const pool = poolOf({ endpoints: [A, B, 'http://10.0.0.3:8000'], drain: [B] });
    const { config, configured } = addressedPool(pool, (url) =>
      url === A
        ? uses({ '10.0.0.1': 'leaving', '10.0.0.3': 'listed' })
        : uses({ '10.0.0.1': 'listed', '10.0.0.2': 'listed' }),
    );
    expect(config.endpoints.map(addressOf)).toEqual(['10.0.0.1:8000', '10.0.0.2:8000', '10.0.0.3:8000']);
    expect(configured.get(`${A}#10.0.0.1`)).toEqual([A, B]);
    expect(configured.get('http://10.0.0.3:8000')).toEqual(['http://10.0.0.3:8000', A]);
    expect(config.drain).toEqual([`${A}#10.0.0.1`, `${B}#10.0.0.2`]);
  });
});
