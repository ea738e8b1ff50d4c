import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Limited, Quarantine } from '../../../src/admission/quarantine.ts';

const setUp = () => {
  const told: Limited[] = [];
  const quarantine = new Quarantine((change) => told.push(change));
  return { quarantine, told };
};

describe('a request that breaks on two engines', () => {
  it('limits its tenant to one at a time until one ends well', () => {
    const { quarantine, told } = setUp();
    const killer = quarantine.began('bad', 'a', 0);
    killer.brokeOn(['a', 'b'], 100);
    killer.ended('unanswered', 100);
    expect(quarantine.mostInFlight('bad')).toBe(1);
    expect(told).toEqual([{ tenant: 'bad', limited: true, endpoints: ['a', 'b'], untilWell: 1 }]);
    quarantine.began('bad', 'c', 200).ended('answered', 210);
    quarantine.began('bad', 'c', 200).ended('unanswered', 210);
    expect(quarantine.isLimited('bad')).toBe(true);
    quarantine.began('bad', 'c', 220).ended('well', 230);
    expect(quarantine.isLimited('bad')).toBe(false);
    expect(quarantine.mostInFlight('bad')).toBe(Number.POSITIVE_INFINITY);
    expect(told.at(-1)).toMatchObject({ tenant: 'bad', limited: false });
  });

  it('explains both deaths: those who were there are not limited', () => {
    const { quarantine } = setUp();
    const killer = quarantine.began('bad', 'a', 0);
    const there = ['a', 'b', 'c'].map((address) => quarantine.began('good', address, 0));
    killer.brokeOn(['a', 'b'], 100);
    quarantine.died('a', 120);
    quarantine.died('b', 130);
    there[0]?.movedTo('c', 140);
    there[1]?.movedTo('c', 150);
    expect(quarantine.isLimited('bad')).toBe(true);
    expect(quarantine.isLimited('good')).toBe(false);
  });

  it('also where there is but one engine, which it broke twice', () => {
    const { quarantine } = setUp();
    quarantine.began('bad', 'a', 0).brokeOn(['a', 'a'], 100);
    expect(quarantine.isLimited('bad')).toBe(true);
  });

  it('takes twice as many to end well each time, and is forgiven after a while', () => {
    const { quarantine, told } = setUp();
    const kill = (atMs: number): void => {
      const ride = quarantine.began('bad', 'a', atMs);
      ride.brokeOn(['a', 'b'], atMs);
      ride.ended('unanswered', atMs);
    };
    let ms = 0;
    for (const needed of [1, 2, 4, 8]) {
      kill((ms += 1_000));
      expect(told.at(-1)).toMatchObject({ limited: true, untilWell: needed });
      for (let i = 0; i < needed; i += 1) {
        expect(quarantine.isLimited('bad')).toBe(true);
        quarantine.began('bad', 'c', ms).ended('well', (ms += 10));
      }
      expect(quarantine.isLimited('bad')).toBe(false);
    }
    kill(ms + 700_000);
    expect(told.at(-1)).toMatchObject({ limited: true, untilWell: 1 });
  });

  it('once more while it is limited begins anew', () => {
    const { quarantine } = setUp();
    quarantine.began('bad', 'a', 0).brokeOn(['a', 'b'], 0);
    quarantine.began('bad', 'a', 20_000).brokeOn(['a', 'b'], 20_000);
    quarantine.began('bad', 'c', 20_001).ended('well', 20_002);
    expect(quarantine.isLimited('bad')).toBe(false);
  });
});

describe('a death that nothing explains', () => {
  it('counts for all who were there, and two limit them', () => {
    const { quarantine } = setUp();
    quarantine.began('x', 'a', 0);
    quarantine.began('x', 'b', 0);
    quarantine.began('y', 'b', 0);
    quarantine.died('a', 100);
    expect(quarantine.isLimited('x')).toBe(false);
    quarantine.died('b', 30_000);
    expect(quarantine.isLimited('x')).toBe(true);
    expect(quarantine.isLimited('y')).toBe(false);
  });

  it('takes one that ends well, each time, of who was merely there', () => {
    const { quarantine, told } = setUp();
    for (let ms = 0; ms < 300_000; ms += 60_000) {
      const rides = ['a', 'b'].map((address) => quarantine.began('x', address, ms));
      quarantine.died('a', ms + 100);
      quarantine.died('b', ms + 200);
      expect(told.at(-1)).toMatchObject({ tenant: 'x', limited: true, untilWell: 1 });
      for (const ride of rides) ride.ended('unanswered', ms + 300);
      quarantine.began('x', 'c', ms + 400).ended('well', ms + 500);
      expect(quarantine.isLimited('x')).toBe(false);
    }
  });

  it('is one, however often it is told, and past after a minute', () => {
    const { quarantine } = setUp();
    const one = quarantine.began('x', 'a', 0);
    one.brokeOn(['a'], 100);
    one.brokeOn(['a'], 101);
    quarantine.died('a', 200);
    quarantine.died('a', 2_000);
    expect(quarantine.isLimited('x')).toBe(false);
    quarantine.began('x', 'b', 70_000);
    quarantine.died('b', 70_100);
    expect(quarantine.isLimited('x')).toBe(false);
  });

  it('counts for those who left a moment before without an answer, and not for those who had one', () => {
    const { quarantine } = setUp();
    for (const [address, atMs] of [
      ['a', 0],
      ['b', 20_000],
    ] as const) {
      quarantine.began('left', address, atMs).ended('unanswered', atMs + 50);
      quarantine.began('served', address, atMs).ended('well', atMs + 50);
      quarantine.began('refused', address, atMs).ended('answered', atMs + 50);
      quarantine.died(address, atMs + 1_000);
    }
    expect(['left', 'served', 'refused'].map((name) => quarantine.isLimited(name))).toEqual([
      true,
      false,
      false,
    ]);
  });
});

it('whatever happens: nobody is limited without two deaths, and who ends enough well is free', () => {
  const step = fc.record({
    what: fc.constantFrom('begin', 'move', 'break', 'well', 'answered', 'unanswered', 'die'),
    tenant: fc.constantFrom('x', 'y', 'z'),
    address: fc.constantFrom('a', 'b', 'c'),
    afterMs: fc.nat(20_000),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const { quarantine, told } = setUp();
      const rides = new Map<string, ReturnType<Quarantine['began']>>();
      let ms = 0;
      let deaths = 0;
      for (const { what, tenant, address, afterMs } of steps) {
        ms += afterMs;
        const ride = rides.get(tenant);
        if (what === 'die') quarantine.died(address, ms);
        else if (what === 'begin') rides.set(tenant, quarantine.began(tenant, address, ms));
        else if (what === 'move') ride?.movedTo(address, ms);
        else if (what === 'break') ride?.brokeOn([address], ms);
        else ride?.ended(what, ms);
        if (what === 'die' || what === 'break') deaths += 1;
        if (deaths < 2) expect(told).toEqual([]);
      }
      for (const tenant of ['x', 'y', 'z']) {
        for (let i = 0; i < 64; i += 1) quarantine.began(tenant, 'd', ms).ended('well', ms);
        expect(quarantine.isLimited(tenant)).toBe(false);
      }
    }),
  );
});
