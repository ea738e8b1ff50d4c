/**
 * Fairlane on the lab's clock: its real queue, endpoints, predictions and allotments, before the virtual
 * engine.
 */
import { DEFAULT_LANE, type LaneConfig } from '../config/config.ts';
import { type CostWeights, costOf, DEFAULT_COST } from '../domain/cost.ts';
import type { Allotments } from '../limit/allotments.ts';
import { adaptiveLimit } from '../pool/concurrency-limit/adaptive.ts';
import type { ConcurrencyLimit, Gauges } from '../pool/concurrency-limit/concurrency-limit.ts';
import { createPoolEndpoints } from '../pool/pool-endpoints.ts';
import type { PoolEndpoints } from '../pool/types.ts';
import { createDispatcher } from '../queue/dispatcher.ts';
import type { Dispatcher, Release } from '../queue/types.ts';
import { createPredictor, type Predictor } from '../usage/predictor.ts';
import type { ArmRecord, TokenObserver, VirtualRequest } from './arm-record.ts';
import type { EventQueue } from './event-queue.ts';
import type { Request, TenantLoad } from './load.ts';
import type { VirtualEngine } from './virtual-engine.ts';

export interface FairlaneOptions {
  /** How the endpoint's concurrency limit is kept; the default is adaptive. */
  readonly makeLimit?: (initial: number) => ConcurrencyLimit;
  /** A fixed concurrency limit instead. */
  readonly concurrencyLimit?: number;
  /** What the scrapes give; the default is what the engine says. */
  readonly gauges?: (real: Gauges, nowMs: number) => Gauges | 'unusable';
  readonly lanes?: readonly LaneConfig[];
  readonly maxQueued?: number;
  readonly prefillTokens?: number;
  readonly headroom?: number | 'auto';
  /** False: others are sent while the prompt of a tenant below its fair share is computed. */
  readonly holds?: boolean;
  /** Requests of tenants below their fair share tell the engine a better priority than others. */
  readonly enginePriority?: boolean;
  readonly cost?: CostWeights;
  /** Requests whose answer comes in one piece; the default is none. */
  readonly inOnePiece?: (request: Request) => boolean;
  /** Told of the concurrency limit at each scrape. */
  readonly onLimit?: (limit: number, nowMs: number) => void;
}

/** What every Fairlane of an arm shares. */
export interface FairlaneWorld {
  readonly events: EventQueue;
  readonly engine: VirtualEngine;
  readonly record: ArmRecord;
  readonly loads: ReadonlyMap<string, TenantLoad>;
  readonly hopMs: number;
  readonly durationMs: number;
}

const SCRAPE_MS = 1_000;
const EAGER_SCRAPE_MS = 200;
const TICK_MS = 50;
/** As in a request's lifecycle: what streams is charged and timed in pieces. */
const TOKENS_PER_CHARGE = 32;
const BYTES_PER_TOKEN = 4;
const MODEL = 'model';
const POOL = 'main';
const URL = 'http://engine';
const QUEUE = { maxWaitMs: 30_000, maxQueued: 1_000_000, quantumTokens: 64 };

export class VirtualFairlane {
  readonly endpoints: PoolEndpoints;
  readonly dispatcher: Dispatcher;
  readonly #own: FairlaneOptions;
  readonly #world: FairlaneWorld;
  readonly #cost: CostWeights;
  readonly #lanes: ReadonlyMap<string, LaneConfig>;
  readonly #predictor = createPredictor();

