/** vLLM, V1 engine; seen on 0.32. https://docs.vllm.ai */
import { isObject } from '../openai/usage.ts';
import { type EngineDriver, type LoraLoad, positive, stateByStatus, withParent } from './driver.ts';
import { amountOf, labelOf, labelProduct, type Samples } from './metrics-text.ts';

const CACHE_CONFIG = 'vllm:cache_config_info';
const PREFIX_QUERIES = 'vllm:prefix_cache_queries_total';
const PREFIX_HITS = 'vllm:prefix_cache_hits_total';
const LORA = 'vllm:lora_requests_info';
const SLEEP = 'vllm:engine_sleep_state';

const names = (list: string | undefined): readonly string[] =>
  (list ?? '').split(',').filter((name) => name !== '');

/** The value is when the series was written: each set of adapters has one of its own, and the newest is the truth. */
function lorasOf(samples: Samples): LoraLoad | undefined {
  const series = (samples.get(LORA) ?? []).filter(({ value }) => Number.isFinite(value));
  const newest = series.reduce<(typeof series)[number] | undefined>(
    (best, one) => (best === undefined || one.value > best.value ? one : best),
    undefined,
  );
  if (newest === undefined) return undefined;
  const max = positive(Number(labelOf(newest.labels, 'max_lora')));
  return max === undefined
    ? undefined
    : {
        max,
        running: names(labelOf(newest.labels, 'running_lora_adapters')),
        waiting: names(labelOf(newest.labels, 'waiting_lora_adapters')),
      };
}

export const VLLM: EngineDriver = {
  kind: 'vllm',
  title: 'vLLM',
  metrics: {
    running: 'vllm:num_requests_running',
    waiting: 'vllm:num_requests_waiting',
    kvUsage: ['vllm:kv_cache_usage_perc', 'vllm:gpu_cache_usage_perc'],
    others: [CACHE_CONFIG, PREFIX_QUERIES, PREFIX_HITS, LORA, SLEEP],
    kvCapacityTokens: (samples) => labelProduct(samples, CACHE_CONFIG, 'block_size', 'num_gpu_blocks'),
    prefixCache(samples) {
      const promptTokens = amountOf(samples, PREFIX_QUERIES);
      const cachedTokens = amountOf(samples, PREFIX_HITS);
      return promptTokens === undefined || cachedTokens === undefined
        ? undefined
        : { kind: 'tokens', promptTokens, cachedTokens };
    },
    loras: lorasOf,
    /** One core that sleeps is enough for a request to hang. */
    asleep(samples) {
      const awake = samples.get(SLEEP)?.filter(({ labels }) => labelOf(labels, 'sleep_state') === 'awake');
      return awake === undefined || awake.length === 0 ? undefined : awake.some(({ value }) => value === 0);
    },
  },
  ownedBy: 'vllm',
  // It says nowhere how many sequences it runs.
  info: undefined,
  health: {
    path: '/health',
    leastTimeoutMs: 0,
    stateOf: stateByStatus,
    // /health stays 200 while it sleeps, and a request that is sent to it hangs until it is woken.
    sleep: {
      path: '/is_sleeping',
      isAsleep: (answer) => isObject(answer) && answer['is_sleeping'] === true,
      wakesByRequest: false,
    },
  },
  meaningOf({ status, type, param, message }) {
    if (status === 404 && (param === 'model' || /^The model .* does not exist/.test(message))) {
      return 'unknown-model';
    }
    if (status === 400 && /maximum context length|longer than the maximum model length/.test(message)) {
      return 'context-too-long';
    }
    return type === 'Service Unavailable' || type === 'ServiceUnavailableError' ? 'overloaded' : undefined;
  },
  outputCap: {
    chat: ['max_completion_tokens', 'max_tokens'],
    completions: ['max_tokens'],
    unlimited: { chat: 'context', completions: 16 },
    // With `echo` 0 is a cap: that is known before the engine is.
    belowOne: () => 'refused',
  },
  usageOfSeveral: 'all',
  priority: {
    field: 'priority',
    direction: 'lower-first',
    // 200 does not prove that it is heeded: under FCFS 0.32 ignores it. Older versions refuse it then.
    found: {
      by: 'probe',
      valuesOf: (status) => (status === 200 ? { belowFairShare: 0, other: 10 } : undefined),
    },
  },
  cacheSalt: { field: 'cache_salt', maxCharacters: 128, without: '@/\\\0' },
  lora: {
    selectedBy: 'model',
    listed: withParent,
    load: (name, path) => ({
      method: 'POST',
      path: '/v1/load_lora_adapter',
      json: { lora_name: name, lora_path: path },
    }),
    unload: (name) => ({ method: 'POST', path: '/v1/unload_lora_adapter', json: { lora_name: name } }),
    needs: 'start vLLM with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True in its environment',
  },
  refused: {
    fields: [
      'priority',
      'cache_salt',
      'request_id',
      'session_id',
      'kv_transfer_params',
      'ec_transfer_params',
      'vllm_xargs',
      'use_beam_search',
      'truncate_prompt_tokens',
      'prompt_embeds',
      'previous_input_messages',
      'stream_interval',
      'watermarking',
      'background',
      'chat_template',
      'chat_template_kwargs.chat_template',
      'chat_template_kwargs.tokenizer_kwargs',
      'mm_processor_kwargs',
      'media_io_kwargs',
      'messages.content.uuid',
      'repetition_detection',
      'guided_decoding_backend',
    ],
    // The header's priority beats the field's.
    headers: [
      'x-vllm-priority',
      'x-session-id',
      'x-data-parallel-rank',
      'x-amzn-sagemaker-adapter-identifier',
    ],
  },
  managementPaths: [
    '/sleep',
    '/wake_up',
    '/is_sleeping',
    '/release_kv_cache_memory',
    '/reset_prefix_cache',
    '/reset_mm_cache',
    '/reset_encoder_cache',
    '/collective_rpc',
    '/server_info',
    '/pause',
    '/resume',
    '/abort_requests',
    '/update_weights',
    '/start_profile',
    '/stop_profile',
    '/scale_elastic_ep',
    '/v1/load_lora_adapter',
    '/v1/unload_lora_adapter',
    '/invocations',
    '/inference/v1/generate',
  ],
};
