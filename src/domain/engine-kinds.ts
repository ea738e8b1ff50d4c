/** The engines that Fairlane knows, as the configuration and its logs call them. engine/ has a driver for each. */
export const ENGINE_KINDS = ['vllm', 'sglang', 'llamacpp', 'tgi', 'trtllm'] as const;
export type EngineKind = (typeof ENGINE_KINDS)[number];