  /** @param allotments its parts of what it shares with other Fairlanes; absent: it is alone. */
  constructor(own: FairlaneOptions, world: FairlaneWorld, allotments?: Allotments) {
    this.#own = own;
    this.#world = world;
    this.#cost = own.cost ?? DEFAULT_COST;
    this.#lanes = new Map((own.lanes ?? [DEFAULT_LANE]).map((lane) => [lane.name, lane]));
    this.endpoints = this.#makeEndpoints(allotments);
    this.dispatcher = createDispatcher({ ...QUEUE, lanes: this.#lanes }, (name) => ({
      weight: world.loads.get(name)?.weight ?? 1,
      maxOutputs: 16,
      maxQueued: own.maxQueued ?? 100,
    }));
    this.dispatcher.addPool(POOL, this.endpoints);
    world.events.at(0, this.#scrape);
    world.events.at(TICK_MS, this.#tick);
  }

  /** Offers a request to the queue. */
  submit(one: VirtualRequest, nowMs: number): void {
    const { tenant, promptTokens, outputTokens } = one.request;
    const promptBytes = promptTokens * BYTES_PER_TOKEN;
    const prompt = this.#predictor.promptTokens(tenant, MODEL, promptBytes);
    const cached = this.#predictor.cachedTokens(tenant, MODEL, prompt);
    const output = this.#predictor.outputTokens(
      tenant,
      MODEL,
      one.load.saysLength ? outputTokens : undefined,
    );
    const lane = this.#lanes.get(one.load.lane ?? '') ?? [...this.#lanes.values()][0];
    const offer = this.dispatcher.offer(
      {
        tenant,
        pool: POOL,
        lane: lane?.name ?? '',
        cost: costOf(this.#cost, prompt, cached, output),
        demand: {
          sequences: 1,
          promptTokens: prompt,
          cachedTokens: {
            proportional: cached,
            usual: this.#predictor.usualCachedTokens(tenant, MODEL),
          },
          totalTokens: prompt + output,
          streamed: !this.#isInOnePiece(one),
          ...(lane !== undefined && { slo: lane }),
        },
        onRelease: (release, releasedMs) => this.#send(one, release, releasedMs),
        onExpire: (_reason, _waited, atMs) => this.#world.record.end(one, 'refused', atMs),
      },
      nowMs,
    );
    if (offer.kind === 'refused') this.#refuse(one, nowMs);
  }

  #makeEndpoints(allotments: Allotments | undefined): PoolEndpoints {
    const { blockTokens, kvBlocks } = this.#world.engine.profile;
    const own = this.#own;
    const endpoints = createPoolEndpoints(
      own.makeLimit ?? ((initial) => adaptiveLimit({ initial, most: 4_096 })),
      allotments && {
        hold: (key, owner) =>
          allotments.hold(key, 'concurrency-limit', {
            ...owner,
            changed: (nowMs) => this.dispatcher.roomChanged(POOL, nowMs),
          }),
        waiting: (nowMs) => ({
          queued: this.dispatcher.queuedOf(POOL),
          headroom: this.dispatcher.headroomOf(POOL, nowMs),
        }),
      },
    );
    endpoints.reconfigure([{ url: URL, address: 'engine' }], {
      concurrencyLimit: own.concurrencyLimit ?? 'auto',
      prefillTokens: own.prefillTokens ?? 2_048,
      headroom: own.headroom ?? 'auto',
      holds: own.holds ?? true,
    });
    endpoints.setCapacity(URL, kvBlocks * blockTokens);
    endpoints.setHealthy(URL, true, 0);
    return endpoints;
  }

