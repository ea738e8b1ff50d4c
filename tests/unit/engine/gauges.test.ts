import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readGauges } from '../../../src/engine/gauges.ts';
import { cpuMs } from '../../support/cpu-time.ts';

const report = (text: string) => {
  const result = readGauges(text);
  if (result.kind !== 'report') throw new Error(result.detail);
  return result.report;
};
const detail = (text: string): string => {
  const result = readGauges(text);
  return result.kind === 'unusable' ? result.detail : 'usable';
};

const base = 'vllm:num_requests_running 1\nvllm:num_requests_waiting 0\n';

describe("an engine's metrics", () => {
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
    [
      'lmdeploy, its engines together',
      'lmdeploy:num_requests_running{engine="0"} 3\nlmdeploy:num_requests_running{engine="1"} 2\nlmdeploy:num_requests_waiting{engine="0"} 1\nlmdeploy:gpu_cache_usage_perc{engine="0"} 0.5\nlmdeploy:gpu_cache_usage_perc{engine="1"} 0.25',
      { kind: 'lmdeploy', gauges: { running: 5, waiting: 1, kvUsage: 0.5 }, kvCapacityTokens: undefined },
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

  it('may be told to be one engine’s, and are then read as no other’s', () => {
    const tgi = 'tgi_batch_current_size 6\ntgi_queue_size 0';
    const llamacpp = 'llamacpp:requests_processing 2\nllamacpp:requests_deferred 7';
    expect(readGauges(tgi, 'tgi').kind).toBe('report');
    expect(readGauges(tgi, 'vllm')).toEqual({ kind: 'unusable', detail: 'metrics of TGI, not of vLLM' });
    expect(readGauges('', 'sglang')).toEqual({ kind: 'unusable', detail: 'no metrics of SGLang' });
    // One page with two engines' metrics, as behind a proxy that collects.
    expect(readGauges(`${tgi}\n${llamacpp}`, 'llamacpp')).toMatchObject({
      report: { kind: 'llamacpp', gauges: { running: 2, waiting: 7 } },
    });
  });

  it('tell the adapters of the newest series alone', () => {
    const lora = (running: string, time: string, max = '4') =>
      `vllm:lora_requests_info{max_lora="${max}",running_lora_adapters="${running}",waiting_lora_adapters=""} ${time}\n`;
    expect(report(base + lora('a,b', '1.7e9') + lora('c', '1.8e9') + lora('', '1.6e9')).loras).toEqual({
      max: 4,
      running: ['c'],
      waiting: [],
    });
    expect(report(base + lora('a', 'NaN') + lora('b', '1')).loras?.running).toEqual(['b']);
    // A name with quotes and braces is still one label.
    expect(report(base + lora('x\\",max_lora=\\"9', '2')).loras).toMatchObject({ max: 4 });
    for (const bad of [
      lora('a', '+Inf'),
      lora('a', '1', 'many'),
      lora('a', '1', '-1'),
      lora('a', '1', '0'),
    ]) {
      expect(report(base + bad).loras).toBeUndefined();
    }
  });

  it('tell the prefix cache, where both of its numbers are there and make sense', () => {
    const cache = (queries: string, hits: string) =>
      report(`${base}vllm:prefix_cache_queries_total ${queries}\nvllm:prefix_cache_hits_total ${hits}`)
        .prefixCache;
    expect(cache('100', '30')).toEqual({ kind: 'tokens', promptTokens: 100, cachedTokens: 30 });
    for (const bad of ['NaN', '-1', '+Inf', 'x']) {
      expect(cache(bad, '1')).toBeUndefined();
      expect(cache('1', bad)).toBeUndefined();
    }
    expect(report(`${base}vllm:prefix_cache_hits_total 3`).prefixCache).toBeUndefined();
    const sglang = 'sglang:num_running_reqs 1\nsglang:num_queue_reqs 0\nsglang:cache_hit_rate ';
    expect(report(`${sglang}0.5`).prefixCache).toEqual({ kind: 'rate', hitRate: 0.5 });
    for (const bad of ['NaN', '-0.1', '50']) expect(report(sglang + bad).prefixCache).toBeUndefined();
    const llamacpp = 'llamacpp:requests_processing 1\nllamacpp:requests_deferred 0\n';
    expect(
      report(`${llamacpp}llamacpp:prompt_tokens_total 10\nllamacpp:prompt_tokens_cached_total 30`)
        .prefixCache,
    ).toEqual({ kind: 'tokens', promptTokens: 40, cachedTokens: 30 });
  });

  it('tell whether it sleeps: one core that does is enough', () => {
    const awake = (engine: number, value: string) =>
      `vllm:engine_sleep_state{engine="${engine}",sleep_state="awake"} ${value}\n`;
    const offloaded = 'vllm:engine_sleep_state{engine="0",sleep_state="weights_offloaded"} 0\n';
    expect(report(base + awake(0, '1.0') + offloaded).asleep).toBe(false);
    expect(report(base + awake(0, '1.0') + awake(1, '0.0')).asleep).toBe(true);
    expect(report(base + offloaded).asleep).toBeUndefined();
    expect(report(base).asleep).toBeUndefined();
  });

  it('count no series of a part beside the whole, in any metric', () => {
    const text = ['num_running_reqs', 'num_queue_reqs', 'max_total_num_tokens']
      .flatMap((name) => [`sglang:${name}{priority=""} 8`, `sglang:${name}{priority="1"} 8`])
      .join('\n');
    expect(report(text)).toMatchObject({ gauges: { running: 8, waiting: 8 }, kvCapacityTokens: 8 });
    expect(detail(text.replaceAll('priority=""', 'priority="0"'))).toContain('num_running_reqs is missing');
  });

  it('never make it fail, whatever they are', () => {
    const line = fc.oneof(
      fc.string(),
      fc
        .tuple(
          fc.constantFrom(
            'vllm:num_requests_running',
            'vllm:num_requests_waiting',
            'vllm:cache_config_info',
            'vllm:lora_requests_info',
            'vllm:engine_sleep_state',
            'sglang:num_running_reqs',
            'sglang:num_queue_reqs',
          ),
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

  it('take no longer than their length, whatever stands where labels should', () => {
    for (const labels of [
      'a'.repeat(1_000_000),
      'a="'.repeat(300_000),
      `a="${'\\n'.repeat(500_000)}`,
      ' '.repeat(1_000_000),
    ]) {
      const startMs = cpuMs();
      expect(report(`${base}vllm:cache_config_info{${labels}} 1`).kvCapacityTokens).toBeUndefined();
      // Hours, where it goes by the square.
      expect(cpuMs() - startMs).toBeLessThan(5_000);
    }
  });
});
