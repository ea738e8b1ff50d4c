import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createDrains, type Drains } from '../../../src/rollout/drain.ts';

const URLS = ['e0', 'e1'];
const pool = (drained: readonly string[] = []): Drains => {
  const drains = createDrains();
  drains.reconfigure(URLS, new Set(drained), 0);
  return drains;
};

describe('an endpoint that is drained', () => {
  it('takes no requests, and is reported once when its last one has ended', () => {
    const drains = pool();
    expect(drains.drain('e0', 5)).toEqual({ kind: 'draining', last: false });
    expect(URLS.map((url) => drains.takesRequests(url))).toEqual([false, true]);
    expect(drains.sweep(() => 2, 6)).toEqual([]);
    expect(drains.sweep(() => 0, 7)).toEqual([{ url: 'e0', by: ['command'], sinceMs: 5, emptyAtMs: 7 }]);
    expect(drains.sweep(() => 0, 8)).toEqual([]);
  });
  it('is not empty any more when a retry still went there', () => {
    const drains = pool(['e0']);
    drains.sweep(() => 0, 1);
    drains.sweep(() => 1, 2);
    expect(drains.list()[0]?.emptyAtMs).toBeUndefined();
    expect(drains.sweep(() => 0, 3)).toHaveLength(1);
  });
  it('takes requests again when nobody wants it drained any more', () => {
    const drains = pool(['e0']);
    drains.drain('e0', 1);
    expect(drains.undo('e0')).toEqual({ kind: 'still' });
    expect(drains.takesRequests('e0')).toBe(false);
    drains.drain('e0', 2);
    drains.reconfigure(URLS, new Set(), 3);
    expect(drains.takesRequests('e0')).toBe(false);
    expect(drains.undo('e0')).toEqual({ kind: 'undone' });
    expect(drains.takesRequests('e0')).toBe(true);
  });
  it('may be the last one, which is told', () => {
    const drains = pool(['e0']);
    expect(drains.drain('e1', 0)).toEqual({ kind: 'draining', last: true });
  });
  it('has to be one of the pool, and is forgotten with it', () => {
    const drains = pool(['e0']);
    expect(drains.drain('elsewhere', 0)).toEqual({ kind: 'unknown' });
    expect(drains.undo('elsewhere')).toEqual({ kind: 'unknown' });
    drains.reconfigure(['e1'], new Set(['e0']), 1);
    expect(drains.list()).toEqual([]);
  });
  it('keeps the command over a reload, whatever the order of what is asked', () => {
    const arbStep = fc.constantFrom('drain', 'undo', 'config on', 'config off');
    fc.assert(
      fc.property(fc.array(arbStep, { maxLength: 30 }), (steps) => {
        const drains = pool();
        let command = false;
        let config = false;
        for (const step of steps) {
          if (step === 'drain') drains.drain('e0', 0);
          else if (step === 'undo') drains.undo('e0');
          else drains.reconfigure(URLS, new Set(step === 'config on' ? ['e0'] : []), 0);
          if (step === 'drain' || step === 'undo') command = step === 'drain';
          else config = step === 'config on';
          expect(drains.takesRequests('e0')).toBe(!command && !config);
          expect(drains.list().length).toBeLessThanOrEqual(1);
        }
      }),
    );
  });
});
