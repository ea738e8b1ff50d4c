import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { hashesArePredictable, isSeeded, NODE_RANGE, nodeProblem } from '../../../src/cli/node-version.ts';

const never = (): boolean => {
  throw new Error('is measured');
};

describe('the floor of Node.js', () => {
  it.each([
    ['18.20.8', false],
    ['20.19.5', false],
    ['20.20.1', false],
    ['20.20.2', true],
    ['20.21.0', true],
    ['21.7.3', false],
    ['22.9.9', false],
    ['22.22.1', false],
    ['22.22.2', true],
    ['22.23.0', true],
    ['23.11.1', false],
    ['24.4.0', false],
    ['24.14.0', false],
    ['24.14.1', true],
    ['24.15.0', true],
    ['25.8.1', false],
    ['25.8.2', true],
    ['26.0.0', true],
    ['26.0.0-rc.1', false],
    ['26.1.0-nightly20260601', true],
    ['27.0.0-nightly20261101', true],
    ['30.1.2', true],
    ['', false],
    ['v24', false],
  ])('%s: %s', (version, good) => {
    expect(isSeeded(version)).toBe(good);
    expect(nodeProblem(version, () => true) === undefined).toBe(good);
  });

  it('measures only what is below it, and lets pass what a distribution has mended', () => {
    expect(nodeProblem('24.14.1', never)).toBeUndefined();
    expect(nodeProblem('20.19.2', () => false)).toBeUndefined();
  });

  it('says what it is about, and what to install', () => {
    const problem = nodeProblem('22.22.1', () => true);
    expect(problem).toContain('Node.js 22.22.1 has predictable string hashes (CVE-2026-21717)');
    for (const good of ['20.20.2', '22.22.2', '24.14.1', '25.8.2', '26 or later']) {
      expect(problem).toContain(good);
    }
  });

  it('is the range of package.json and its lock file', () => {
    const read = (path: string): unknown => JSON.parse(readFileSync(path, 'utf8'));
    expect(read('package.json')).toMatchObject({ engines: { node: NODE_RANGE } });
    expect(read('package-lock.json')).toMatchObject({ packages: { '': { engines: { node: NODE_RANGE } } } });
  });

  it('is what this Node.js has, by its number and by what is measured', () => {
    expect(isSeeded(process.versions.node)).toBe(true);
    expect(hashesArePredictable(() => performance.now())).toBe(false);
  });

  it('tells slow strings from quick ones by the clock that it is given', () => {
    // Ten readings a side: the first five rounds are of strings that would meet.
    const clock = (slowMs: number, quickMs: number) => {
      let reading = 0;
      let ms = 0;
      return () => {
        if (reading % 2 === 1) ms += reading < 10 ? slowMs : quickMs;
        reading += 1;
        return ms;
      };
    };
    expect(hashesArePredictable(clock(10, 0.3))).toBe(true);
    expect(hashesArePredictable(clock(0.4, 0.3))).toBe(false);
  });
});
