/** SGLang; seen and read on 0.5.23. https://docs.sglang.ai */
import { isObject } from '../openai/usage.ts';
import { type EngineDriver, positive, stateByStatus, withParent } from './driver.ts';
import { amountOf, labelOf, labelProduct, type Samples } from './metrics-text.ts';

const CACHE_CONFIG = 'sglang:cache_config_info';
const CAPACITY = 'sglang:max_total_num_tokens';
const HIT_RATE = 'sglang:cache_hit_rate';
const LORA_SLOTS = 'sglang:lora_pool_slots_total';

const kvCapacity = (samples: Samples): number | undefined =>
  labelProduct(samples, CACHE_CONFIG, 'page_size', 'num_pages') ?? amountOf(samples, CAPACITY);

export const SGLANG: EngineDriver = {
  kind: 'sglang',
  title: 'SGLang',
  metrics: {
    running: 'sglang:num_running_reqs',
    waiting: 'sglang:num_queue_reqs',
    kvUsage: ['sglang:token_usage'],
    others: [CACHE_CONFIG, CAPACITY, HIT_RATE, LORA_SLOTS],
    /** With priority scheduling there is a total, and a series for each priority. */
    isPart: ({ labels }) => (labelOf(labels, 'priority') ?? '') !== '',
    kvCapacityTokens: kvCapacity,
    prefixCache(samples) {
      const [first] = samples.get(HIT_RATE) ?? [];
      return first !== undefined && first.value >= 0 && first.value <= 1
        ? { kind: 'rate', hitRate: first.value }
        : undefined;
    },
    loras(samples) {
      const max = positive(amountOf(samples, LORA_SLOTS));
      return max === undefined ? undefined : { max, running: undefined, waiting: undefined };
    },
  },
  ownedBy: 'sglang',
  info: {
    paths: ['/get_server_info', '/server_info'],
    isOwn: (info) => isObject(info) && ('internal_states' in info || 'enable_priority_scheduling' in info),
    /** What the schedulers found that they can run, else what was asked for. */
    maxSequences(info) {
      if (!isObject(info)) return undefined;
      const states = Array.isArray(info['internal_states']) ? (info['internal_states'] as unknown[]) : [];
      const each = states.map((state) =>
        isObject(state) ? positive(state['effective_max_running_requests_per_dp']) : undefined,
      );
      const known = each.filter((count) => count !== undefined);
      return known.length > 0 && known.length === each.length
        ? known.reduce((sum, count) => sum + count, 0)
        : positive(info['max_running_requests']);
    },
    kvCapacityTokens: (info) => (isObject(info) ? positive(info['max_total_num_tokens']) : undefined),
  },
  health: {
    // It runs a token through the scheduler and sleeps a second meanwhile. /ready and /v1/models answer at once, but
    // from the API server alone: they stay 200 when the scheduler hangs.
    path: '/health',
    leastTimeoutMs: 3_000,
    stateOf: stateByStatus,
    sleep: undefined,
  },
  meaningOf({ status, message }) {
    if (status === 400 && /context length|max_req_len|Input length .* exceeds/.test(message)) {
      return 'context-too-long';
    }
    return /queue is full|aborted by a higher priority/.test(message) ? 'overloaded' : undefined;
  },
  outputCap: {
    chat: ['max_completion_tokens', 'max_tokens'],
    completions: ['max_tokens'],
    unlimited: { chat: 'context', completions: 16 },
    // Where it is not checked, 0 is false and so none.
    belowOne: (value, route) => (value === 0 && route !== 'completions' ? 'unlimited' : 'refused'),
  },
  usageOfSeveral: 'all',
  priority: {
    field: 'priority',
    direction: 'higher-first',
    found: {
      by: 'info',
      /** Preempts from a difference of 10 on. Without priority scheduling it may refuse the request. */
      valuesOf(info) {
        if (!isObject(info) || info['enable_priority_scheduling'] !== true) return undefined;
        return info['schedule_low_priority_values_first'] === true
          ? { belowFairShare: 0, other: 10 }
          : { belowFairShare: 10, other: 0 };
      },
    },
  },
  cacheSalt: { field: 'cache_salt', maxCharacters: Infinity, without: '' },
  lora: {
    selectedBy: 'model',
    listed: withParent,
    load: (name, path) => ({
      method: 'POST',
      path: '/load_lora_adapter',
      json: { lora_name: name, lora_path: path },
    }),
    unload: (name) => ({ method: 'POST', path: '/unload_lora_adapter', json: { lora_name: name } }),
    needs: 'start SGLang with --enable-lora',
    // Any other `model` is served by the base model without a word; what is before the first colon is not looked at.
    modelOf: (base, name) => `${base.replaceAll(':', '-')}:${name}`,
  },
  refused: {
    fields: [
      'priority',
      'cache_salt',
      'extra_key',
      'rid',
      'session_id',
      'session_params',
      'bootstrap_*',
      'routed_dp_rank',
      'data_parallel_rank',
      'disagg_prefill_dp_rank',
      'lora_path',
      'input_ids',
      'embed_overrides',
      'chat_template_kwargs.chat_template',
      'messages.content.image_url.content_hash',
      'images_config',
      'video_config',
      'stop_regex',
      'custom_logit_processor',
      'custom_params',
      'custom_labels',
      'watermark',
      'return_hidden_states',
      'return_routed_experts',
    ],
    // Each replaces the field of its name.
    headers: [
      'x-override-priority',
      'x-override-rid',
      'x-override-conversation-id',
      'x-override-bootstrap-host',
      'x-override-bootstrap-port',
      'x-override-bootstrap-room',
      'x-override-routed-dp-rank',
      'x-override-disagg-prefill-dp-rank',
      'x-data-parallel-rank',
      'x-smg-routing-key',
      'x-custom-labels',
    ],
  },
  managementPaths: [
    '/flush_cache',
    '/abort_request',
    '/pause_generation',
    '/continue_generation',
    '/release_memory_occupation',
    '/resume_memory_occupation',
    '/update_weights_from_disk',
    '/update_weights_from_tensor',
    '/update_weights_from_distributed',
    '/get_weights_by_name',
    '/load_lora_adapter',
    '/unload_lora_adapter',
    '/open_session',
    '/close_session',
    '/set_internal_state',
    '/get_server_info',
    '/server_info',
    '/slow_down',
    '/configure_logging',
    '/start_profile',
    '/stop_profile',
    '/generate',
    '/invocations',
    '/api/chat',
    '/api/generate',
  ],
};
