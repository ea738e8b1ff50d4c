/** Which engine an endpoint is, from what it answers. Pure: http-identify.ts asks. */

import type { EngineKind } from '../domain/engine-kinds.ts';
import { isObject } from '../openai/usage.ts';
import { ALL_DRIVERS } from './drivers.ts';

export const MODELS_PATH = '/v1/models';

/** What is asked when the metrics say nothing, in this order; the first answer that tells is taken. */
export const IDENTIFYING_PATHS: readonly string[] = [
  MODELS_PATH,
  ...new Set(ALL_DRIVERS.flatMap(({ info }) => info?.paths ?? [])),
];

/** @param answer the JSON of one of IDENTIFYING_PATHS, whatever it is. */
export function recognise(path: string, answer: unknown): EngineKind | undefined {
  if (path !== MODELS_PATH) {
    return ALL_DRIVERS.find(({ info }) => info?.paths.includes(path) === true && info.isOwn(answer))?.kind;
  }
  const list = isObject(answer) ? answer['data'] : undefined;
  if (!Array.isArray(list)) return undefined;
  const owners = new Set(list.map((entry: unknown) => (isObject(entry) ? entry['owned_by'] : undefined)));
  return ALL_DRIVERS.find(({ ownedBy }) => ownedBy !== undefined && owners.has(ownedBy))?.kind;
}
