import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { loadLimits } from '../../../src/rate-limit-service/limits-config.ts';

const load = (text: string, mergeDomains = false) => loadLimits([{ name: 'f.yaml', text }], mergeDomains);
const problem = (text: string): string => {
  const loaded = load(text);
  return loaded.kind === 'bad' ? loaded.problem : 'ok';
};
const descriptor = (text: string): string => `domain: d\ndescriptors:\n  - ${text}\n`;

describe('rate limit files', () => {
  it.each([
    ['second', 1_000],
    ['minute', 60_000],
    ['hour', 3_600_000],
    ['DAY', 86_400_000],
    ['week', 7 * 86_400_000],
    ['month', 30 * 86_400_000],
    ['Year', 365 * 86_400_000],
  ])('know the unit %s', (unit, unitMs) => {
    const loaded = load(descriptor(`{ key: k, rate_limit: { unit: ${unit}, requests_per_unit: 5 } }`));
    if (loaded.kind === 'bad') throw new Error(loaded.problem);
    const limit = loaded.domains.get('d')?.children.get('k')?.limit;
    expect(limit?.rate?.stored).toEqual({ amount: 5, unitMs });
    expect(limit?.fullKey).toBe('d.k');
  });

  it.each([
    ['', 'f.yaml: config file cannot have empty domain'],
    ['[]', 'f.yaml: error loading config file: yaml: unmarshal errors: line 1: the file must be a mapping'],
    ['domain: [', 'f.yaml: error loading config file: '],
    ['descriptors: []', 'f.yaml: config file cannot have empty domain'],
    ['domain: ""', 'f.yaml: config file cannot have empty domain'],
    ['domain: d\nnope: 1', "f.yaml: config error, unknown key 'nope'"],
    [descriptor('{ key: k, rate_limit: { unitt: day } }'), "f.yaml: config error, unknown key 'unitt'"],
    [
      'domain: d\ndescriptors: [text]',
      'f.yaml: config error, yaml file contains list of type other than map: text',
    ],
    [
      'domain: d\ndescriptors: 5',
      'f.yaml: error loading config file: yaml: unmarshal errors: line 2: descriptors must be a list',
    ],
    [descriptor('{ value: v }'), 'f.yaml: descriptor has empty key'],
    [descriptor('{ key: k }\n  - { key: k }'), "f.yaml: duplicate descriptor composite key 'd.k'"],
    [
      descriptor('{ key: a, descriptors: [{ key: k, value: v }, { key: k, value: v }] }'),
      "f.yaml: duplicate descriptor composite key 'd.a.k_v'",
    ],
    [
      descriptor('{ key: k, rate_limit: { unit: fortnight } }'),
      "f.yaml: invalid rate limit unit 'fortnight'",
    ],
    [descriptor('{ key: k, rate_limit: { requests_per_unit: 5 } }'), "f.yaml: invalid rate limit unit ''"],
    [
      descriptor('{ key: k, rate_limit: { unlimited: true, unit: day } }'),
      'f.yaml: should not specify rate limit unit when unlimited',
    ],
    [
      descriptor('{ key: k, rate_limit: { unit: day, requests_per_unit: -1 } }'),
      'f.yaml: error loading config file: yaml: unmarshal errors: line 3: requests_per_unit must be a whole number',
    ],
    [
      descriptor('{ key: k, rate_limit: { unit: day, requests_per_unit: 4294967296 } }'),
      'f.yaml: error loading config file: yaml: unmarshal errors: line 3: requests_per_unit must be a whole number',
    ],
    [
      descriptor('{ key: k, rate_limit: { unit: day, name: n, replaces: [{ name: n }] } }'),
      'f.yaml: replaces should not contain name of same descriptor',
    ],
    [
      descriptor('{ key: k, rate_limit: { unit: day, replaces: [{}] } }'),
      'f.yaml: should not have an empty replaces entry',
    ],
    [
      descriptor('{ key: k, shadow_mode: maybe }'),
      'f.yaml: error loading config file: yaml: unmarshal errors: line 3: shadow_mode must be true or false',
    ],
    [
      descriptor('{ key: k, shadow_mode: maybe, rate_limit: { unit: day } }'),
      'f.yaml: error loading config file: yaml: unmarshal errors: line 3: shadow_mode must be true or false',
    ],
  ])('%j: %s', (text, expected) => {
    expect(problem(text)).toContain(expected);
  });

  it('are one domain each, unless domains may be merged', () => {
    const files = ['a', 'b'].map((key) => ({ name: `${key}.yaml`, text: descriptor(`{ key: ${key} }`) }));
    expect(loadLimits(files, false)).toEqual({
      kind: 'bad',
      problem: "b.yaml: duplicate domain 'd' in config file",
    });
    const merged = loadLimits(files, true);
    expect(merged.kind === 'ok' && [...(merged.domains.get('d')?.children.keys() ?? [])]).toEqual(['a', 'b']);
  });

  it('take numbers for values, as YAML writes them', () => {
    const loaded = load(
      descriptor('{ key: status, value: 404, rate_limit: { unit: day, requests_per_unit: 1 } }'),
    );
    expect(loaded.kind === 'ok' && loaded.domains.get('d')?.children.has('status_404')).toBe(true);
  });

  it('that are nested without end, aliases included, are refused and do not hang', () => {
    expect(problem(`domain: d\ndescriptors:\n${'- key: k\n  descriptors:\n  '.repeat(1)}`)).toBe('ok');
    let nested = '{ key: k }';
    for (let i = 0; i < 200; i += 1) nested = `{ key: k, descriptors: [${nested}] }`;
    expect(problem(descriptor(nested))).toContain('levels deep');
    const bomb = `domain: d\nkey: &a [${Array.from({ length: 9 }, () => '{ key: x }').join(', ')}]\n`;
    expect(problem(`${bomb}descriptors: *a`)).toBeTypeOf('string');
  });

  it('never make it throw, whatever they are', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        expect(['ok', 'bad']).toContain(load(text).kind);
      }),
    );
  });
});
