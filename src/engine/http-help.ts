/** Finds out what an engine can do for fairness itself, by asking it for one token. */
import type { EndpointConfig, PoolConfig } from '../config/config.ts';
import type { EngineKind } from './gauges.ts';
import { type EngineHelp, NO_HELP, sglangPriority, vllmPriority } from './help.ts';
import { askText } from './http-probe.ts';

const TIMEOUT_MS = 10_000;
const SALT = 'fairlane-probe';

/** The status of a one-token completion with this field; 0 without an answer. */
async function tryField(endpoint: EndpointConfig, model: string, field: object): Promise<number> {
  const body = { model, prompt: 'a', max_tokens: 1, ...field };
  try {
    return (await askText(endpoint, '/v1/completions', TIMEOUT_MS, body)).status;
  } catch {
    return 0;
  }
}

async function serverInfo(endpoint: EndpointConfig): Promise<unknown> {
  for (const path of ['/get_server_info', '/server_info']) {
    try {
      const { status, body } = await askText(endpoint, path, TIMEOUT_MS);
      if (status === 200) return JSON.parse(body) as unknown;
    } catch {
      // The next path, or none: then it takes no priorities.
    }
  }
  return undefined;
}

/** @param model one that the endpoint serves. */
export async function probeHelp(
  endpoint: EndpointConfig,
  kind: EngineKind,
  model: string,
  wanted: PoolConfig['engineHelp'],
): Promise<EngineHelp> {
  if (kind !== 'vllm' && kind !== 'sglang') return NO_HELP;
  const priority =
    wanted.priority === 'off'
      ? undefined
      : kind === 'vllm'
        ? vllmPriority(await tryField(endpoint, model, { priority: 1 }))
        : sglangPriority(await serverInfo(endpoint));
  const cacheSalt =
    wanted.cacheSalt === 'auto' && (await tryField(endpoint, model, { cache_salt: SALT })) === 200;
  return { priority, cacheSalt };
}
