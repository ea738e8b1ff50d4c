/**
 * Fields that tenants may not set by default. `a.b` is the member `b` of `a`; lists are transparent: `messages.content.x`
 * is `x` in every part of every message. A trailing `*` matches a prefix of the last name. Each would let one tenant
 * take from another, read another's data, or escape what the service counts. Sampling, tools, structured output,
 * logprobs, reasoning budgets and the other `chat_template_kwargs` stay allowed: they cost only the request that uses
 * them. What addresses media is a matter of `media`, not of this list.
 */
export const DEFAULT_FORBIDDEN_FIELDS: readonly string[] = [
  // Overtaking: the order of requests is the service's to decide (vLLM, SGLang; NVIDIA Dynamo nests hints in nvext,
  // TensorRT-LLM groups the requests of an agent).
  'priority',
  'nvext',
  'agent_hierarchy',

  // Another tenant's cache, session or request: salts and keys choose the prefix cache's namespace, request ids can
  // collide with or abort another's request, slots hold another's context, which llama.cpp also searches for chunks;
  // LMDeploy keeps a cache for whoever fetches it.
  'cache_salt',
  'extra_key',
  'rid',
  'request_id',
  'session_id',
  'session_params',
  'conversation_params',
  'id_slot',
  'n_cache_reuse',
  'with_cache',
  'preserve_cache',

  // The same for media: vLLM takes a part's `uuid` for the key of its media and prefix caches, unsalted, and serves what
  // lies there when the part has no data; SGLang takes a claimed hash where the operator trusts them. With a `uuid`
  // vLLM also reads a part by its keys instead of its `type`.
  'messages.content.uuid',
  'input.content.uuid',
  'input.output.uuid',
  'messages.content.image_url.content_hash',
  'input.content.image_url.content_hash',

  // The service chooses the endpoint and the rank; these point an engine at addresses and ranks of the client's choice.
  'kv_transfer_params',
  'ec_transfer_params',
  'disaggregated_params',
  'migration_request',
  'bootstrap_*',
  'routed_dp_rank',
  'data_parallel_rank',
  'disagg_prefill_dp_rank',

  // Another model than `model` says (SGLang lora_path, llama.cpp lora, TGI adapter_id, LoRAX's source of one).
  'lora',
  'lora_path',
  'lora_request',
  'adapter_id',
  'adapter_source',

  // Output that escapes the counted fields: llama.cpp prefers these to max_tokens and n; beam search multiplies work;
  // a background response ends at once for its client while it goes on in the engine; without text (TensorRT-LLM)
  // a stream hides its tokens from the meter.
  'n_predict',
  'n_cmpl',
  'use_beam_search',
  'background',
  'detokenize',

  // A prompt that differs from the one counted, or that is code: Jinja templates, serialised tensors, token ids beside
  // the messages (SGLang, TensorRT-LLM, LMDeploy, there with images), vectors in place of tokens (SGLang), a conversation
  // beside the input (vLLM's Responses).
  'truncate_prompt_tokens',
  'prompt_embeds',
  'input_ids',
  'image_data',
  'prompt_token_ids',
  'prompt_token_ids_b64',
  'embed_overrides',
  'embed_override_token_id',
  'previous_input_messages',
  'chat_template',

  // The same among the template's arguments: vLLM and SGLang hand them to the tokenizer's apply_chat_template by name,
  // so that its own parameters can be set (a template, padding to any length, the tokenizer's arguments); in llama.cpp
  // `messages` and `tools` replace the request's.
  'chat_template_kwargs.chat_template',
  'chat_template_kwargs.tokenize',
  'chat_template_kwargs.tokenizer_kwargs',
  'chat_template_kwargs.processor_kwargs',
  'chat_template_kwargs.conversation',
  'chat_template_kwargs.conversations',
  'chat_template_kwargs.messages',
  'chat_template_kwargs.tools',
  'chat_template_kwargs.padding',
  'chat_template_kwargs.truncation',
  'chat_template_kwargs.max_length',
  'chat_template_kwargs.return_*',

  // How much a medium costs: frames, pixels and patches without a bound, in memory of the engine's front end and in
  // tokens. vLLM refuses the first two itself unless it is told to trust its clients.
  'mm_processor_kwargs',
  'media_io_kwargs',
  'images_config',
  'video_config',
  'max_dynamic_patch',
  'min_dynamic_patch',
  'messages.content.image_url.max_*',
  'messages.content.image_url.min_*',
  'messages.content.video_url.max_*',
  'messages.content.video_url.min_*',
  'messages.content.video_url.fps',
  'input.content.max_*',
  'input.content.min_*',
  'input.content.image_url.max_*',
  'input.content.image_url.min_*',

  // Code and settings of the operator's extensions: processors are imported or unpickled by name. The last group are
  // llama.cpp's notes to itself between template and sampler, which it reads from a request as well: a serialised parser,
  // an enumeration's number, regular expressions that run in the sampler.
  'logits_processors',
  'custom_logit_processor',
  'custom_params',
  'vllm_xargs',
  'watermark',
  'watermarking',
  'guided_decoding_backend',
  'chat_parser',
  'chat_format',
  'generation_prompt',
  'grammar_lazy',
  'grammar_triggers',
  'grammar_type',
  'message_delimiters',
  'preserved_tokens',

  // What slows the batch that others share, or hides tokens from the meter: Python regular expressions over the output
  // and a search for repetitions in the scheduler's loop (SGLang, vLLM), a shift of the context for every token and, in
  // older versions, writes out of bounds (llama.cpp), vectors of the vocabulary's size for every token (TensorRT-LLM).
  // Metric labels are unbounded series.
  'stream_interval',
  'stop_regex',
  'repetition_detection',
  'n_keep',
  'n_discard',
  'return_hidden_states',
  'return_routed_experts',
  'return_context_logits',
  'custom_labels',

  // Read by gateways that may stand behind the pool: another address, another model. An OpenAI client merges
  // `extra_body` into the body and never sends it.
  'extra_body',
  'api_base',
  'base_url',
  'fallbacks',
  'models',
  'model_list',
  'user_config',
  'litellm_*',
];

/**
 * Types of tools that only say what the client's own program can do; a trailing `*` matches a prefix. All others act in the engine's
 * network or in a service beside it, with rights that the tenant does not have.
 */
export const DEFAULT_TOOLS: readonly string[] = [
  'function',
  'custom',
  // Anthropic's, which the client runs: bash_20250124, text_editor_20250728, …
  'bash_*',
  'text_editor_*',
  'memory_*',
  // OpenAI's, which the client runs.
  'local_shell',
  'apply_patch',
  'computer*',
  'tool_search*',
  'namespace',
];

/**
 * Types of tools that agents offer of their own accord beside what they run themselves (Codex CLI does so in every turn). Their
 * answer is whole without them, so a request goes on without one where fields that are forbidden are left out, too.
 */
export const OFFERED_TOOLS: readonly string[] = ['web_search*'];

/** Whether an entry changes the built-in list, rather than being one of a list of its own: `+name`, `-name`. */
export const changesNames = (entry: string): boolean => /^[+-]/.test(entry);

/** The names that hold: those of the list, or the built-in ones with what the list adds and removes. */
export function namesOf(list: readonly string[], builtIn: readonly string[]): readonly string[] {
  if (!list.some(changesNames)) return list;
  const names = new Set(builtIn);
  for (const entry of list) {
    if (entry.startsWith('+')) names.add(entry.slice(1));
    else names.delete(entry.slice(1));
  }
  return [...names];
}
