/** TensorRT-LLM (`trtllm-serve`); from its source. https://github.com/NVIDIA/TensorRT-LLM/tree/main/tensorrt_llm/serve */
import { type EngineDriver, stateByStatus } from './driver.ts';

export const TRTLLM: EngineDriver = {
  kind: 'trtllm',
  title: 'TensorRT-LLM',
  metrics: {
    running: 'trtllm_num_requests_running',
    waiting: 'trtllm_num_requests_waiting',
    kvUsage: ['trtllm_kv_cache_utilization'],
    others: [],
  },
  ownedBy: 'tensorrt_llm',
  info: undefined,
  health: { path: '/health', leastTimeoutMs: 0, stateOf: stateByStatus, sleep: undefined },
  meaningOf: () => undefined,
  outputCap: {
    chat: ['max_completion_tokens', 'max_tokens'],
    completions: ['max_tokens'],
    unlimited: { chat: 'context', completions: 'context' },
    // 0 is false and so none; the executor refuses the rest.
    belowOne: (value) => (value === 0 ? 'unlimited' : 'refused'),
  },
  usageOfSeveral: 'all',
  priority: undefined,
  cacheSalt: undefined,
  lora: { selectedBy: undefined, listed: () => [] },
  refused: {
    fields: [
      'disaggregated_params',
      'conversation_params',
      'lora_request',
      'agent_hierarchy',
      'prompt_token_ids',
      'prompt_token_ids_b64',
      'detokenize',
      'return_context_logits',
    ],
    headers: [],
  },
  managementPaths: [],
};
