/** YAML as the reference rate limit service reads it: with gopkg.in/yaml.v2 v2.4.0, which is the source of every expectation. */
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { loadLimits } from '../../../src/rate-limit-service/limits-config.ts';
import { readLimitsFile } from '../../../src/rate-limit-service/limits-file.ts';
import { resolveScalar } from '../../../src/rate-limit-service/yaml-scalars.ts';
import { agreement, ourReading, type Reading, type Recorded, scalarFile } from '../../prove/yaml.ts';
import { cpuMs } from '../../support/cpu-time.ts';
import { goResolve } from '../../support/go-yaml-resolve.ts';

const recorded = JSON.parse(
  readFileSync(new URL('../../fixtures/rate-limit/yaml-go.json', import.meta.url), 'utf8'),
) as Recorded;

/** Of its one descriptor; undefined where the file is refused. */
const firstOf = (reading: Reading): readonly unknown[] | undefined =>
  'fields' in reading ? (JSON.parse(reading.fields) as [string, unknown[][]])[1][0] : undefined;

describe('what the Go reader said', () => {
  it('of files by chance is what is read of them', () => {
    const found = recorded.files.map(([text, theirs]) => ({
      text,
      how: agreement(ourReading(text), theirs),
    }));
    expect(found.filter(({ how }) => how === 'different')).toEqual([]);
    const same = found.filter(({ how }) => how === 'same').length;
    expect(same).toBeGreaterThan(recorded.files.length / 2);
    // Where one of them refuses the text itself.
    expect(found.filter(({ how }) => how.startsWith('only')).length).toBeLessThan(recorded.files.length / 20);
  });

  it('of scalars as a text, as a number and as a flag, too', () => {
    const differing = recorded.scalars.filter(([written, text, amount, flag]) => {
      const value = firstOf(ourReading(scalarFile('value', written)))?.[1] ?? null;
      const limit = firstOf(ourReading(scalarFile('requests_per_unit', written)))?.[2] as
        | number[]
        | undefined;
      const shadow = firstOf(ourReading(scalarFile('shadow_mode', written)))?.[4] ?? null;
      return value !== text || (limit?.[0] ?? null) !== amount || shadow !== flag;
    });
    expect(differing).toEqual([]);
    expect(recorded.scalars.length).toBeGreaterThan(1_000);
    expect(recorded.scalars.filter(([, , amount]) => amount !== null).length).toBeGreaterThan(100);
  });
});

/** Texts that are numbers in one version of YAML or another, words, dates, and what is nearly one. */
const scalars = fc.oneof(
  fc.string({ unit: fc.constantFrom(...'+-._:eExXoObBaAfFnN0123456789~'.split('')), maxLength: 12 }),
  fc
    .tuple(
      fc.constantFrom('', '-', '+'),
      fc.constantFrom('', '0', '0x', '0X', '0o', '0b', '.', '0b+', '00'),
      fc.string({ unit: fc.constantFrom(...'0123456789_'.split('')), maxLength: 24 }),
      fc.constantFrom('', '.', '.5', 'e3', 'E-12', 'e400', '_', ':30'),
    )
    .map((parts) => parts.join('')),
  fc
    .tuple(
      fc.constantFrom(...'y yes true on n no false off null .nan .inf -.inf +.inf ~ << __proto__'.split(' ')),
      fc.func(fc.boolean()),
    )
    .map(([word, isUpper]) =>
      word
        .split('')
        .map((one, i) => (isUpper(i) ? one.toUpperCase() : one))
        .join(''),
    ),
);

describe('a plain scalar', () => {
  it('is what resolve.go says, for 20,000 by chance', () => {
    fc.assert(
      fc.property(scalars, (text) => {
        const found = resolveScalar('', text, true);
        const ours = [found.kind, 'value' in found ? found.value : undefined];
        expect(ours).toEqual(goResolve(text));
      }),
      { numRuns: 20_000, seed: 15 },
    );
  });

  it.each([
    ['!!str', '1.0', '1.0'],
    ['!!int', '0x1F', '0x1F'],
    ['!!binary', 'aGVsbG8=', 'hello'],
    ['!!timestamp', '2020-02-29T1:2:3.5+01:00', '2020-02-29T1:2:3.5+01:00'],
    ['!foo', '1.0', '1.0'],
    ['!', '1.0', '1.0'],
    ['!!null', '~', ''],
  ])('with the tag %s is read by it: %s', (tag, written, text) => {
    expect(firstOf(ourReading(scalarFile('value', `${tag} "${written}"`)))?.[1]).toBe(text);
  });

  it.each([
    ['!!int', 'a', 'cannot decode !!str `a` as a !!int'],
    ['!!bool', '1', 'cannot decode !!int `1` as a !!bool'],
    ['!!timestamp', '2021-02-29', 'cannot decode !!str `2021-02-29` as a !!timestamp'],
    ['!!timestamp', '2020-01-01T24:00:00Z', 'as a !!timestamp'],
    ['!!binary', 'a', '!!binary value contains invalid base64 data'],
    ['!!binary', '/w==', '!!binary value is no UTF-8'],
    ['!!float', '5', 'error checking config'],
  ])('with the tag %s that it does not fit is refused: %s', (tag, written, problem) => {
    expect(ourReading(scalarFile('value', `${tag} ${written}`))).toEqual({
      refused: expect.stringContaining(problem) as string,
    });
  });
});

