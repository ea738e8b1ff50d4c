/** The engines that are known. */
import type { EngineAdapter, EngineKind } from './driver.ts';
import { LLAMACPP } from './llamacpp.ts';
import { SGLANG } from './sglang.ts';
import { TGI } from './tgi.ts';
import { TRTLLM } from './trtllm.ts';
import { VLLM } from './vllm.ts';

export const ADAPTERS: Readonly<Record<EngineKind, EngineAdapter>> = {
  vllm: VLLM,
  sglang: SGLANG,
  llamacpp: LLAMACPP,
  tgi: TGI,
  trtllm: TRTLLM,
};

export const ALL_ADAPTERS: readonly EngineAdapter[] = Object.values(ADAPTERS);
