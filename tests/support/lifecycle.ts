/** A request's life cycle without a wire: the real admission, queue and limits, an edge that remembers what it was told. */

import type {
  DirectResponse,
  Edge,
  HeaderList,
  RequestHead,
  ResponseMode,
  SendOn,
} from '../../src/admission/edge.ts';
import type { ExplainContext } from '../../src/admission/explain.ts';
import { Holdings } from '../../src/admission/holdings.ts';
import type { LifecycleContext, RoutingInputs } from '../../src/admission/lifecycle-context.ts';
import { modelsRequestOf } from '../../src/admission/models-lifecycle.ts';
import { Quarantine } from '../../src/admission/quarantine.ts';
import { createRequestLifecycle, type RequestLifecycle } from '../../src/admission/request-lifecycle.ts';
import {
  type Config,
  DEFAULT_LANE,
  type LaneConfig,
  type Limits,
  type TenantConfig,
} from '../../src/config/config.ts';
import { SharedOwners } from '../../src/conversation/shared-owners.ts';
import { DEFAULT_COST } from '../../src/domain/cost.ts';
import { type EngineCapabilities, NO_CAPABILITIES } from '../../src/engine/capabilities.ts';
import { createMemoryStore } from '../../src/limit/memory-store.ts';
import type { LimitStore } from '../../src/limit/store.ts';
import type { PoolAdapters } from '../../src/lora/pool-adapters.ts';
import { fixedLimit } from '../../src/pool/concurrency-limit/fixed.ts';
import { createPoolEndpoints } from '../../src/pool/pool-endpoints.ts';
import { createDispatcher } from '../../src/queue/dispatcher.ts';
import { createRollouts } from '../../src/rollout/rollouts.ts';
import { createCatalog } from '../../src/routing/model-catalog.ts';
import { createPromptHasher, type PromptSource } from '../../src/routing/prompt-hash.ts';
import { createTenantDirectory } from '../../src/tenant/directory.ts';
import { Paces } from '../../src/usage/abandoned.ts';
import { createOccupancy } from '../../src/usage/occupancy.ts';
import { createPredictor } from '../../src/usage/predictor.ts';
import type { UsageRecord } from '../../src/usage/usage-record.ts';
import { CALL_SETTINGS } from './call-settings.ts';
import { FIELDS, MEDIA } from './documents.ts';

export type Said =
  | { readonly kind: 'pass-headers' }
  | { readonly kind: 'hold'; readonly forMs: number }
  | { readonly kind: 'respond'; readonly response: DirectResponse }
  | { readonly kind: 'send-on'; readonly request: SendOn }
  | { readonly kind: 'response-headers'; readonly mode: ResponseMode; readonly add: HeaderList }
  | { readonly kind: 'chunk'; readonly replacement: Uint8Array | undefined };

type Writable<T> = { -readonly [K in keyof T]: T[K] };

/** Of a chat request of tenant `a`. */
export const chatHead = (fields: Partial<RequestHead> = {}): RequestHead => ({
  method: 'POST',
  path: '/v1/chat/completions',
  tenant: 'a',
  requestId: 'r1',
  contentLength: undefined,
  endOfStream: false,
  header: () => '',
  ...fields,
});

export interface World {
  readonly context: Writable<ExplainContext>;
  readonly records: UsageRecord[];
  readonly config: Config;
  /** @param keepsBody whether the edge is one that has the body. */
  open(keepsBody?: boolean): { readonly request: RequestLifecycle; readonly said: Said[] };
  request(edge: Edge): RequestLifecycle;
  readonly dispatcher: ReturnType<typeof createDispatcher>;
  readonly endpoints: ReturnType<typeof createPoolEndpoints>;
  endpointsOf(pool: string): ReturnType<typeof createPoolEndpoints>;
  readonly tenants: ReturnType<typeof createTenantDirectory>;
  readonly catalog: ReturnType<typeof createCatalog>;
  readonly occupancy: ReturnType<typeof createOccupancy>;
  readonly rollouts: ReturnType<typeof createRollouts>;
}

