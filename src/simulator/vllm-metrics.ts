/** The /metrics page of the simulated engine: vLLM's series. */

import type { EngineProfile } from './profile.ts';
import type { EngineGauges } from './step.ts';

export interface TokenCounts {
  readonly prompt: number;
  readonly generation: number;
}

/** @param model the label of all series. */
export function metricsPage(
  model: string,
  gauges: EngineGauges,
  tokens: TokenCounts,
  { blockTokens, kvBlocks }: EngineProfile,
): string {
  const label = `{model_name="${model}"}`;
  const series: readonly (readonly [string, string, number])[] = [
    ['vllm:num_requests_running', 'gauge', gauges.running],
    ['vllm:num_requests_waiting', 'gauge', gauges.waiting],
    ['vllm:kv_cache_usage_perc', 'gauge', gauges.kvUsage],
    ['vllm:prefix_cache_queries_total', 'counter', gauges.prefixQueries],
    ['vllm:prefix_cache_hits_total', 'counter', gauges.prefixHits],
    ['vllm:num_preemptions_total', 'counter', gauges.preemptions],
    ['vllm:prompt_tokens_total', 'counter', tokens.prompt],
    ['vllm:generation_tokens_total', 'counter', tokens.generation],
  ];
  const lines = series.flatMap(([name, type, value]) => [
    `# TYPE ${name} ${type}`,
    `${name}${label} ${value}`,
  ]);
  lines.push(
    '# TYPE vllm:cache_config_info gauge',
    `vllm:cache_config_info{block_size="${blockTokens}",num_gpu_blocks="${kvBlocks}"} 1`,
  );
  return `${lines.join('\n')}\n`;
}
