import { describe, expect, it } from 'vitest';
import { configOf, minimal, put, type Settings } from './parse.ts';

const MiB = 1024 ** 2;
const limitsOf = (written: Readonly<Record<string, unknown>>): readonly number[] => {
  const settings = Object.entries(written).reduce(
    (all: Settings, [path, value]) => put(all, path, value),
    minimal(),
  );
  const { maxBodyBytes, maxUnsizedBodyBytes } = configOf(settings).envoy;
  return [maxBodyBytes / MiB, maxUnsizedBodyBytes / MiB];
};

describe('the largest body without a length', () => {
  it.each([
    ['is smaller than the largest by default', {}, [32, 8]],
    ['is what was written for all', { 'envoy.maxBodySize': '64MiB' }, [64, 64]],
    ['is what was written for it', { 'envoy.maxUnsizedBodySize': '1MiB' }, [32, 1]],
    [
      'is what was written for each',
      { 'envoy.maxBodySize': '64MiB', 'envoy.maxUnsizedBodySize': '16MiB' },
      [64, 16],
    ],
    [
      'is never above the largest',
      { 'envoy.maxBodySize': '4MiB', 'envoy.maxUnsizedBodySize': '16MiB' },
      [4, 4],
    ],
    ['follows the smallest bound of memory', { 'queue.maxQueuedSize': '2MiB' }, [2, 2]],
  ])('%s', (_, written, expected) => {
    expect(limitsOf(written)).toEqual(expected);
  });
});
