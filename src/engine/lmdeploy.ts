/** LMDeploy's API server; from its source (0.10 and later). https://github.com/InternLM/lmdeploy/tree/main/lmdeploy/serve/openai */
import { type EngineDriver, stateByStatus, withParent } from './driver.ts';

export const LMDEPLOY: EngineDriver = {
  kind: 'lmdeploy',
  title: 'LMDeploy',
  metrics: {
    running: 'lmdeploy:num_requests_running',
    waiting: 'lmdeploy:num_requests_waiting',
    kvUsage: ['lmdeploy:gpu_cache_usage_perc'],
    others: [],
  },
  ownedBy: 'lmdeploy',
  info: undefined,
  health: { path: '/health', leastTimeoutMs: 0, stateOf: stateByStatus, sleep: undefined },
  meaningOf: ({ status, message }) =>
    status === 404 && /^The model .* does not exist/.test(message) ? 'unknown-model' : undefined,
  outputCap: {
    chat: ['max_completion_tokens', 'max_tokens'],
    completions: ['max_completion_tokens', 'max_tokens'],
    unlimited: { chat: 'context', completions: 16 },
    // 0 is false and so none.
    belowOne: (value) => (value === 0 ? 'unlimited' : 'refused'),
  },
  // `n` is read and not used.
  usageOfSeveral: 'one-output',
  priority: undefined,
  cacheSalt: undefined,
  // Adapters are named when it is started; any `model` but its own is taken for one.
  lora: { selectedBy: 'model', listed: withParent },
  refused: {
    fields: ['session_id', 'migration_request', 'with_cache', 'preserve_cache', 'input_ids', 'image_data'],
    headers: [],
  },
  managementPaths: ['/generate', '/abort_request', '/sleep', '/wakeup', '/update_weights', '/terminate'],
};
