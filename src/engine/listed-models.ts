/**
 * What engines say of their models in `GET /v1/models`, beside the names: vLLM and SGLang `max_model_len`, `root`, `parent`,
 * `permission`, llama.cpp `meta`. It goes on to clients, so it is plain data of a bounded size, whatever an engine sends. Pure.
 */
import { isObject } from '../openai/usage.ts';
import { positive } from './driver.ts';

export interface ListedModel {
  /** Tokens that a prompt and an output have room for; undefined: it does not say. */
  readonly maxTokens: number | undefined;
  /** Whatever else it says, but for what Fairlane says itself. */
  readonly facts: Readonly<Record<string, unknown>>;
}

/** Fairlane's own. */
const OURS: ReadonlySet<string> = new Set(['id', 'object', 'created', 'owned_by', 'max_model_len']);
const MAX_MODELS = 256;
/** Of one model, and of all of an endpoint, in characters of JSON. */
const MAX_FACTS = 2_048;
const MAX_ALL_FACTS = 65_536;
const MAX_DEPTH = 4;
const MAX_MEMBERS = 32;
const MAX_TEXT = 512;
const MOST_TOKENS = 1e8;
const NAME = /^[\x21-\x7e]{1,256}$/;
const KEY = /^[A-Za-z0-9_.-]{1,64}$/;

/** Undefined: nothing that is passed on. */
function plain(value: unknown, depth: number): unknown {
  if (value === null || typeof value === 'boolean') return value;
  if (typeof value === 'number') return Number.isFinite(value) ? value : undefined;
  if (typeof value === 'string') return value.length <= MAX_TEXT && !/\p{C}/u.test(value) ? value : undefined;
  if (depth >= MAX_DEPTH || typeof value !== 'object') return undefined;
  if (Array.isArray(value)) {
    if (value.length > MAX_MEMBERS) return undefined;
    return value.map((item) => plain(item, depth + 1)).filter((item) => item !== undefined);
  }
  return members(value, depth);
}

function members(value: object, depth: number): Readonly<Record<string, unknown>> {
  const kept = Object.entries(value)
    .slice(0, MAX_MEMBERS)
    .filter(([key]) => KEY.test(key) && key !== '__proto__' && !(depth === 0 && OURS.has(key)))
    .map(([key, member]) => [key, plain(member, depth + 1)] as const)
    .filter(([, member]) => member !== undefined);
  return Object.fromEntries(kept);
}

/** By name. @param answer whatever the engine answered, as JSON. */
export function listedModels(answer: unknown): ReadonlyMap<string, ListedModel> {
  const models = new Map<string, ListedModel>();
  const list: unknown = isObject(answer) ? answer['data'] : undefined;
  if (!Array.isArray(list)) return models;
  let left = MAX_ALL_FACTS;
  for (const entry of list.slice(0, MAX_MODELS) as readonly unknown[]) {
    if (!isObject(entry)) continue;
    const { id } = entry;
    if (typeof id !== 'string' || !NAME.test(id)) continue;
    const facts = members(entry, 0);
    const { length } = JSON.stringify(facts);
    const fits = length <= Math.min(MAX_FACTS, left);
    if (fits) left -= length;
    models.set(id, {
      maxTokens: positive(entry['max_model_len'], MOST_TOKENS),
      facts: fits ? facts : {},
    });
  }
  return models;
}
