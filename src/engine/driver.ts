/**
 * What is known of an engine: data and pure functions, one file for each engine. Whoever asks an engine something or
 * tells it something goes by this; nobody else knows an engine's names.
 */
import type { EngineKind } from '../domain/engine-kinds.ts';
import type { EngineRoute } from '../domain/routes.ts';
import type { Sample, Samples } from './metrics-text.ts';

export interface EngineDriver {
  readonly kind: EngineKind;
  /** As its makers write it. */
  readonly title: string;
  readonly metrics: EngineMetrics;
  /** `owned_by` of its entries in `/v1/models`; undefined: it says nothing of itself there. */
  readonly ownedBy: string | undefined;
  readonly info: ServerInfo | undefined;
  readonly health: EngineHealth;
  /** What an error answer means; undefined: what its status means everywhere. */
  meaningOf(error: ErrorFields): ErrorMeaning | undefined;
  readonly outputCap: OutputCap;
  /** What `usage` of an answer that is no stream counts when `n` is over 1; `one-output`: it never gives more. */
  readonly usageOfSeveral: 'all' | 'one-of-them' | 'one-output';
  readonly priority: EnginePriority | undefined;
  readonly cacheSalt: CacheSalt | undefined;
  readonly lora: EngineLora;
  /** What a tenant must not set. */
  readonly refused: Refused;
  /** What a tenant must not reach. */
  readonly managementPaths: readonly string[];
}

export interface EngineMetrics {
  /** Requests in its batch. */
  readonly running: string;
  /** Requests in its own queue. */
  readonly waiting: string;
  /** Part of the KV cache in use, 0 to 1: the first that is there. */
  readonly kvUsage: readonly string[];
  /** What the functions below read. */
  readonly others: readonly string[];
  /** True for a series that another one's sum contains. */
  isPart?(sample: Sample): boolean;
  /** Tokens that the KV cache holds. */
  kvCapacityTokens?(samples: Samples): number | undefined;
  prefixCache?(samples: Samples): PrefixCache | undefined;
  loras?(samples: Samples): LoraLoad | undefined;
  asleep?(samples: Samples): boolean | undefined;
}

/** Since the start, or of late. */
export type PrefixCache =
  | { readonly kind: 'tokens'; readonly promptTokens: number; readonly cachedTokens: number }
  | { readonly kind: 'rate'; readonly hitRate: number };

export interface LoraLoad {
  /** Adapters that a batch may have at once. */
  readonly max: number;
  /** Adapters of running and of waiting requests; undefined: it does not say which. */
  readonly running: readonly string[] | undefined;
  readonly waiting: readonly string[] | undefined;
}

/** A page where it describes itself. Functions take the JSON of it, whatever that is. */
interface ServerInfo {
  /** The first that answers. */
  readonly paths: readonly string[];
  /** No other engine's page is taken for this one's. */
  isOwn(info: unknown): boolean;
  /** Sequences that it runs at once. */
  maxSequences(info: unknown): number | undefined;
  kvCapacityTokens?(info: unknown): number | undefined;
  /** Each sequence has its own part of the KV cache: a free one is enough, however much the others need. */
  readonly kvIsDivided?: true;
}

/** `loading` and `asleep` come back by themselves or when they are told to; `dead` needs somebody. */
export type EngineState = 'healthy' | 'loading' | 'asleep' | 'dead';

export interface HealthAnswer {
  readonly status: number;
  readonly body: string;
}

export interface EngineHealth {
  readonly path: string;
  /** A shorter time would fail a healthy engine. */
  readonly leastTimeoutMs: number;
  /** @param wasHealthy it has answered well since its last failure, or since we first saw it. */
  stateOf(answer: HealthAnswer, wasHealthy: boolean): 'healthy' | 'loading' | 'dead';
  /** Undefined: it cannot sleep, or health says so. */
  readonly sleep: EngineSleep | undefined;
}

export interface EngineSleep {
  /** Answers 404 where the engine was not started for it. */
  readonly path: string;
  isAsleep(answer: unknown): boolean;
  /** A request wakes it. Where none does, it would hang. */
  readonly wakesByRequest: boolean;
}

export type ErrorMeaning =
  | 'context-too-long'
  | 'unknown-model'
  | 'overloaded'
  | 'loading'
  | 'invalid-request'
  | 'internal'
  | 'unknown';

/** An engine's error in the words that all of them have in common. Missing text is empty. */
export interface ErrorFields {
  /** Of the answer; of an error inside a stream, what it says itself, else 500. */
  readonly status: number;
  readonly message: string;
  readonly type: string;
  readonly param: string;
  readonly code: string;
}

/** What a number below one means in place of a cap; `refused`: the engine answers with an error. */
export type BelowOne = 'unlimited' | 'nothing' | 'refused';

interface OutputCap {
  /** Request fields that set it, the strongest first. */
  readonly chat: readonly string[];
  readonly completions: readonly string[];
  /** Tokens of an output without one; `context`: until the context is full. */
  readonly unlimited: { readonly chat: number | 'context'; readonly completions: number | 'context' };
  /** @param value a whole number below one. */
  belowOne(value: number, route: EngineRoute): BelowOne;
}

export interface PriorityValues {
  readonly belowFairShare: number;
  readonly other: number;
}

interface EnginePriority {
  readonly field: 'priority';
  readonly direction: 'lower-first' | 'higher-first';
  /** How it is found out whether requests with one are taken. */
  readonly found:
    | { readonly by: 'probe'; valuesOf(status: number): PriorityValues | undefined }
    | { readonly by: 'info'; valuesOf(info: unknown): PriorityValues | undefined };
}

interface CacheSalt {
  readonly field: 'cache_salt';
  readonly maxCharacters: number;
  /** None of these characters. */
  readonly without: string;
}

interface EngineCall {
  readonly method: 'POST';
  readonly path: string;
  readonly json: Readonly<Record<string, unknown>>;
}

interface EngineLora {
  /** `model`: an adapter is asked for as a model is. */
  readonly selectedBy: 'model' | undefined;
  /** The names that `GET /v1/models` lists as adapters, from its JSON. */
  listed(models: unknown): readonly string[];
  load?(name: string, path: string): EngineCall;
  unload?(name: string): EngineCall;
  /** What to do where it has no such pages. */
  readonly needs?: string;
  /** What `model` says to have the adapter, where its name alone would not do. */
  modelOf?(base: string, name: string): string;
}

/** Fields may end with `*`: a prefix. Headers in lower case. */
interface Refused {
  readonly fields: readonly string[];
  readonly headers: readonly string[];
}

/** A whole number from 1 on that is no obvious nonsense. */
export const positive = (value: unknown, most = 1e12): number | undefined =>
  typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= most ? value : undefined;

/** Entries of `/v1/models` with a `parent`: vLLM and SGLang. */
export function withParent(models: unknown): readonly string[] {
  const list = (models as { readonly data?: unknown } | null | undefined)?.data;
  if (!Array.isArray(list)) return [];
  return list.flatMap((entry: unknown) => {
    const { id, parent } = (entry ?? {}) as { readonly id?: unknown; readonly parent?: unknown };
    return typeof id === 'string' && typeof parent === 'string' ? [id] : [];
  });
}

/** 2xx is healthy. A 503 is a start that takes its time, until it has been healthy once: then it is the end. */
export function stateByStatus({ status }: HealthAnswer, wasHealthy: boolean): 'healthy' | 'loading' | 'dead' {
  if (status >= 200 && status < 300) return 'healthy';
  return status === 503 && !wasHealthy ? 'loading' : 'dead';
}
