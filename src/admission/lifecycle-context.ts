/** The ports of a request's life cycle: what it asks of the rest of the service, and no more of that than it needs. */

import type { Config, LoraAdapterConfig } from '../config/config.ts';
import type { SharedOwners } from '../conversation/shared-owners.ts';
import type { EngineKind } from '../domain/engine-kinds.ts';
import type { EngineCapabilities } from '../engine/capabilities.ts';
import type { ListedModel } from '../engine/listed-models.ts';
import type { Dispatcher } from '../queue/types.ts';
import type { Rollouts } from '../rollout/rollouts.ts';
import type { Catalog } from '../routing/model-catalog.ts';
import type { PromptHashes, PromptSource } from '../routing/prompt-hash.ts';
import type { Tenant, TenantDirectory } from '../tenant/directory.ts';
import type { RequestLimits } from '../tenant/tenant-limits.ts';
import type { Paces } from '../usage/abandoned.ts';
import type { Occupancy } from '../usage/occupancy.ts';
import type { Predictor } from '../usage/predictor.ts';
import type { PriceBook } from '../usage/price-book.ts';
import type { RequestTrace } from '../usage/request-trace.ts';
import type { UsageRecord } from '../usage/usage-record.ts';
import type { BodyDecoder } from './body-decoder.ts';
import type { BodyQueue } from './body-queue.ts';
import type { RequestHead } from './edge.ts';
import type { Holdings } from './holdings.ts';
import type { Quarantine } from './quarantine.ts';
import type { SlowReaders } from './slow-readers.ts';

/** A tenant, as far as one of its requests goes. */
export interface RequestTenant extends Pick<Tenant, 'config'> {
  /** Of the tenant, and once they are known those of its key and its model. */
  readonly limits: Pick<RequestLimits, 'takeRequest' | 'reserveTokens' | 'requests' | 'tokens' | 'month'> &
    Partial<Pick<RequestLimits, 'budget' | 'within' | 'ofModel'>>;
}

interface RequestTenants {
  get(name: Parameters<TenantDirectory['get']>[0]): RequestTenant | undefined;
  /** Absent: there are no others than those that are there. */
  visit?(
    ...visit: Parameters<TenantDirectory['visit']>
  ): RequestTenant | Extract<ReturnType<TenantDirectory['visit']>, string> | undefined;
}

export interface LifecycleContext {
  readonly config: () => Config;
  readonly tenants: RequestTenants;
  readonly catalog: Pick<
    Catalog,
    'poolOf' | 'poolsForUnlisted' | 'adapterOf' | 'costOf' | 'choose' | 'isDiscovering' | 'modelsOf'
  >;
  readonly rollouts: Pick<Rollouts, 'assign'>;
  readonly dispatcher: Pick<Dispatcher, 'offer' | 'canServe' | 'isFullFor' | 'retryAfterMs'>;
  readonly predictor: Predictor;
  /** Where large bodies are read; absent: here, at once. */
  readonly bodies?: BodyQueue;
  /** Where bodies are decoded; absent: they are taken as they are only. */
  readonly decoder?: BodyDecoder;
  readonly holdings: Holdings;
  readonly occupancy: Pick<Occupancy, 'open'>;
  /** How fast endpoints write. */
  readonly paces: Paces;
  readonly quarantine: Quarantine;
  /** What the engines of a pool can do themselves, and are to do. */
  readonly capabilitiesOf: (pool: string) => EngineCapabilities;
  /** What the engines of a pool are; undefined: not known, or not the same. */
  readonly engineKindOf?: (pool: string) => EngineKind | undefined;
  /** What an endpoint of a pool is; absent, undefined: that is not known. */
  readonly engineAt?: (pool: string, address: string) => EngineKind | undefined;
  /** What an endpoint of a pool is called: by its address, where nobody knows it. */
  readonly nameAt: (pool: string, address: string) => string;
  /** How a pool's endpoints are chosen; undefined where that goes by load alone. */
  readonly routingInputsOf?: (pool: string) => RoutingInputs | undefined;
  /** The prompt as its pool's choice of endpoints knows it; undefined where nothing is cached by prefix. */
  readonly hashPrompt?: (pool: string, source: PromptSource) => PromptHashes | undefined;
  /** The pool that gets a copy of a request of this model, if one does; undefined: no model is mirrored. */
  readonly mirrorTo?: (model: string, outputTokens: number, nowMs: number) => string | undefined;
  /** Tokens that a prompt and an output have room for together on an endpoint; undefined: its engine does not say. */
  readonly contextAt?: (pool: string, address: string) => number | undefined;
  /** What the engines of a pool say of a model; undefined: nothing is known. */
  readonly listedModel?: (pool: string, model: string) => ListedModel | undefined;
  /** What an adapter is called in requests to the engines of a pool; undefined: by its name. */
  readonly adapterName?: (pool: string, adapter: LoraAdapterConfig) => string | undefined;
  /** Whose the responses are that engines store; absent: nobody knows one. */
  readonly owners?: Pick<SharedOwners, 'find' | 'remember' | 'ended' | 'forget'>;
  /** Whether a pool has an endpoint, healthy or not; absent: it has. */
  readonly hasEndpoint?: (pool: string, address: string) => boolean;
  /** Unix time of the start, in seconds: `created` of the models. */
  readonly startedS: number;
  /** What is charged; absent: nothing is. */
  readonly prices?: PriceBook | undefined;
  /** What a record is known by; absent: nobody asks. @param endedMs Unix time of its end; undefined: it is now. */
  readonly stamp?: (endedMs?: number) => Required<Pick<UsageRecord, 'id' | 'endedMs'>>;
  /** Begins the trace of a request; absent, undefined: requests are not traced. */
  readonly trace?: (head: Pick<RequestHead, 'header'>) => RequestTrace | undefined;
  /** A traced request has ended. */
  readonly traced?: (record: UsageRecord, trace: RequestTrace) => void;
  readonly record: (record: UsageRecord) => void;
  /** Monotonic milliseconds: when an answer that had to be waited for is there. */
  readonly now: () => number;
  /** Unix time in milliseconds: keys expire, and prices are valid, by it. Absent: the clock's. */
  readonly unixMs?: () => number;
  /** A bug. It costs the request, which Envoy's own timeout ends. */
  readonly onBug: (detail: string) => void;
}

export interface RoutingInputs {
  /** Request header that names a session, in lower case. */
  readonly sessionHeader: string;
  /** Where requests want to stay. */
  readonly zone: string | undefined;
  /** Where it matters how clients read. */
  readonly readers: SlowReaders | undefined;
}