const limitOf = (text: string) => readLimitsFile(text).descriptors[0]?.rateLimit;
const problemOf = (text: string | Uint8Array): string => {
  const loaded = loadLimits([{ name: 'f', text }], false);
  return loaded.kind === 'bad' ? loaded.problem : 'ok';
};
const GOOD = 'domain: D\ndescriptors:\n  - key: k\n    value: é\n';

describe('a mapping', () => {
  it('keeps the last of what is written twice, and of a rate_limit what the last one leaves out', () => {
    const text = 'domain: E\ndomain: D\ndescriptors:\n- key: k\n  rate_limit: { unit: hour, unit: day }\n';
    expect(readLimitsFile(text).domain).toBe('D');
    expect(limitOf(`${text}  rate_limit: { requests_per_unit: 5 }\n`)).toMatchObject({
      unit: 'day',
      requestsPerUnit: 5,
    });
    expect(limitOf(`${text}  rate_limit: { requests_per_unit: 1.5, requests_per_unit: 7 }\n`)).toMatchObject({
      requestsPerUnit: 7,
    });
    expect(limitOf(`${text}  rate_limit: ~\n`)).toBeUndefined();
    expect(limitOf(`${text}  rate_limit: NULL\n`)).toMatchObject({ unit: '', requestsPerUnit: 0 });
  });

  it('is merged where its merge key stands: what comes behind wins, and what stands before loses', () => {
    const of = (second: string): string =>
      `domain: D\ndescriptors:\n- { key: a, rate_limit: &r { unit: hour, requests_per_unit: 5 } }\n- { key: k, ${second} }\n`;
    const second = (text: string) => readLimitsFile(of(text)).descriptors[1]?.rateLimit?.requestsPerUnit;
    expect(second('rate_limit: { <<: *r, requests_per_unit: 7 }')).toBe(7);
    expect(second('rate_limit: { requests_per_unit: 7, <<: *r }')).toBe(5);
    expect(second('rate_limit: { <<: [{ requests_per_unit: 9 }, *r] }')).toBe(9);
    expect(problemOf(of('rate_limit: { <<: x }'))).toContain('map merge requires map or sequence of maps');
    expect(problemOf(of('rate_limit: { "<<": *r }'))).toContain("unknown key '<<'");
  });
});

describe('a file', () => {
  it.each([
    ['a byte order mark', `\uFEFF${GOOD}`],
    ['line ends of Windows', GOOD.replaceAll('\n', '\r\n')],
    ['line ends of old Macs', GOOD.replaceAll('\n', '\r')],
    ['%YAML 1.1', `%YAML 1.1\n---\n${GOOD}`],
    ['%YAML 1.2', `%YAML 1.2\n---\n${GOOD}`],
    ['a document behind it', `${GOOD}---\ndomain: E\n`],
    ['nonsense behind it', `${GOOD}---\n[ {\n`],
    ['an end', `${GOOD}...\n`],
    ['comments', `# a\n${GOOD}# b\n`],
    ['a tab before a comment', GOOD.replace('D\n', 'D\t# c\n')],
    ['a comment at a quote', GOOD.replace('D\n', '"D"# c\n')],
  ])('with %s is taken', (_, text) => {
    const { domain, descriptors } = readLimitsFile(Buffer.from(text));
    expect([domain, descriptors.length, descriptors[0]?.value]).toEqual(['D', 1, 'é']);
  });

  it('may be UTF-16 with its mark', () => {
    const little = Buffer.from(`\uFEFF${GOOD}`, 'utf16le');
    expect(readLimitsFile(little).descriptors[0]?.value).toBe('é');
    expect(readLimitsFile(Buffer.from(little).swap16()).descriptors[0]?.value).toBe('é');
    expect(problemOf(Buffer.from([0xff, 0xfe, 0x00, 0xd8]))).toContain('invalid UTF-16');
  });

  it.each([
    ['ff', 'invalid leading UTF-8 octet at byte 8'],
    ['80', 'invalid leading UTF-8 octet'],
    ['c328', 'invalid trailing UTF-8 octet at byte 9'],
    ['c080', 'invalid length of a UTF-8 sequence'],
    ['eda080', 'invalid length of a UTF-8 sequence'],
    ['e282', 'invalid trailing UTF-8 octet at byte 10'],
  ])('with the bytes %s is refused', (hex, problem) => {
    const bytes = Buffer.concat([Buffer.from('domain: '), Buffer.from(hex, 'hex'), Buffer.from('\n')]);
    expect(problemOf(bytes)).toContain(`f: error loading config file: yaml: ${problem}`);
    expect(problemOf(bytes.subarray(0, -1))).toContain('yaml: in');
  });

  it.each([
    ['a control character', 'domain: "a\u0001"', 'line 1: control characters are not allowed'],
    ['a line separator', `${GOOD}# \u2028`, 'line 5: a line ends with another character than a line feed'],
    ['half a surrogate pair', 'domain: "\\ud800"', 'half a surrogate pair'],
    ['an unknown anchor', 'domain: *a', "unknown anchor 'a' referenced"],
    [
      'an anchor within itself',
      'domain: D\ndescriptors: &a [{ key: k, descriptors: *a }]',
      "anchor 'a' value contains itself",
    ],
    ['5,000 lists', `domain: D\ndescriptors: ${'['.repeat(5_000)}`, 'error loading config file: yaml: '],
    [
      'deep metadata',
      `domain: D\ndescriptors: [{ key: k, metadata: ${'{ a: '.repeat(30)}1${' }'.repeat(30)} }]`,
      '24 levels',
    ],
  ])('with %s is refused', (_, text, problem) => {
    expect(problemOf(text)).toContain(problem);
  });

  it('that aliases make huge is refused before it is', () => {
    const levels = Array.from({ length: 12 }, (_, i) => {
      const items = Array.from({ length: 10 }, () =>
        i === 0 ? '{ key: k }' : `{ key: k, descriptors: *a${i - 1} }`,
      );
      return `- { key: k${i}, descriptors: &a${i} [${items.join(', ')}] }`;
    });
    const begun = cpuMs();
    expect(problemOf(`domain: D\ndescriptors:\n${levels.join('\n')}\n`)).toContain('excessive aliasing');
    expect(cpuMs() - begun).toBeLessThan(5_000);
  });

  it('may use an anchor hundreds of times', () => {
    const items = Array.from({ length: 300 }, (_, i) => `- { key: k${i}, rate_limit: *r }`);
    const text = `domain: D\ndescriptors:\n- { key: k, rate_limit: &r { unit: day } }\n${items.join('\n')}\n`;
    expect(problemOf(text)).toBe('ok');
  });
});

