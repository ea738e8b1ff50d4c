/** Text Generation Inference; from its documentation and source. https://huggingface.co/docs/text-generation-inference */
import { isObject } from '../openai/usage.ts';
import { type EngineDriver, positive } from './driver.ts';

export const TGI: EngineDriver = {
  kind: 'tgi',
  title: 'TGI',
  metrics: { running: 'tgi_batch_current_size', waiting: 'tgi_queue_size', kvUsage: [], others: [] },
  // It puts the model's name there.
  ownedBy: undefined,
  info: {
    paths: ['/info'],
    isOwn: (info) => isObject(info) && 'model_id' in info && 'max_concurrent_requests' in info,
    /** Null unless it was started with a limit; `max_concurrent_requests` is where it refuses more. */
    maxSequences: (info) => (isObject(info) ? positive(info['max_batch_size'], 1e6) : undefined),
    kvCapacityTokens: (info) => (isObject(info) ? positive(info['max_batch_total_tokens']) : undefined),
  },
  health: {
    path: '/health',
    leastTimeoutMs: 0,
    /** Its port opens when the model is loaded: 503 is never a start. */
    stateOf: ({ status }) => (status >= 200 && status < 300 ? 'healthy' : 'dead'),
    sleep: undefined,
  },
  meaningOf({ type, message }) {
    switch (type) {
      case 'overloaded':
        return 'overloaded';
      case 'validation':
        return /must be <= \d+\. Given|must have less than \d+ tokens/.test(message)
          ? 'context-too-long'
          : 'invalid-request';
      case 'template_error':
      case 'missing_template_variable':
      case 'tool_error':
        return 'invalid-request';
      case 'generation':
      case 'incomplete_generation':
        return 'internal';
      default:
        return undefined;
    }
  },
  outputCap: {
    chat: ['max_tokens'],
    completions: ['max_tokens'],
    unlimited: { chat: 'context', completions: 100 },
    belowOne: () => 'refused',
  },
  // `n` is read and not used.
  usageOfSeveral: 'one-output',
  priority: undefined,
  cacheSalt: undefined,
  // Adapters are named when it is started; any `model` but its own is taken for one.
  lora: { selectedBy: 'model', listed: () => [] },
  refused: { fields: ['adapter_id'], headers: [] },
  managementPaths: [
    '/generate',
    '/generate_stream',
    '/invocations',
    '/vertex',
    '/chat_tokenize',
    '/tokenize',
  ],
};