export interface WorldOptions {
  readonly limits?: Partial<Limits>;
  readonly models?: TenantConfig['models'];
  readonly window?: number;
  readonly fields?: Partial<Config['fields']>;
  readonly discover?: boolean;
  /** The configuration, before anything is made of it. */
  readonly change?: (config: Config) => Config;
  readonly lanes?: ReadonlyMap<string, LaneConfig>;
  readonly help?: EngineCapabilities;
  /** Of pool main. */
  readonly adapters?: PoolAdapters;
  readonly adapterName?: LifecycleContext['adapterName'];
  readonly store?: LimitStore;
  readonly unixMs?: number;
  readonly mirrorTo?: LifecycleContext['mirrorTo'];
  /** Endpoints are chosen by more than load. */
  readonly choosing?: RoutingInputs;
}

const tenant = (name: string, options: WorldOptions): TenantConfig => ({
  name,
  keys: [],
  models: options.models ?? '*',
  limits: { weight: 1, maxOutputs: 16, maxQueued: 10, ...options.limits },
});

/** Tenants `a` and `b`, pool `main` with one healthy endpoint 10.0.0.1:8000, models `small` and `secret`. */
export function createWorld(options: WorldOptions = {}): World {
  const names = ['a', 'b'];
  const standard: Config = {
    listen: [{ address: { host: '127.0.0.1', port: 8080 } }],
    refusedTenantFiles: [],
    envoy: {
      admin: { host: '127.0.0.1', port: 9901 },
      directory: '/nowhere',
      failureMode: 'open',
      fallbackPool: 'main',
      maxBodyBytes: 1_000_000,
      maxUnsizedBodyBytes: 1_000_000,
      connectionBufferBytes: 65_536,
      maxHeapBytes: 268_435_456,
      maxConnections: 1_000,
      idleTimeoutMs: 60_000,
      uploads: { minBytesPerSecond: 16_384, graceMs: 10_000 },
    },
    service: {
      address: { kind: 'unix', path: '/nowhere/ext-proc.sock' },
      metrics: { host: '127.0.0.1', port: 0 },
      console: 'auto',
      drainTimeoutMs: 1_000,
      dns: { refreshMs: 5_000, servers: [] },
    },
    queue: {
      maxWaitMs: 1_000,
      maxQueued: 100,
      quantumTokens: 64,
      lanes: options.lanes ?? new Map([[DEFAULT_LANE.name, DEFAULT_LANE]]),
    },
    rateLimit: { mergeDomains: false, ...CALL_SETTINGS },
    cost: DEFAULT_COST,
    fields: { ...FIELDS, ...options.fields },
    media: MEDIA,
    pools: new Map([
      [
        'main',
        {
          name: 'main',
          endpoints: [{ url: 'http://10.0.0.1:8000', host: '10.0.0.1', port: 8000 }],
          drain: [],
          routing: 'least-loaded',
          choice: { weights: {}, slowClients: [], sessionHeader: 'x-session-id', zones: new Map() },
          engine: 'auto',
          concurrencyLimit: options.window ?? 2,
          prefillTokens: 2_048,
          headroom: 'auto',
          gauges: { path: '/metrics', intervalMs: 1_000 },
          engineCapabilities: { priority: 'off', cacheSalt: 'off' },
          health: {
            path: '/health',
            intervalMs: 1_000,
            timeoutMs: 1_000,
            unhealthyAfter: 2,
            healthyAfter: 1,
            slowStartMs: 30_000,
          },
          discoverModels: options.discover ?? false,
        },
      ],
    ]),
    models: new Map(
      options.discover === true
        ? []
        : ['small', 'secret'].map((name) => [name, { name, pool: 'main', cost: DEFAULT_COST, fallback: [] }]),
    ),
    aliases: new Map(),
    adapters: new Map(),
    tenants: new Map(names.map((name) => [name, tenant(name, options)])),
    telemetry: { tenantHistograms: 'on' },
    log: { level: 'info', format: 'json' },
  };
  const config = options.change?.(standard) ?? standard;
  const records: UsageRecord[] = [];
  const tenants = createTenantDirectory(
    config,
    options.store ?? createMemoryStore(),
    () => options.unixMs ?? 0,
  );
  const endpointsOf = new Map(
    [...config.pools.values()].map((pool) => {
      const adapters = pool.name === 'main' ? options.adapters : undefined;
      const endpoints = createPoolEndpoints(fixedLimit, undefined, undefined, adapters);
      endpoints.reconfigure(
        pool.endpoints.map(({ url, host, port }) => ({
          url,
          address: `${host}:${port}`,
          isolated: pool.choice.slowClients.includes(url),
        })),
        {
          concurrencyLimit: pool.concurrencyLimit,
          prefillTokens: pool.prefillTokens,
          headroom: pool.headroom,
          ...(pool.routing !== 'least-loaded' && { routing: { ...pool.choice, profile: pool.routing } }),
        },
      );
      for (const { url } of pool.endpoints) endpoints.setHealthy(url, true, 0);
      return [pool.name, endpoints];
    }),
  );
  const endpoints = endpointsOf.get('main');
  if (endpoints === undefined) throw new Error('there is no pool main');
  const dispatcher = createDispatcher(config.queue, (name) => tenants.get(name)?.config.limits);
  for (const [name, pool] of endpointsOf) dispatcher.addPool(name, pool);
  const catalog = createCatalog(config);
  const occupancy = createOccupancy();
  const hasher = createPromptHasher(new Uint32Array([1, 2, 3, 4, 5, 6]));
  const rollouts = createRollouts(config.models.values(), () => undefined);
  const context: Writable<ExplainContext> = {
    config: () => config,
    tenants,
    catalog,
    rollouts,
    dispatcher,
    predictor: createPredictor(),
    holdings: new Holdings((error) => {
      throw error;
    }),
    occupancy,
    paces: new Paces(),
    quarantine: new Quarantine(() => undefined),
    capabilitiesOf: () => options.help ?? NO_CAPABILITIES,
    ...(options.mirrorTo !== undefined && { mirrorTo: options.mirrorTo }),
    routingInputsOf: () => options.choosing,
    nameAt: (_pool, address) => `http://${address}`,
    hashPrompt: (_pool: string, source: PromptSource) => hasher.hash(source),
    ...(options.adapterName !== undefined && { adapterName: options.adapterName }),
    owners: new SharedOwners(undefined, () => 0),
    startedS: 1_700_000_000,
    record: (record: UsageRecord) => records.push(record),
    now: () => 0,
    onBug: (detail: string) => {
      throw new Error(detail);
    },
  };
  return {
    context,
    records,
    config,
    dispatcher,
    endpoints,
    tenants,
    catalog,
    occupancy,
    rollouts,
    endpointsOf(pool) {
      const found = endpointsOf.get(pool);
      if (found === undefined) throw new Error(`there is no pool ${pool}`);
      return found;
    },
    request: (edge) => createRequestLifecycle(context, edge),
    open(keepsBody = false) {
      const said: Said[] = [];
      const edge: Edge = {
        keepsBody,
        passHeaders: () => said.push({ kind: 'pass-headers' }),
        hold: (forMs) => said.push({ kind: 'hold', forMs }),
        respond: (response) => said.push({ kind: 'respond', response }),
        sendOn: (request) => said.push({ kind: 'send-on', request }),
        passResponseHeaders: (mode, add) => said.push({ kind: 'response-headers', mode, add }),
        passChunk: (replacement) => said.push({ kind: 'chunk', replacement }),
      };
      return { request: createRequestLifecycle(context, edge), said };
    },
  };
}

/** What a request for models is answered. */
export function askModels(
  { context }: World,
  head: Partial<RequestHead> = {},
): { readonly status: number; readonly json: unknown; readonly headers: HeaderList } {
  let answer: DirectResponse | undefined;
  const unexpected = (): never => {
    throw new Error('models are answered, and nothing else');
  };
  const edge: Edge = {
    keepsBody: true,
    passHeaders: unexpected,
    hold: unexpected,
    respond(response) {
      if (answer !== undefined) unexpected();
      answer = response;
    },
    sendOn: unexpected,
    passResponseHeaders: unexpected,
    passChunk: unexpected,
  };
  const full = chatHead({ method: 'GET', path: '/v1/models', endOfStream: true, ...head });
  const request = modelsRequestOf(context, edge, full);
  request?.headers(full, 0);
  request?.streamEnded();
  if (answer === undefined) throw new Error('no answer');
  return { status: answer.status, json: JSON.parse(answer.body) as unknown, headers: answer.headers };
}
