import { describe, expect, it } from 'vitest';
import { Headroom } from '../../../src/queue/headroom.ts';

describe('the headroom', () => {
  const steady = (quietPerSecond: number, endsPerSecond: number) => {
    const headroom = new Headroom();
    for (let ms = 0; ms < 60_000; ms += 1) {
      if (ms % (1_000 / endsPerSecond) < 1) headroom.slotFreed(ms);
      if (ms % (1_000 / quietPerSecond) < 1) {
        headroom.arrived('quiet', ms);
      }
    }
    return headroom;
  };

  it('grows with the quiet requests that come while a slot comes free, up to a sixteenth of the window', () => {
    expect(steady(1, 100).slots(256, 'auto', 60_000)).toBe(1);
    expect(steady(1, 20).slots(256, 'auto', 60_000)).toBe(2);
    expect(steady(10, 20).slots(256, 'auto', 60_000)).toBe(7);
    expect(steady(10, 20).slots(64, 'auto', 60_000)).toBe(4);
    expect(steady(20, 10).slots(64, 'auto', 60_000)).toBe(4);
    expect(steady(10, 20).slots(16, 'auto', 60_000)).toBe(1);
    expect(steady(10, 20).slots(3, 'auto', 60_000)).toBe(0);
  });

  it('is what is configured while anybody quiet is active, and leaves a slot to the others', () => {
    const headroom = steady(1, 20);
    expect([0, 5, 64].map((configured) => headroom.slots(64, configured, 60_000))).toEqual([0, 5, 63]);
    expect(headroom.slots(64, 5, 95_000)).toBe(0);
  });

  it('is never idle for ever: nobody quiet for half a minute, no headroom', () => {
    const headroom = steady(1, 20);
    expect(headroom.slots(64, 'auto', 88_000)).toBe(2);
    expect(headroom.slots(64, 'auto', 95_000)).toBe(0);
  });

  it('is nothing for a tenant that has requests waiting for their turn', () => {
    const headroom = steady(1, 20);
    headroom.backlogged('quiet');
    expect(headroom.slots(64, 'auto', 60_000)).toBe(0);
  });

  it('is known for a request of a quiet tenant before it is noted', () => {
    for (const headroom of [new Headroom(), steady(1, 20), steady(10, 20)]) {
      for (const nowMs of [60_000, 61_000, 95_000]) {
        const would = headroom.slots(256, 'auto', nowMs, true);
        headroom.arrived('another', nowMs);
        expect(headroom.slots(256, 'auto', nowMs)).toBe(would);
      }
    }
  });
});