describe('names of JavaScript’s own', () => {
  it.each(['constructor', '__proto__', 'toString', 'hasOwnProperty'])('are nothing special: %s', (name) => {
    const limit = `{ unit: hour, requests_per_unit: 5 }`;
    const file = `domain: ${name}\ndescriptors:\n- { key: ${name}, value: ${name}, rate_limit: ${limit} }\n`;
    const loaded = loadLimits([{ name: 'f', text: file }], false);
    if (loaded.kind === 'bad') throw new Error(loaded.problem);
    const node = loaded.domains.get(name)?.children.get(`${name}_${name}`);
    expect(node?.limit?.rate?.requestsPerUnit).toBe(5);
    expect(problemOf(file.replace('unit: hour', `unit: ${name}`))).toBe(
      `f: invalid rate limit unit '${name}'`,
    );
    expect(problemOf(`${file}${name}: 1\n`)).toBe(`f: config error, unknown key '${name}'`);
  });

  it('a unit is one in any case that Go’s ToUpper makes it', () => {
    const unit = (name: string): string => problemOf(`${GOOD}    rate_limit: { unit: ${name} }\n`);
    expect(unit('mInUtE')).toBe('ok');
    expect(unit('wee\u212A')).toContain('invalid rate limit unit');
  });
});

describe('metadata', () => {
  it('of a descriptor is kept, whatever is in it', () => {
    const text = `${GOOD}    metadata: { a: 1.5, b: [yes, ~, 0x10], __proto__: { c: 2020-01-01 }, d: !!binary aGk= }\n`;
    const { metadata } = readLimitsFile(text).descriptors[0] ?? {};
    expect(metadata).toEqual(
      new Map<string, unknown>([
        ['a', 1.5],
        ['b', [true, null, 16]],
        ['__proto__', new Map([['c', '2020-01-01']])],
        ['d', 'hi'],
      ]),
    );
  });

  // decode.go, scalar: what a text is wanted of is the text as it was written. The field's keys are texts.
  it('has its own keys as they were written, merged ones, too', () => {
    const text = `${GOOD}    metadata: { n: 1, 0x1F: 2, 1.0: 3, ~: 4, <<: { True: 5 } }\n`;
    expect([...(readLimitsFile(text).descriptors[0]?.metadata ?? [])]).toEqual([
      ['n', 1],
      ['0x1F', 2],
      ['1.0', 3],
      ['', 4],
      ['True', 5],
    ]);
  });

  it('that is written again and again is put together, in a time that grows with the file', () => {
    const count = 20_000;
    const again = Array.from({ length: count }, (_, i) => `    metadata: { k${i}: 1 }\n`).join('');
    const begun = cpuMs();
    expect(readLimitsFile(`${GOOD}${again}`).descriptors[0]?.metadata?.size).toBe(count);
    expect(cpuMs() - begun).toBeLessThan(5_000);
  });
});
