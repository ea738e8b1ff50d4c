import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readGauges } from '../../../src/engine/gauges.ts';

const report = (text: string) => {
  const result = readGauges(text);
  if (result.kind !== 'report') throw new Error(result.detail);
  return result.report;
};
const detail = (text: string): string => {
  const result = readGauges(text);
  return result.kind === 'unusable' ? result.detail : 'usable';
};

describe("an engine's metrics", () => {
  it('are read from a real vLLM 0.32', () => {
    const text = readFileSync(
      new URL('../../fixtures/engine-metrics/vllm-0.32.txt', import.meta.url),
      'utf8',
    );
    const { kind, gauges, kvCapacityTokens } = report(text);
    expect(kind).toBe('vllm');
    expect(gauges.running).toBe(4);
    expect(gauges.waiting).toBe(0);
    expect(gauges.kvUsage).toBeGreaterThan(0);
    expect(kvCapacityTokens).toBeGreaterThan(1_000);
  });

  it.each([
    [
      'older vLLM',
      'vllm:num_requests_running{model_name="m"} 3.0\nvllm:num_requests_waiting{model_name="m"} 2.0\nvllm:gpu_cache_usage_perc{model_name="m"} 0.25\nvllm:cache_config_info{block_size="16",num_gpu_blocks="1000"} 1.0',
      { kind: 'vllm', gauges: { running: 3, waiting: 2, kvUsage: 0.25 }, kvCapacityTokens: 16_000 },
    ],
    [
      'vLLM with two cores',
      'vllm:num_requests_running{engine="0"} 3\nvllm:num_requests_running{engine="1"} 4\nvllm:num_requests_waiting{engine="0"} 0\nvllm:num_requests_waiting{engine="1"} 1\nvllm:kv_cache_usage_perc{engine="0"} 0.2\nvllm:kv_cache_usage_perc{engine="1"} 0.7',
      { kind: 'vllm', gauges: { running: 7, waiting: 1, kvUsage: 0.7 }, kvCapacityTokens: undefined },
    ],
    [
      'SGLang with priorities: the total alone',
      'sglang:num_running_reqs{priority=""} 5.0\nsglang:num_running_reqs{priority="10"} 2.0\nsglang:num_running_reqs{priority="0"} 3.0\nsglang:num_queue_reqs{priority=""} 1.0\nsglang:num_queue_reqs{priority="0"} 1.0\nsglang:token_usage 0.5\nsglang:max_total_num_tokens 4096',
      { kind: 'sglang', gauges: { running: 5, waiting: 1, kvUsage: 0.5 }, kvCapacityTokens: 4_096 },
    ],
    [
      'llama.cpp',
      '# TYPE llamacpp:requests_processing gauge\r\nllamacpp:requests_processing 2\r\nllamacpp:requests_deferred 7\r\n',
      { kind: 'llamacpp', gauges: { running: 2, waiting: 7 }, kvCapacityTokens: undefined },
    ],
    [
      'TGI',
      'tgi_batch_current_size 6\ntgi_queue_size 0 1700000000',
      { kind: 'tgi', gauges: { running: 6, waiting: 0 }, kvCapacityTokens: undefined },
    ],
    [
      'TensorRT-LLM',
      'trtllm_num_requests_running 1\ntrtllm_num_requests_waiting 0\ntrtllm_kv_cache_utilization 0.01',
      { kind: 'trtllm', gauges: { running: 1, waiting: 0, kvUsage: 0.01 }, kvCapacityTokens: undefined },
    ],
  ])('are read of %s', (_, text, expected) => {
    expect(report(text)).toEqual(expected);
  });

  it('match names exactly', () => {
    expect(
      report(
        'vllm:num_requests_waiting_by_reason{reason="capacity"} 9\nvllm:num_requests_running 1\nvllm:num_requests_waiting 0',
      ).gauges.waiting,
    ).toBe(0);
  });

  it.each([
    ['', 'no metrics of a known engine'],
    ['<html>', 'no metrics of a known engine'],
    ['vllm:num_requests_running 3', 'vllm:num_requests_waiting is missing'],
    ['vllm:num_requests_waiting 3', 'vllm:num_requests_running is missing'],
    ['vllm:num_requests_running NaN\nvllm:num_requests_waiting 0', 'num_requests_running is NaN'],
    ['vllm:num_requests_running -1\nvllm:num_requests_waiting 0', 'num_requests_running is -1'],
    ['vllm:num_requests_running 1.5\nvllm:num_requests_waiting 0', 'num_requests_running is 1.5'],
    ['vllm:num_requests_running 1\nvllm:num_requests_waiting +Inf', 'num_requests_waiting is'],
    ['vllm:num_requests_running 1\nvllm:num_requests_waiting 1e18', 'num_requests_waiting is'],
    ['vllm:num_requests_running x\nvllm:num_requests_waiting 0', 'num_requests_running is NaN'],
  ])('%j cannot be used, and it is said why', (text, why) => {
    expect(detail(text)).toContain(why);
  });

  it('do without a KV usage or a capacity that makes no sense', () => {
    const base = 'vllm:num_requests_running 1\nvllm:num_requests_waiting 0\n';
    expect(report(`${base}vllm:kv_cache_usage_perc 40`).gauges).toEqual({ running: 1, waiting: 0 });
    for (const labels of [
      '',
      'block_size="16"',
      'block_size="x",num_gpu_blocks="9"',
      'block_size="-1",num_gpu_blocks="9"',
    ]) {
      expect(report(`${base}vllm:cache_config_info{${labels}} 1`).kvCapacityTokens).toBeUndefined();
    }
  });

  it('never make it fail, whatever they are', () => {
    const line = fc.oneof(
      fc.string(),
      fc
        .tuple(
          fc.constantFrom('vllm:num_requests_running', 'vllm:num_requests_waiting', 'vllm:cache_config_info'),
          fc.string(),
          fc.double(),
        )
        .map(([name, labels, value]) => `${name}{${labels}} ${value}`),
    );
    fc.assert(
      fc.property(fc.array(line), (lines) => {
        const result = readGauges(lines.join('\n'));
        if (result.kind === 'unusable') return;
        const { running, waiting } = result.report.gauges;
        expect(running >= 0 && waiting >= 0).toBe(true);
      }),
    );
  });
});
