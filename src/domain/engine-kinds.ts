/** The engines that Fairlane knows, as the configuration and its logs call them. engine/ has a driver for each. */
export const ENGINE_KINDS = ['vllm', 'sglang', 'llamacpp', 'tgi', 'trtllm', 'lmdeploy'] as const;
export type EngineKind = (typeof ENGINE_KINDS)[number];

/** What a pool's endpoints may be said to be where that is no engine of ours: an API like OpenAI's, and nothing more is asked. */
export const API_ALONE = 'openai';
/** `auto`: each is asked. */
export type PoolEngine = 'auto' | typeof API_ALONE | EngineKind;
