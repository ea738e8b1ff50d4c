/** The engines that are known. */

import type { EngineKind } from '../domain/engine-kinds.ts';
import type { EngineDriver } from './driver.ts';
import { LLAMACPP } from './llamacpp.ts';
import { LMDEPLOY } from './lmdeploy.ts';
import { SGLANG } from './sglang.ts';
import { TGI } from './tgi.ts';
import { TRTLLM } from './trtllm.ts';
import { VLLM } from './vllm.ts';

export const DRIVERS: Readonly<Record<EngineKind, EngineDriver>> = {
  vllm: VLLM,
  sglang: SGLANG,
  llamacpp: LLAMACPP,
  tgi: TGI,
  trtllm: TRTLLM,
  lmdeploy: LMDEPLOY,
};

export const ALL_DRIVERS: readonly EngineDriver[] = Object.values(DRIVERS);