  #send(one: VirtualRequest, release: Release, releasedMs: number): void {
    one.observer = new ReleasedRequest(release, {
      cost: this.#cost,
      predictor: this.#predictor,
      record: this.#world.record,
      isStream: !this.#isInOnePiece(one),
    });
    const isFirst = this.#own.enginePriority === true && release.belowFairShare;
    this.#world.engine.send(one, isFirst ? 0 : 1, releasedMs);
  }

  #isInOnePiece({ request }: VirtualRequest): boolean {
    return this.#own.inOnePiece?.(request) === true;
  }

  #refuse(one: VirtualRequest, nowMs: number): void {
    const { engine, record } = this.#world;
    if (engine.hasIdleSequence()) record.refusedWhileIdle.any += 1;
    const [endpoint] = this.endpoints.list(nowMs);
    const kept =
      endpoint?.isHolding === true ? Number.POSITIVE_INFINITY : this.dispatcher.headroomOf(POOL, nowMs);
    if (this.endpoints.inFlight() < this.endpoints.concurrencyLimit(nowMs) - kept) {
      record.refusedWhileIdle.beyondReserve += 1;
    }
    record.end(one, 'refused', nowMs);
  }

  readonly #scrape = (nowMs: number): void => {
    const { engine, events, hopMs } = this.#world;
    const said = engine.gauges();
    const sample = this.#own.gauges === undefined ? said : this.#own.gauges(said, nowMs);
    events.at(nowMs + hopMs, (atMs) => this.#onGauges(sample, atMs));
  };

  #onGauges(sample: Gauges | 'unusable', nowMs: number): void {
    const { engine, events, durationMs } = this.#world;
    this.endpoints.gauges(URL, sample, nowMs);
    this.#own.onLimit?.(this.endpoints.concurrencyLimit(nowMs), nowMs);
    this.dispatcher.dispatch(nowMs);
    const isEager = this.endpoints.list(nowMs).some((endpoint) => endpoint.isEager);
    if (nowMs < durationMs || engine.isBusy()) {
      events.at(nowMs + (isEager ? EAGER_SCRAPE_MS : SCRAPE_MS), this.#scrape);
    }
  }

  readonly #tick = (nowMs: number): void => {
    this.dispatcher.tick(nowMs);
    if (nowMs < this.#world.durationMs || this.dispatcher.queued() > 0) {
      this.#world.events.at(nowMs + TICK_MS, this.#tick);
    }
  };
}

interface Accounts {
  readonly cost: CostWeights;
  readonly predictor: Predictor;
  readonly record: ArmRecord;
  readonly isStream: boolean;
}

/** A request that the queue has released: charged while it streams, settled and learned from at its end. */
class ReleasedRequest implements TokenObserver {
  readonly #release: Release;
  readonly #accounts: Accounts;
  #chargedMs = 0;
  #chargedTokens = 0;

  constructor(release: Release, accounts: Accounts) {
    this.#release = release;
    this.#accounts = accounts;
  }

  onToken(one: VirtualRequest, last: boolean, cachedTokens: number, nowMs: number): void {
    const { cost, record, isStream } = this.#accounts;
    const release = this.#release;
    record.token(one, nowMs);
    if (!isStream) {
      if (last) this.#end(one, cachedTokens, nowMs);
      return;
    }
    if (one.tokens === 1 || this.#chargedTokens === 0) {
      this.#chargedMs = nowMs;
      this.#chargedTokens = 1;
      release.firstToken(nowMs);
    }
    const { tokens } = one;
    const since = tokens - this.#chargedTokens;
    if (since >= TOKENS_PER_CHARGE) {
      release.slot.interToken((nowMs - this.#chargedMs) / since, nowMs);
      this.#chargedMs = nowMs;
      this.#chargedTokens = tokens;
      release.charge(costOf(cost, one.request.promptTokens, cachedTokens, tokens), nowMs);
    }
    if (last) this.#end(one, cachedTokens, nowMs);
  }

  #end(one: VirtualRequest, cachedTokens: number, nowMs: number): void {
    const { cost, predictor, record } = this.#accounts;
    const { tenant, promptTokens } = one.request;
    const { tokens } = one;
    predictor.learn(tenant, MODEL, {
      promptBytes: promptTokens * BYTES_PER_TOKEN,
      promptTokens,
      cachedTokens,
      outputTokens: tokens,
    });
    this.#release.settle(costOf(cost, promptTokens, cachedTokens, tokens), nowMs);
    one.gpuSeconds = this.#release.slot.gpuMs(nowMs, { promptTokens, cachedTokens }) / 1_000;
    record.end(one, 'completed', nowMs);
    this.#release.free(nowMs);
  }
}
