/**
 * A comparison on a virtual clock: the simulated engine and the real queue, windows and predictions, without a socket or a
 * timer. Ten minutes of traffic take seconds, and the same seed gives the same result.
 *
 * What the clock knows of the world between: one hop, the way of a byte between a client or Fairlane and the engine, takes
 * `hopMs`. What the engine says of itself is from the end of its last planning, as vLLM's gauges are.
 */
import { DEFAULT_LANE, type LaneConfig } from '../config/config.ts';
import { type CostWeights, costOf, DEFAULT_COST } from '../domain/cost.ts';
import { type Allotments, createAllotments } from '../limit/allotments.ts';
import { adaptiveLimit } from '../pool/concurrency-limit/adaptive.ts';
import { type ConcurrencyLimit, type Gauges } from '../pool/concurrency-limit/concurrency-limit.ts';
import { createPoolEndpoints } from '../pool/pool-endpoints.ts';
import { createDispatcher, type Release } from '../queue/dispatcher.ts';
import { createEngine } from '../simulator/engine.ts';
import type { EngineProfile } from '../simulator/profile.ts';
import { createPredictor } from '../usage/predictor.ts';
import { createEventQueue } from './event-queue.ts';
import type { Request, TenantLoad } from './load.ts';
import { type ArmOutcome, createQuantiles, type Quantiles, type RequestOutcome } from './outcome.ts';
import { createVirtualAllotments, type VirtualAllotments } from './virtual-allotments.ts';

export type Arm =
  /** The quiet tenants have the engine for themselves. */
  | { readonly kind: 'solo' }
  /** Everybody sends to the engine. */
  | { readonly kind: 'direct' }
  /** Everybody sends to the engine; the others than the quiet tenants have one bucket of requests. */
  | { readonly kind: 'request-bucket'; readonly perSecond: number }
  | { readonly kind: 'fairlane'; readonly fairlane: FairlaneOptions }
  /** A perfect scheduler inside the engine. */
  | { readonly kind: 'floor' };

export interface FairlaneOptions {
  /** How the endpoint's window is kept; the default is adaptive. */
  readonly makeWindow?: (initial: number) => ConcurrencyLimit;
  /** A fixed window instead. */
  readonly window?: number;
  /** What the scrapes give; the default is what the engine says. */
  readonly gauges?: (real: Gauges, nowMs: number) => Gauges | 'unusable';
  readonly lanes?: readonly LaneConfig[];
  readonly maxQueued?: number;
  readonly prefillTokens?: number;
  readonly reserve?: number | 'auto';
  /** False: others are sent while a quiet prompt is computed. */
  readonly holds?: boolean;
  /** Quiet requests tell the engine a better priority than others. */
  readonly enginePriority?: boolean;
  readonly cost?: CostWeights;
  readonly onWindow?: (limit: number, nowMs: number) => void;
  readonly replicas?: Replicas;
}

/** Several Fairlanes in front of the engine, which share its window. */
export interface Replicas {
  readonly count: number;
  /** Which one a request comes to, from 0. */
  readonly of: (request: Request) => number;
  /** One way to the account of shares. Default: 0.3. */
  readonly hopMs?: number;
  /** Whether the account can be reached. Default: always. */
  readonly isUp?: (nowMs: number) => boolean;
  /** Default: 0.5. */
  readonly failureShare?: number;
  /** Seen every 10 ms: of each, what is in flight and its part of the window. */
  readonly onShares?: (
    list: readonly { readonly inFlight: number; readonly window: number; readonly queued: number }[],
    nowMs: number,
  ) => void;
}

export interface LabOptions {
  readonly profile: EngineProfile;
  readonly tenants: readonly TenantLoad[];
  readonly requests: readonly Request[];
  readonly durationMs: number;
  readonly hopMs: number;
}

const SCRAPE_MS = 1_000;
const EAGER_SCRAPE_MS = 200;
const TICK_MS = 50;
/** As a request's life does: what streams is charged and timed in pieces. */
const TOKENS_PER_CHARGE = 32;
const BYTES_PER_TOKEN = 4;
const MODEL = 'model';
const SHARE_TICK_MS = 10;
const SHARE_HOP_MS = 0.3;
const MAX_WAIT_MS = 10;

interface Running {
  readonly request: Request;
  readonly load: TenantLoad;
  releasedMs: number | undefined;
  firstTokenMs: number | undefined;
  lastTokenMs: number;
  tokens: number;
  onToken: (last: boolean, cachedTokens: number, nowMs: number) => void;
}

/** Hashes of a prompt's full blocks: those of the shared prefix are the tenant's, the others are its own. */
function prefixHashes(request: Request, load: TenantLoad, blockTokens: number): readonly string[] {
  if (load.sharedPrefix < blockTokens) return [];
  const shared = Math.min(load.sharedPrefix, request.promptTokens);
  return Array.from({ length: Math.floor(shared / blockTokens) }, (_, i) => `${load.name}/${i}`);
}

