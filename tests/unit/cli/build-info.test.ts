import { describe, expect, it } from 'vitest';
import { commitOf, versionText } from '../../../src/cli/build-info.ts';

describe('the version', () => {
  it('has the commit and Node.js', () => {
    expect(versionText('0.1.0', 'abc1234', '20.20.2')).toBe('0.1.0 (abc1234, Node.js 20.20.2)');
    expect(versionText('0.1.0', undefined, '20.20.2')).toBe('0.1.0 (unknown, Node.js 20.20.2)');
  });

  it.each(['abc1234', 'abc1234-dirty', 'a'.repeat(40)])('believes %s', (text) => {
    expect(commitOf(text)).toBe(text);
  });

  it.each([undefined, null, 7, '', 'abc', 'main', 'abc1234\n', 'a'.repeat(41)])(
    'does not believe %j',
    (text) => {
      expect(commitOf(text)).toBeUndefined();
    },
  );
});
