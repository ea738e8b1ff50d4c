import { describe, expect, it } from 'vitest';
import { BodyQueue } from '../../../src/admission/body-queue.ts';
import { STEP_BYTES } from '../../../src/openai/json/reader.ts';
import { NAMES } from '../../../src/openai/names.ts';

/** Turns of an event loop by hand; each look at the clock takes a millisecond. */
function loop() {
  let nowMs = 0;
  const turns: (() => void)[] = [];
  const bugs: unknown[] = [];
  const queue = new BodyQueue({
    now: () => {
      nowMs += 1;
      return nowMs;
    },
    later: (callback) => turns.push(callback),
    onBug: (error) => bugs.push(error),
  });
  return {
    queue,
    bugs,
    turn: () => {
      const due = turns.splice(0);
      for (const callback of due) callback();
      return due.length;
    },
  };
}
const bodyOf = (steps: number): Buffer => Buffer.from(`{"a":"${'x'.repeat(steps * STEP_BYTES - 100)}"}`);

describe('a body of ordinary length', () => {
  it('is read at once while nobody waits, one in a turn', () => {
    const { queue, turn } = loop();
    const long = bodyOf(4);
    expect(queue.atOnce(bodyOf(1), NAMES)?.kind).toBe('ok');
    // Each look at the clock takes as long as it may.
    expect(queue.atOnce(bodyOf(1), NAMES)?.kind).toBe('ok');
    expect(queue.atOnce(long, NAMES)).toBeUndefined();
    const patient = new BodyQueue({ now: () => 0, later: () => undefined, onBug: () => undefined });
    expect(patient.atOnce(long, NAMES)?.kind).toBe('ok');
    expect(patient.atOnce(long, NAMES)).toBeUndefined();
    expect(patient.atOnce(bodyOf(1), NAMES)?.kind).toBe('ok');
    turn();
  });

  it('is not read twice: what was read at once is not read again', () => {
    const turnsFor = (steps: number, isBegun: boolean): number => {
      const { queue, turn } = loop();
      const body = bodyOf(steps);
      const done: string[] = [];
      expect(queue.atOnce(isBegun ? body : bodyOf(steps), NAMES)).toBeUndefined();
      queue.read('a', body, NAMES, ({ kind }) => done.push(kind));
      let turns = 0;
      while (turn() > 0) turns += 1;
      expect([done, queue.size()]).toEqual([['ok'], 0]);
      return turns;
    };
    // A turn has a few steps, and one of them was done at once.
    const saved = [3, 4, 5, 6, 7].map((steps) => turnsFor(steps, false) - turnsFor(steps, true));
    expect(saved.every((turns) => turns === 0 || turns === 1)).toBe(true);
    expect(saved).toContain(1);
  });

  it('waits for its turn behind those that wait, and when it is larger', () => {
    let later: () => void = () => undefined;
    const queue = new BodyQueue({
      now: () => 0,
      later: (callback) => {
        later = callback;
      },
      onBug: () => undefined,
    });
    expect(queue.atOnce(bodyOf(40), NAMES)).toBeUndefined();
    expect(queue.atOnce(bodyOf(4), NAMES)?.kind).toBe('ok');
    later();
    expect(queue.atOnce(bodyOf(4), NAMES)?.kind).toBe('ok');
    later();
    queue.read('a', bodyOf(4), NAMES, () => undefined);
    expect(queue.atOnce(bodyOf(4), NAMES)).toBeUndefined();
  });
});

describe('large bodies', () => {
  it('are read over several turns, and are what they are', () => {
    const { queue, turn } = loop();
    const done: string[] = [];
    queue.read('a', bodyOf(40), NAMES, ({ kind }) => done.push(kind));
    queue.read('a', Buffer.from('{"a":'), NAMES, ({ kind }) => done.push(kind));
    expect(done).toEqual([]);
    let turns = 0;
    while (turn() > 0) turns += 1;
    expect(done).toEqual(['ok', 'bad']);
    expect(turns).toBeGreaterThan(8);
    expect(queue.size()).toBe(0);
  });

  it('of one tenant wait for each other, those of another do not wait for them', () => {
    const { queue, turn } = loop();
    const done: string[] = [];
    for (let i = 0; i < 20; i += 1) queue.read('noisy', bodyOf(20), NAMES, () => done.push('noisy'));
    turn();
    turn();
    queue.read('quiet', bodyOf(8), NAMES, () => done.push('quiet'));
    let turns = 0;
    while (!done.includes('quiet')) {
      turn();
      turns += 1;
    }
    expect(turns).toBeLessThan(10);
    expect(done.length).toBeLessThan(4);
  });

  it('that are not wanted any more are not read on', () => {
    const { queue, turn } = loop();
    const done: string[] = [];
    const first = queue.read('a', bodyOf(20), NAMES, () => done.push('first'));
    const second = queue.read('a', bodyOf(20), NAMES, () => done.push('second'));
    queue.read('a', bodyOf(1), NAMES, () => done.push('third'));
    turn();
    first.cancel();
    second.cancel();
    second.cancel();
    expect(queue.size()).toBe(1);
    let turns = 0;
    while (turn() > 0) turns += 1;
    expect(done).toEqual(['third']);
    expect(turns).toBeLessThan(5);
  });

  it('whose taker fails leave the others in their turn', () => {
    const { queue, turn, bugs } = loop();
    const done: string[] = [];
    queue.read('a', bodyOf(1), NAMES, () => {
      throw new Error('a bug');
    });
    queue.read('b', bodyOf(1), NAMES, () => done.push('b'));
    while (turn() > 0);
    expect(done).toEqual(['b']);
    expect(bugs).toEqual([new Error('a bug')]);
  });
});
