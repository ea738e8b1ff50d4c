/** Metrics by the names of OpenTelemetry's conventions for generative AI. */
import { Registry } from 'prom-client';
import { describe, expect, it } from 'vitest';
import { genAiMetrics } from '../../../src/telemetry/prom-genai-metrics.ts';
import type { UsageRecord } from '../../../src/usage/usage-record.ts';
import { RECORD } from '../../support/metrics.ts';

const DURATION = 'gen_ai_server_request_duration_seconds';
const FIRST_TOKEN = 'gen_ai_server_time_to_first_token_seconds';
const PER_TOKEN = 'gen_ai_server_time_per_output_token_seconds';

async function linesOf(...records: readonly Partial<UsageRecord>[]): Promise<readonly string[]> {
  const registry = new Registry();
  const ended = genAiMetrics(registry);
  for (const record of records) ended({ ...RECORD, ...record });
  return (await registry.metrics()).split('\n');
}

/** Labels and values of a histogram's sums. */
const sumsOf = (lines: readonly string[], name: string): readonly string[] =>
  lines.filter((line) => line.startsWith(`${name}_sum`)).map((line) => line.slice(`${name}_sum`.length));
const boundsOf = (lines: readonly string[], name: string): readonly string[] =>
  lines.flatMap((line) => (line.startsWith(`${name}_bucket`) ? [/le="([^"]+)"/.exec(line)?.[1] ?? ''] : []));

describe('GenAI metrics', () => {
  it('have the buckets of the conventions', async () => {
    const lines = await linesOf({});
    expect(boundsOf(lines, DURATION).join(' ')).toBe(
      '0.01 0.02 0.04 0.08 0.16 0.32 0.64 1.28 2.56 5.12 10.24 20.48 40.96 81.92 +Inf',
    );
    expect(boundsOf(lines, FIRST_TOKEN).join(' ')).toBe(
      '0.001 0.005 0.01 0.02 0.04 0.06 0.08 0.1 0.25 0.5 0.75 1 2.5 5 7.5 10 +Inf',
    );
    expect(boundsOf(lines, PER_TOKEN).join(' ')).toBe(
      '0.01 0.025 0.05 0.075 0.1 0.15 0.2 0.3 0.4 0.5 0.75 1 2.5 +Inf',
    );
  });

  it('tell the model that was asked for from the one that answered', async () => {
    const lines = await linesOf({ engine: 'vllm', modelAsked: 'best' }, { engine: 'vllm' });
    const of = (asked: string) =>
      `gen_ai_operation_name="chat",gen_ai_provider_name="vllm",gen_ai_request_model="${asked}",gen_ai_response_model="m"`;
    expect(sumsOf(lines, DURATION)).toEqual([
      `{${of('best')},error_type=""} 3`,
      `{${of('m')},error_type=""} 3`,
    ]);
    expect(sumsOf(lines, FIRST_TOKEN)).toEqual([`{${of('best')}} 0.02`, `{${of('m')}} 0.02`]);
  });

  it('count the time per token from the first one to the end, for those after it', async () => {
    // Several tokens an event: the time between events is not that between tokens.
    const [sum = ''] = sumsOf(
      await linesOf({ ttftMs: 1_000, durationMs: 3_000, completionTokens: 21, itlMeanMs: 500 }),
      PER_TOKEN,
    );
    expect(sum).toMatch(/ 0\.1$/);
    expect(sumsOf(await linesOf({ completionTokens: 1 }, { completionTokens: 0 }), PER_TOKEN)).toEqual([]);
  });

  it.each([
    [{ outcome: 'failed', reason: 'engine', status: 500 }, 'engine'],
    [{ outcome: 'failed', status: 503 }, '503'],
    [{ outcome: 'aborted', reason: 'streaming' }, 'streaming'],
    [{ outcome: 'refused', reason: 'envoy-503', status: 503 }, 'envoy-503'],
  ] as const)('of %j have its error, and a duration alone', async (record, error) => {
    const lines = await linesOf(record);
    const [sum = '', ...others] = sumsOf(lines, DURATION);
    expect(others).toEqual([]);
    expect(sum).toContain(`gen_ai_response_model="",error_type="${error}"`);
    expect(sumsOf(lines, FIRST_TOKEN)).toEqual([]);
    expect(sumsOf(lines, PER_TOKEN)).toEqual([]);
  });

  it('have no request that no engine got, and no tenant', async () => {
    const { pool: _pool, ...refused } = RECORD;
    const registry = new Registry();
    const ended = genAiMetrics(registry);
    ended({ ...refused, outcome: 'refused', reason: 'requests_per_minute', status: 429 });
    expect(sumsOf((await registry.metrics()).split('\n'), DURATION)).toEqual([]);
    ended({ ...RECORD, tenant: 'a-tenant', keyId: 'a-key' });
    expect(await registry.metrics()).not.toMatch(/a-tenant|a-key/);
  });

  it('of a whole answer have no first token; of other routes, the name of the route', async () => {
    const { ttftMs: _ttftMs, ...whole } = RECORD;
    const registry = new Registry();
    genAiMetrics(registry)({ ...whole, route: 'responses.retrieve' });
    const lines = (await registry.metrics()).split('\n');
    expect(sumsOf(lines, FIRST_TOKEN)).toEqual([]);
    expect(sumsOf(lines, DURATION).join('')).toContain('gen_ai_operation_name="responses.retrieve"');
  });
});
