/**
 * Which routes of the API each engine has, beside those that every one is thought to have. By path: an engine may have one of a
 * route's paths and not another. From the sources of vLLM 0.32 (and vLLM-Omni, which says that it is vLLM), SGLang 0.5.23 (and its
 * diffusion server) and llama.cpp. Most depend on the model, too: then the engine itself answers 404.
 */
import type { EngineKind } from '../domain/engine-kinds.ts';
import { API_ROUTES, isCommon, pathsOf } from '../domain/routes.ts';

const MORE: Readonly<Record<EngineKind, readonly string[]>> = {
  vllm: [
    '/v1/messages/count_tokens',
    '/v1/rerank',
    '/rerank',
    '/v2/rerank',
    '/v1/score',
    '/score',
    '/classify',
    '/pooling',
    '/tokenize',
    '/detokenize',
    '/v1/audio/transcriptions',
    '/v1/audio/translations',
    '/v1/audio/speech',
    '/v1/images/generations',
  ],
  // Its own /classify takes another body, which names no model.
  sglang: [
    '/v1/messages/count_tokens',
    '/v1/rerank',
    '/v1/score',
    '/v1/classify',
    '/tokenize',
    '/v1/tokenize',
    '/detokenize',
    '/v1/detokenize',
    '/v1/audio/transcriptions',
    '/v1/images/generations',
  ],
  llamacpp: [
    '/v1/messages/count_tokens',
    '/v1/rerank',
    '/rerank',
    '/tokenize',
    '/detokenize',
    '/v1/audio/transcriptions',
  ],
  tgi: [],
  trtllm: [],
  lmdeploy: ['/pooling'],
};

const COMMON = API_ROUTES.filter(isCommon).flatMap(pathsOf);

/** @param path without its query. */
export const isServedBy = (kind: EngineKind, path: string): boolean =>
  COMMON.includes(path) || MORE[kind].includes(path);

/** Method and path of each. */
export const servedBy = (kind: EngineKind): readonly string[] =>
  [...COMMON, ...MORE[kind]].map((path) => `POST ${path}`);