export function runArm(arm: Arm, options: LabOptions): ArmOutcome {
  const { durationMs, hopMs } = options;
  const profile: EngineProfile =
    arm.kind === 'floor' ? { ...options.profile, scheduling: 'ideal' } : options.profile;
  const loads = new Map(options.tenants.map((tenant) => [tenant.name, tenant]));
  const requests =
    arm.kind === 'solo'
      ? options.requests.filter(({ tenant }) => loads.get(tenant)?.quiet === true)
      : options.requests;

  const events = createEventQueue();
  const engine = createEngine(profile);
  const running = new Map<string, Running>();
  const outcomes: RequestOutcome[] = [];
  const itl = new Map<string, Quantiles>(options.tenants.map(({ name }) => [name, createQuantiles()]));

  let gauges: Gauges = { running: 0, waiting: 0, kvUsage: 0 };
  let stepping = false;
  let inEngine = 0;
  let usefulTokens = 0;
  let busyMs = 0;
  let sequenceMs = 0;
  let backloggedMs = 0;
  let waitsElsewhere = (): boolean => false;

  const step = (nowMs: number): void => {
    const plan = engine.planStep();
    const { running: batch, waiting, kvUsage } = engine.gauges();
    gauges = { running: batch, waiting, kvUsage };
    stepping = plan !== undefined;
    if (plan === undefined) return;
    const within = Math.max(0, Math.min(plan.durationMs, durationMs - nowMs));
    busyMs += within;
    sequenceMs += within * batch;
    if (waiting > 0 || waitsElsewhere()) backloggedMs += within;
    events.at(nowMs + plan.durationMs, (endMs) => {
      for (const { id, last, cachedTokens } of engine.finishStep()) {
        const one = running.get(id);
        if (one === undefined) continue;
        if (endMs <= durationMs) usefulTokens += one.tokens === 0 ? one.request.promptTokens + 1 : 1;
        one.tokens += 1;
        if (last) {
          running.delete(id);
          inEngine -= 1;
        }
        events.at(endMs + hopMs, (seenMs) => one.onToken(last, cachedTokens, seenMs));
      }
      // Without hops, what these tokens set off reaches the engine before it plans: two events later.
      events.at(endMs, () => events.at(endMs, () => events.at(endMs, step)));
    });
  };

  const toEngine = (one: Running, priority: number, nowMs: number): void => {
    inEngine += 1;
    one.releasedMs = nowMs;
    events.at(nowMs + hopMs, (atMs) => {
      const { id, promptTokens, outputTokens } = one.request;
      running.set(id, one);
      engine.add({
        id,
        promptTokens,
        outputTokens,
        priority,
        prefixHashes: prefixHashes(one.request, one.load, profile.blockTokens),
      });
      if (!stepping) {
        stepping = true;
        events.at(atMs, step);
      }
    });
  };

  const finish = (one: Running, outcome: RequestOutcome['outcome'], endedMs: number): void => {
    const { tenant, atMs, promptTokens } = one.request;
    outcomes.push({
      tenant,
      atMs,
      outcome,
      promptTokens,
      outputTokens: one.tokens,
      endedMs,
      ...(one.releasedMs !== undefined && { releasedMs: one.releasedMs }),
      ...(one.firstTokenMs !== undefined && { firstTokenMs: one.firstTokenMs }),
      ...(one.firstTokenMs !== undefined &&
        one.tokens > 1 && { itlMs: (one.lastTokenMs - one.firstTokenMs) / (one.tokens - 1) }),
    });
  };

  const seen = (one: Running, nowMs: number): void => {
    if (one.firstTokenMs === undefined) one.firstTokenMs = nowMs;
    else itl.get(one.load.name)?.add(nowMs - one.lastTokenMs);
    one.lastTokenMs = nowMs;
  };

  const refusals = { beyondReserve: 0, any: 0 };
  const submit: (one: Running, nowMs: number) => void = (() => {
    if (arm.kind !== 'fairlane') {
      const burst = arm.kind === 'request-bucket' ? Math.max(1, arm.perSecond) : 0;
      let level = burst;
      let levelMs = 0;
      return (one, nowMs) => {
        if (arm.kind === 'request-bucket' && !one.load.quiet) {
          level = Math.min(burst, level + ((nowMs - levelMs) * arm.perSecond) / 1_000);
          levelMs = nowMs;
          if (level < 1) {
            if (inEngine < profile.maxSequences) refusals.any += 1;
            finish(one, 'refused', nowMs);
            return;
          }
          level -= 1;
        }
        one.onToken = (last, _, at) => {
          seen(one, at);
          if (last) finish(one, 'completed', at);
        };
        toEngine(one, one.load.quiet ? 0 : 1, nowMs);
      };
    }
    const { replicas } = arm.fairlane;
    if (replicas === undefined) return fairlane(arm.fairlane).submit;
    const account = createVirtualAllotments();
    const list = Array.from({ length: replicas.count }, (_, i) => fairlane(arm.fairlane, { account, i }));
    waitsElsewhere = () => list.some(({ dispatcher }) => dispatcher.queued() > 0);
    const look = (nowMs: number): void => {
      replicas.onShares?.(
        list.map(({ endpoints, dispatcher }) => ({
          inFlight: endpoints.inFlight(),
          window: endpoints.concurrencyLimit(nowMs),
          queued: dispatcher.queued(),
        })),
        nowMs,
      );
      if (nowMs < durationMs) events.at(nowMs + SHARE_TICK_MS, look);
    };
    events.at(0, look);
    return (one, nowMs) => list[replicas.of(one.request)]?.submit(one, nowMs);
  })();

  /** One replica's shares, over the virtual account. */
  function sharesOf(
    { hopMs: hop = SHARE_HOP_MS, isUp = () => true, failureShare = 0.5 }: Replicas,
    { account, i }: { readonly account: VirtualAllotments; readonly i: number },
  ): Allotments {
    let clockMs = 0;
    const shares = createAllotments({
      failureShare,
      maxWaitMs: MAX_WAIT_MS,
      isUp: () => isUp(clockMs),
      send(key, kind, sent, done) {
        events.at(sent.atMs + hop, (atMs) => {
          const answer = isUp(atMs) ? account.call(key, kind, `replica-${i}`, sent, atMs) : undefined;
          events.at(atMs + hop, (doneMs) => done(answer, doneMs));
        });
      },
      onActive: () => undefined,
    });
    const tick = (nowMs: number): void => {
      clockMs = nowMs;
      shares.tick(nowMs);
      if (nowMs < durationMs || shares.active() > 0) events.at(nowMs + SHARE_TICK_MS, tick);
    };
    events.at(0, tick);
    return shares;
  }

  function fairlane(
    own: FairlaneOptions,
    among?: { readonly account: VirtualAllotments; readonly i: number },
  ) {
    const url = 'http://engine';
    const { blockTokens, kvBlocks } = profile;
    const cost = own.cost ?? DEFAULT_COST;
    const lanes = new Map((own.lanes ?? [DEFAULT_LANE]).map((lane) => [lane.name, lane]));
    const predictor = createPredictor();
    const shares =
      own.replicas === undefined || among === undefined ? undefined : sharesOf(own.replicas, among);
    const endpoints = createPoolEndpoints(
      own.makeWindow ?? ((initial) => adaptiveLimit({ initial, most: 4_096 })),
      shares && {
        hold: (key, owner) =>
          shares.hold(key, 'window', {
            ...owner,
            changed: (nowMs) => dispatcher.roomChanged('main', nowMs),
          }),
        waiting: (nowMs) => ({
          queued: dispatcher.queuedOf('main'),
          reserve: dispatcher.reserveOf('main', nowMs),
        }),
      },
    );
    endpoints.reconfigure([{ url, address: 'engine' }], {
      concurrencyLimit: own.window ?? 'auto',
      prefillTokens: own.prefillTokens ?? 2_048,
      headroom: own.reserve ?? 'auto',
      holds: own.holds ?? true,
    });
    endpoints.setCapacity(url, kvBlocks * blockTokens);
    endpoints.setHealthy(url, true, 0);
    const dispatcher = createDispatcher(
      { maxWaitMs: 30_000, maxQueued: 1_000_000, quantumTokens: 64, lanes },
      (name) => ({ weight: loads.get(name)?.weight ?? 1, maxOutputs: 16, maxQueued: own.maxQueued ?? 100 }),
    );
    dispatcher.addPool('main', endpoints);
    waitsElsewhere = () => dispatcher.queued() > 0;

    const scrape = (nowMs: number): void => {
      const sample = own.gauges === undefined ? gauges : own.gauges(gauges, nowMs);
      events.at(nowMs + hopMs, (atMs) => {
        endpoints.gauges(url, sample, atMs);
        own.onWindow?.(endpoints.concurrencyLimit(atMs), atMs);
        dispatcher.dispatch(atMs);
        const eager = endpoints.list(atMs).some((endpoint) => endpoint.eager);
        if (atMs < durationMs || running.size > 0) {
          events.at(atMs + (eager ? EAGER_SCRAPE_MS : SCRAPE_MS), scrape);
        }
      });
    };
    events.at(0, scrape);
    const tick = (nowMs: number): void => {
      dispatcher.tick(nowMs);
      if (nowMs < durationMs || dispatcher.queued() > 0) events.at(nowMs + TICK_MS, tick);
    };
    events.at(TICK_MS, tick);

    const submitTo = (one: Running, nowMs: number): void => {
      const { tenant, promptTokens, outputTokens } = one.request;
      const promptBytes = promptTokens * BYTES_PER_TOKEN;
      const prompt = predictor.promptTokens(tenant, MODEL, promptBytes);
      const output = predictor.outputTokens(tenant, MODEL, one.load.saysLength ? outputTokens : undefined);
      const lane = lanes.get(one.load.lane ?? '') ?? [...lanes.values()][0];
      const onRelease = (release: Release, releasedMs: number): void => {
        let chargedMs = 0;
        let chargedTokens = 0;
        one.onToken = (last, cachedTokens, at) => {
          seen(one, at);
          if (one.tokens === 1 || chargedTokens === 0) {
            chargedMs = at;
            chargedTokens = 1;
            release.firstToken(at);
          }
          const tokens = one.tokens;
          if (tokens - chargedTokens >= TOKENS_PER_CHARGE) {
            release.slot.interToken((at - chargedMs) / (tokens - chargedTokens), at);
            chargedMs = at;
            chargedTokens = tokens;
            release.charge(costOf(cost, promptTokens, cachedTokens, tokens), at);
          }
          if (!last) return;
          predictor.learn(tenant, MODEL, { promptBytes, promptTokens, cachedTokens, outputTokens: tokens });
          release.settle(costOf(cost, promptTokens, cachedTokens, tokens), at);
          finish(one, 'completed', at);
          release.free(at);
        };
        toEngine(one, own.enginePriority === true && release.belowFairShare ? 0 : 1, releasedMs);
      };
      const offer = dispatcher.offer(
        {
          tenant,
          pool: 'main',
          lane: lane?.name ?? '',
          cost: costOf(cost, prompt, predictor.cachedTokens(tenant, MODEL, prompt), output),
          demand: {
            sequences: 1,
            promptTokens: prompt,
            totalTokens: prompt + output,
            streamed: true,
            ...(lane !== undefined && { slo: lane }),
          },
          onRelease,
          onExpire: (_reason, _waited, at) => finish(one, 'refused', at),
        },
        nowMs,
      );
      if (offer.kind !== 'refused') return;
      if (inEngine < profile.maxSequences) refusals.any += 1;
      const [endpoint] = endpoints.list(nowMs);
      const kept =
        endpoint?.holding === true ? Number.POSITIVE_INFINITY : dispatcher.reserveOf('main', nowMs);
      if (endpoints.inFlight() < endpoints.concurrencyLimit(nowMs) - kept) refusals.beyondReserve += 1;
      finish(one, 'refused', nowMs);
    };
    return { submit: submitTo, dispatcher, endpoints };
  }

  for (const request of requests) {
    const load = loads.get(request.tenant);
    if (load === undefined) throw new Error(`a request of ${request.tenant}, which is no tenant`);
    const one: Running = {
      request,
      load,
      releasedMs: undefined,
      firstTokenMs: undefined,
      lastTokenMs: 0,
      tokens: 0,
      onToken() {},
    };
    events.at(request.atMs, (nowMs) => submit(one, nowMs));
  }
  events.run();

  return {
    arm: arm.kind,
    durationMs,
    requests: outcomes,
    itl,
    usefulTokens,
    engine: {
      busy: busyMs / durationMs,
      batch: busyMs === 0 ? 0 : sequenceMs / busyMs / profile.maxSequences,
      backlogged: backloggedMs / durationMs,
    },
    refusedWhileIdle: refusals,
    notes: [],
  };
}

/** Requests a second of these kinds that the engine completes while it always has more waiting. */
export function capacityPerSecond(
  profile: EngineProfile,
  requests: readonly { readonly promptTokens: number; readonly outputTokens: number }[],
): number {
  const engine = createEngine(profile);
  let added = 0;
  let done = 0;
  let nowMs = 0;
  let warmMs = 0;
  let warmDone = 0;
  while (added < requests.length) {
    while (engine.gauges().waiting < 4 && added < requests.length) {
      const request = requests[added];
      if (request !== undefined) engine.add({ id: String(added), prefixHashes: [], ...request });
      added += 1;
    }
    const plan = engine.planStep();
    if (plan === undefined) break;
    nowMs += plan.durationMs;
    done += engine.finishStep().filter(({ last }) => last).length;
    if (warmMs === 0 && added > requests.length / 4) {
      warmMs = nowMs;
      warmDone = done;
    }
  }
  return ((done - warmDone) * 1_000) / (nowMs - warmMs);
}
