import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DEFAULT_LANE, type LaneConfig } from '../../../src/config/config.ts';
import { Lanes } from '../../../src/queue/lanes.ts';

const laneOf = (name: string, weight = 1): LaneConfig => ({ ...DEFAULT_LANE, name, weight });

describe('the lanes of a pool', () => {
  it('are served in proportion to their weights while all have requests, whatever comes free when', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 2, maxLength: 4 }),
        fc.array(fc.nat(3), { maxLength: 60 }),
        (weights, frees) => {
          const lanes = new Lanes<number>(
            weights.map((weight, i) => laneOf(`l${i}`, weight)),
            100,
          );
          const list = [...lanes];
          list.forEach((lane, i) => lane.queue.push('a', 1, 10, i, 0));
          // The item is the lane's number: it stays in the queue, so every lane always has one.
          const go = (): void => {
            const next = list[lanes.next(0) ?? -1];
            if (next === undefined) throw new Error('nothing waits');
            for (const { inFlight, weight } of list) {
              expect(next.inFlight * weight).toBeLessThanOrEqual(inFlight * next.weight);
            }
            next.inFlight += 1;
          };
          for (let i = 0; i < 40; i += 1) go();
          for (const free of frees) {
            const lane = list[free % list.length];
            if (lane === undefined || lane.inFlight === 0) continue;
            lane.inFlight -= 1;
            go();
          }
        },
      ),
    );
  });

  it('lend what they do not use, and pass over tenants that may not go', () => {
    const lanes = new Lanes<string>([laneOf('chat'), laneOf('batch')], 100);
    const [chat, batch] = [lanes.named('chat'), lanes.named('batch')];
    batch.queue.push('a', 1, 10, 'batch', 0);
    batch.inFlight = 100;
    expect(lanes.next(0)).toBe('batch');
    chat.queue.push('b', 1, 10, 'chat', 0);
    expect(lanes.next(0)).toBe('chat');
    lanes.setEligible('b', false);
    expect(lanes.next(0)).toBe('batch');
    lanes.setEligible('a', false);
    expect(lanes.next(0)).toBeUndefined();
  });

  it('keep what they have in flight over a new configuration, and lose their queues', () => {
    const lanes = new Lanes<string>([laneOf('chat'), laneOf('batch')], 100);
    const chat = lanes.named('chat');
    chat.inFlight = 3;
    chat.queue.push('a', 1, 10, 'x', 0);
    lanes.reconfigure([laneOf('new'), laneOf('chat', 5)], 50);
    expect([...lanes].map(({ name, weight, inFlight }) => [name, weight, inFlight])).toEqual([
      ['new', 1, 0],
      ['chat', 5, 3],
    ]);
    expect(lanes.named('chat')).toBe(chat);
    expect(lanes.named('batch').name).toBe('new');
    expect(chat.queue.size()).toBe(0);
  });
});
