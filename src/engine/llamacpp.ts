/** llama.cpp's server; seen on b10605. https://github.com/ggml-org/llama.cpp/tree/master/tools/server */
import { isObject } from '../openai/usage.ts';
import { type EngineDriver, positive, stateByStatus } from './driver.ts';
import { amountOf } from './metrics-text.ts';

const PROMPT = 'llamacpp:prompt_tokens_total';
const CACHED = 'llamacpp:prompt_tokens_cached_total';

export const LLAMACPP: EngineDriver = {
  kind: 'llamacpp',
  title: 'llama.cpp',
  metrics: {
    running: 'llamacpp:requests_processing',
    waiting: 'llamacpp:requests_deferred',
    kvUsage: ['llamacpp:kv_cache_usage_ratio'],
    others: [PROMPT, CACHED],
    prefixCache(samples) {
      const computed = amountOf(samples, PROMPT);
      const cachedTokens = amountOf(samples, CACHED);
      return computed === undefined || cachedTokens === undefined
        ? undefined
        : { kind: 'tokens', promptTokens: computed + cachedTokens, cachedTokens };
    },
  },
  ownedBy: 'llamacpp',
  info: {
    paths: ['/props'],
    isOwn: (info) => isObject(info) && 'total_slots' in info && 'default_generation_settings' in info,
    kvIsDivided: true,
    maxSequences: (info) => (isObject(info) ? positive(info['total_slots'], 1e6) : undefined),
    kvCapacityTokens(info) {
      if (!isObject(info) || !isObject(info['default_generation_settings'])) return undefined;
      const slots = positive(info['total_slots'], 1e6);
      const each = positive(info['default_generation_settings']['n_ctx']);
      return slots === undefined || each === undefined ? undefined : positive(slots * each);
    },
  },
  health: {
    path: '/health',
    leastTimeoutMs: 0,
    /** While it loads, every path answers 503 with this message. */
    stateOf: (answer, wasHealthy) =>
      answer.status === 503 && answer.body.includes('Loading model')
        ? 'loading'
        : stateByStatus(answer, wasHealthy),
    // With --sleep-idle-seconds. Health, metrics and this page do not wake it.
    sleep: {
      path: '/props',
      isAsleep: (answer) => isObject(answer) && answer['is_sleeping'] === true,
      wakesByRequest: true,
    },
  },
  meaningOf({ status, type, message }) {
    if (type === 'exceed_context_size_error') return 'context-too-long';
    if (type === 'unavailable_error') return message === 'Loading model' ? 'loading' : 'overloaded';
    return status === 500 && /json\.exception\.(parse|type)_error/.test(message)
      ? 'invalid-request'
      : undefined;
  },
  outputCap: {
    chat: ['n_predict', 'max_completion_tokens', 'max_tokens'],
    completions: ['n_predict', 'max_completion_tokens', 'max_tokens'],
    unlimited: { chat: 'context', completions: 'context' },
    // 0 computes the prompt. Newer versions refuse less than -1, older ones end after a token.
    belowOne: (value) => (value === -1 ? 'unlimited' : value === 0 ? 'nothing' : 'refused'),
  },
  usageOfSeveral: 'one-of-them',
  priority: undefined,
  // A slot keeps the last prompt, whoever sent it: with another tenant's salt it is found all the same.
  cacheSalt: undefined,
  lora: { selectedBy: undefined, listed: () => [] },
  refused: {
    fields: [
      'id_slot',
      'lora',
      'n_predict',
      'n_cmpl',
      'n_keep',
      'n_discard',
      'n_cache_reuse',
      'chat_template_kwargs.messages',
      'chat_template_kwargs.tools',
      'chat_parser',
      'chat_format',
      'generation_prompt',
      'grammar_lazy',
      'grammar_triggers',
      'grammar_type',
      'message_delimiters',
      'preserved_tokens',
    ],
    // With it an answer goes on in the engine when its client has gone.
    headers: ['x-conversation-id'],
  },
  managementPaths: [
    '/props',
    '/slots',
    '/lora-adapters',
    '/models/load',
    '/models/unload',
    '/v1/stream',
    '/v1/streams/lookup',
    '/v1/chat/completions/control',
    '/completion',
    '/infill',
    '/tools',
    '/cors-proxy',
  ],
};
