/** `telemetry.otlp`: where traces go, with which headers. */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { restartNeeded } from '../../../src/config/changes.ts';
import { configOf, full, minimal, problemsOf, type Surroundings, warningsOf } from './parse.ts';

const ENDPOINT = 'http://127.0.0.1:4318';
const settings = (otlp: unknown) => ({ ...minimal(), telemetry: { otlp } });
const withHeaders = (headers: unknown) => settings({ endpoint: ENDPOINT, headers });
const otlpOf = (otlp: unknown, surroundings?: Surroundings) =>
  configOf(settings(otlp), surroundings).telemetry.otlp;

describe('telemetry.otlp', () => {
  it('is absent, or has what was written', () => {
    expect(configOf(minimal()).telemetry.otlp).toBeUndefined();
    expect(otlpOf({ endpoint: ENDPOINT })).toEqual({
      url: 'http://127.0.0.1:4318/v1/traces',
      headers: {},
      sample: 1,
    });
    expect(configOf(full()).telemetry.otlp).toEqual({
      url: 'https://otel.example/base/v1/traces',
      headers: { authorization: 'Basic secret-of-otlp' },
      sample: 0.5,
    });
  });

  it('takes headers from the environment, from files, or as they stand there', () => {
    const env = { TOKEN: ' Bearer of-the-env ' };
    const files = { '/etc/otlp-key': 'Basic of-a-file\n' };
    const headers = { Authorization: 'env:TOKEN', 'X-Key': 'file:otlp-key', 'x-scope': 'a team' };
    expect(otlpOf({ endpoint: ENDPOINT, headers }, { env, files })?.headers).toEqual({
      authorization: 'Bearer of-the-env',
      'x-key': 'Basic of-a-file',
      'x-scope': 'a team',
    });
  });

  it.each([
    ['ftp://collector.example', 'must be an http:// or https:// URL'],
    ['127.0.0.1:4318', 'must be an http:// or https:// URL'],
    ['', 'must be an http:// or https:// URL'],
    ['http://', 'must be an http:// or https:// URL'],
    ['https://me:word@collector.example', 'must not carry credentials'],
    ['https://collector.example/?key=word', 'must not have a query'],
    ['https://collector.example/#word', 'must not have a query or a fragment'],
    ['http://127.0.0.1:0', 'has port 0'],
    ['http://127.0.0.1:4318/v1/traces', 'leave out /v1/traces, which is added'],
    ['https://collector.example/base/v1/traces/', 'leave out /v1/traces, which is added'],
    [4_318, 'must be an http:// or https:// URL'],
  ])('does not take the endpoint %s', (endpoint, expected) => {
    const problems = problemsOf(settings({ endpoint }));
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain('telemetry.otlp.endpoint: ');
    expect(problems[0]).toContain(expected);
    expect(problems[0]).not.toContain('word');
  });

  it.each([
    [{ 'two words': 'x' }, 'is no name of a header'],
    [{ 'a:b': 'x' }, 'is no name of a header'],
    [{ 'x\r\ny': 'x' }, 'is no name of a header'],
    [{ schlüssel: 'x' }, 'is no name of a header'],
    [{ ['x'.repeat(129)]: 'x' }, 'is no name of a header'],
    [{ 'Content-Type': 'text/plain' }, 'is set by HTTP itself'],
    [{ 'content-length': '5' }, 'is set by HTTP itself'],
    [{ host: 'other.example' }, 'is set by HTTP itself'],
    [{ 'Transfer-Encoding': 'chunked' }, 'is set by HTTP itself'],
    [{ 'x-key': 'a', 'X-Key': 'b' }, 'is there twice'],
    [{ 'x-key': 'env:GONE' }, 'environment variable GONE is not set'],
    [{ 'x-key': 'env:EMPTY' }, 'EMPTY'],
    [{ 'x-key': 'file:gone' }, 'cannot read /etc/gone'],
    [{ 'x-key': 'file:' }, 'needs a path after file:'],
    [{ 'x-key': '' }, 'must be 1 to 4096 characters of ASCII'],
    [{ 'x-key': 'a\nb' }, 'must be 1 to 4096 characters of ASCII'],
    [{ 'x-key': 'schlüssel' }, 'must be 1 to 4096 characters of ASCII'],
    [{ 'x-key': 'x'.repeat(4_097) }, 'must be 1 to 4096 characters of ASCII'],
    [{ 'x-key': 5 }, 'must be env:NAME, file:PATH or a text'],
    [['x-key'], 'must be a mapping of header names to values'],
    [Object.fromEntries(Array.from({ length: 33 }, (_, i) => [`x-${i}`, 'x'])), 'must be at most 32 headers'],
  ])('does not take the headers %j', (headers, expected) => {
    const problems = problemsOf(withHeaders(headers), { env: { EMPTY: '' } });
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain('telemetry.otlp.headers');
    expect(problems[0]).toContain(expected);
    expect(problems[0]?.length).toBeLessThan(500);
  });

  it.each([-0.1, 1.1, Number.NaN, '0.5', true, [1]])('does not take the sample %s', (sample) => {
    expect(problemsOf(settings({ endpoint: ENDPOINT, sample })).join('\n')).toContain(
      'telemetry.otlp.sample: must be a number from 0 to 1',
    );
  });

  it('warns of plain HTTP to another machine alone', () => {
    const warned = (endpoint: string) => warningsOf(settings({ endpoint }));
    expect(warned('http://collector.example:4318')).toEqual([
      expect.stringContaining('telemetry.otlp.endpoint: is http:// to another machine'),
    ]);
    for (const quiet of [
      ENDPOINT,
      'http://localhost:4318',
      'http://[::1]:4318',
      'https://collector.example',
    ]) {
      expect(warned(quiet)).toEqual([]);
    }
  });

  it('warns of the port of gRPC', () => {
    expect(warningsOf(settings({ endpoint: 'http://127.0.0.1:4317' })).join('\n')).toContain(
      'telemetry.otlp.endpoint: has the port of OTLP over gRPC',
    );
  });

  it('is taken over by a reload', () => {
    const on = configOf(settings({ endpoint: ENDPOINT }));
    expect(restartNeeded(configOf(minimal()), on)).toEqual([]);
    expect(restartNeeded(on, configOf(minimal()))).toEqual([]);
    expect(restartNeeded(on, configOf(settings({ endpoint: ENDPOINT, sample: 0 })))).toEqual([]);
  });

  it('never shows the value of a header, whatever is wrong with it', () => {
    const secret = fc.stringMatching(/^[!-~]{12,40}$/).filter((text) => !/^(env|file):/.test(text));
    fc.assert(
      fc.property(secret, (text) => {
        const wrong = [
          withHeaders({ 'x-key': `${text}\n${text}` }),
          withHeaders({ 'x-key': `${text}ü` }),
          withHeaders({ 'bad name': text }),
          withHeaders({ authorization: text, Authorization: text }),
          withHeaders({ authorization: 'env:TOKEN', host: 'env:TOKEN' }),
          withHeaders({ authorization: [text] }),
          { ...withHeaders({ authorization: text }), listen: text, log: { level: text } },
        ];
        for (const written of wrong) {
          const problems = problemsOf(written, { env: { TOKEN: text } });
          expect(problems.length).toBeGreaterThan(0);
          expect(problems.join('\n')).not.toContain(text);
        }
      }),
      { numRuns: 50 },
    );
  });
});
