/**
 * Top-level fields that tenants may not set by default; a trailing `*` matches a prefix. Each would let one tenant
 * take from another, read another's data, or escape what the service counts. Sampling, tools, structured output,
 * logprobs and `chat_template_kwargs` stay allowed: they cost only the request that uses them.
 */
export const DEFAULT_FORBIDDEN_FIELDS: readonly string[] = [
  // Overtaking: the order of requests is the service's to decide (vLLM, SGLang; NVIDIA Dynamo nests hints in nvext).
  'priority',
  'nvext',

  // Another tenant's cache, session or request: salts and keys choose the prefix cache's namespace, request ids can
  // collide with or abort another's request, slots hold another's context.
  'cache_salt',
  'extra_key',
  'rid',
  'request_id',
  'session_id',
  'session_params',
  'conversation_params',
  'id_slot',

  // The service chooses the endpoint and the rank; these point an engine at addresses and ranks of the client's choice.
  'kv_transfer_params',
  'ec_transfer_params',
  'disaggregated_params',
  'bootstrap_*',
  'routed_dp_rank',
  'data_parallel_rank',
  'disagg_prefill_dp_rank',

  // Another model than `model` says (SGLang lora_path, llama.cpp lora, TGI adapter_id).
  'lora',
  'lora_path',
  'lora_request',
  'adapter_id',

  // Output that escapes the counted fields: llama.cpp prefers these to max_tokens and n; beam search multiplies work;
  // a background response ends at once for its client while it goes on in the engine.
  'n_predict',
  'n_cmpl',
  'use_beam_search',
  'background',

  // A prompt that differs from the one counted, or that is code: Jinja templates, serialised tensors, token ids beside
  // the messages (SGLang), a conversation beside the input (vLLM's Responses).
  'truncate_prompt_tokens',
  'prompt_embeds',
  'input_ids',
  'previous_input_messages',
  'chat_template',

  // Code and settings of the operator's extensions: processors are imported or unpickled by name.
  'logits_processors',
  'custom_logit_processor',
  'custom_params',
  'vllm_xargs',
  'watermark',
  'watermarking',

  // What slows the batch that others share, or hides tokens from the meter; metric labels are unbounded series.
  'stream_interval',
  'return_hidden_states',
  'return_routed_experts',
  'custom_labels',

  // Read by gateways that may stand behind the pool; an OpenAI client merges it into the body and never sends it.
  'extra_body',
];
