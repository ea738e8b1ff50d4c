/**
 * One request, from its headers to its end.
 *
 *   new → accepted → reading → waiting → released → answering → ended
 *     ↘ asking ↗        ↘ asking ↗
 *
 * `asking`: others have to be asked about a limit. It is passed in no time where the answer is known here.
 * `roomless` (before accepted): the tenant's other bodies leave no room for this one, so its upload has not been let begin.
 * `reading`: the body is large, and is read a step at a time. A small one is read in no time.
 *
 * Every state may go straight to `ended`. Invariants: whatever the order of events, the reservation is settled once,
 * the slot is freed once, one usage record is written, and what comes after the end changes nothing.
 */

import type { UnavailableReason } from '../config/aliases.ts';
import type { Config, LaneConfig, LoraAdapterConfig, TenantConfig } from '../config/config.ts';
import { uploadMs } from '../config/memory-bound.ts';
import type { ApiError } from '../domain/api-error.ts';
import { BROKE_TWICE, BROKE_TWICE_DETAILS, hasBroken, NO_RETRY_HEADER } from '../domain/broke-twice.ts';
import { costOf } from '../domain/cost.ts';
import { LIMITED_HEADER, MODEL_HEADER } from '../domain/names.ts';
import { type EngineRoute, type RouteName, routeOf } from '../domain/routes.ts';
import { type EngineCapabilities, NO_CAPABILITIES } from '../engine/capabilities.ts';
import {
  adapterUnavailable,
  bodyTooLarge,
  contextLengthExceeded,
  draining,
  modelNotFound,
  noHealthyEndpoint,
  queueFull,
  queueTimeout,
  quotaSpent,
  rateLimited,
} from '../openai/error-body.ts';
import { NO_DOCUMENT } from '../openai/json/document.ts';
import { type Reading as BodyText, readJson } from '../openai/json/reader.ts';
import { modelList } from '../openai/models.ts';
import { NAME } from '../openai/names.ts';
import { namesOf } from '../openai/policy-names.ts';
import {
  isUnchanged,
  type ParsedRequest,
  type RequestChanges,
  serialiseRequest,
  understand,
  withPriority,
} from '../openai/request.ts';
import type { AttemptResult } from '../pool/health/outcome.ts';
import { laneFor } from '../queue/lane-rules.ts';
import type { Dispatcher, Offer, Release, Ticket } from '../queue/types.ts';
import type { CanaryAssignment, Rollouts } from '../rollout/rollouts.ts';
import type { ChoiceRequest } from '../routing/candidate.ts';
import type { Catalog } from '../routing/model-catalog.ts';
import type { PromptHashes, PromptSource } from '../routing/prompt-hash.ts';
import type { Tenant, TenantDirectory } from '../tenant/directory.ts';
import type { Reservation, ReservationResult } from '../tenant/tenant-limits.ts';
import { abandonedTokens, mostOutput, type Paces } from '../usage/abandoned.ts';
import type { Occupancy, OccupancyEntry } from '../usage/occupancy.ts';
import { isPossibleOutput, type Predictor } from '../usage/predictor.ts';
import type { Outcome, UsageRecord } from '../usage/usage-record.ts';
import { type AnswerMeter, type AnswerReading, createAnswerMeter, unseenReading } from './answer-meter.ts';
import { errorResponse, rateLimitHeaders } from './answers.ts';
import { AT_ONCE_BYTES, type BodyQueue, type BodyReading } from './body-queue.ts';
import { cacheSaltOf, cacheScopeOf } from './cache-salt.ts';
import { isJsonType } from './content-type.ts';
import type { Edge, HeaderList, RequestHead, ResponseHead } from './edge.ts';
import { type Holding, type Holdings, holdingLimitsOf } from './holdings.ts';
import type { Quarantine, Ride } from './quarantine.ts';
import * as refusals from './refusals.ts';
import { lastHop, type Reading, type SlowReaders } from './slow-readers.ts';

export interface LifecycleContext {
  readonly config: () => Config;
  readonly tenants: TenantDirectory;
  readonly catalog: Catalog;
  readonly rollouts: Rollouts;
  readonly dispatcher: Pick<Dispatcher, 'offer' | 'explain' | 'canServe' | 'isFullFor' | 'retryAfterMs'>;
  readonly predictor: Predictor;
  /** Where large bodies are read; absent: here, at once. */
  readonly bodies?: BodyQueue;
  readonly holdings: Holdings;
  readonly occupancy: Occupancy;
  /** How fast endpoints write. */
  readonly paces: Paces;
  readonly quarantine: Quarantine;
  /** What the engines of a pool can do themselves, and are to do. */
  readonly capabilitiesOf: (pool: string) => EngineCapabilities;
  /** How a pool's endpoints are chosen; undefined where that goes by load alone. */
  readonly routingInputsOf?: (pool: string) => RoutingInputs | undefined;
  /** The prompt as its pool's choice of endpoints knows it; undefined where nothing is cached by prefix. */
  readonly hashPrompt?: (pool: string, source: PromptSource) => PromptHashes | undefined;
  /** The pool that gets a copy of a request of this model, if one does; undefined: no model has a shadow. */
  readonly mirrorTo?: (model: string, outputTokens: number, nowMs: number) => string | undefined;
  /** What an adapter is called in requests to the engines of a pool; undefined: by its name. */
  readonly adapterName?: (pool: string, adapter: LoraAdapterConfig) => string | undefined;
  /** Unix time of the start, in seconds: `created` of the models. */
  readonly startedS: number;
  readonly record: (record: UsageRecord) => void;
  /** Monotonic milliseconds: when an answer that had to be waited for is there. */
  readonly now: () => number;
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

export interface RequestLifecycle {
  headers(head: RequestHead, nowMs: number): void;
  /** The whole body. */
  body(bytes: Uint8Array, nowMs: number): void;
  responseHeaders(head: ResponseHead, nowMs: number): void;
  responseChunk(bytes: Uint8Array, endOfStream: boolean, nowMs: number): void;
  /** Trailers, or anything else that proves that the answer was complete. */
  responseComplete(nowMs: number): void;
  /** Time has passed without a message: a stream whose client stopped reading gives its slot back. */
  tick(nowMs: number): void;
  /** The stream is gone, for whatever reason. */
  streamEnded(nowMs: number): void;
  /** True once nothing can come any more that would change anything. */
  readonly ended: () => boolean;
}

type State =
  | 'new'
  | 'asking'
  | 'roomless'
  | 'accepted'
  | 'reading'
  | 'waiting'
  | 'released'
  | 'answering'
  | 'ended';

interface Serving {
  readonly model: string;
  readonly pool: string;
  /** It cannot now, and nothing can in its place. */
  readonly hindered: boolean;
}

/** Routes on which engines take `priority` and `cache_salt`; on others one may refuse what it does not know. */
const HELPED_ROUTES: ReadonlySet<EngineRoute> = new Set(['chat.completions', 'completions']);
/** Longer is no name of a session. */
const MAX_SESSION_ID = 512;
const AS_IT_CAME = 'as-it-came';
const MIN_OUTPUT_TOKENS = 1;
/** Dropped fields are named by the client: a record holds no more of them than this. */
const MAX_LOGGED_FIELDS = 16;
const MAX_LOGGED_NAME = 64;
/** Envoy waits a little longer than the queue does, so that the queue's own answer is the one the client gets. */
const HOLD_MARGIN_MS = 5_000;
/** The same for a large body that waits for its turn to be read. */
const READING_MS = 30_000;
/** Envoy waits for five seconds: so long a request waits for room for its body. */
const ROOM_MS = 3_000;
/** A stream is charged and timed each so many tokens. */
const TOKENS_PER_CHARGE = 32;
/** Or each so many bytes of text, where several tokens come in an event. */
const BYTES_PER_CHARGE = 512;
/** An engine has ended a stream when it had so many times the time that its tokens usually take. */
const STALL_PATIENCE = 2;
/** An engine that does not know an adapter is asked what it has at once. */
const ADAPTER_RETRY_MS = 1_000;
/** Without a first byte nothing is known of the endpoint: the client may just have left. */
const NOTHING_SEEN: AttemptResult = { broken: 'client' };

const NOTHING_FORBIDDEN: ParsedRequest['forbidden'] = new Map();

/** Names the session where no header does. */
function promptCacheKeyOf({ document }: ParsedRequest): string | undefined {
  const key = document.get(0, NAME.prompt_cache_key);
  return document.isString(key) && document.more(key) <= 4 * MAX_SESSION_ID ? document.text(key) : undefined;
}

/** @param fromEngine false: Envoy answered because no endpoint did. */
function endingOf(status: number, fromEngine: boolean): AttemptResult {
  if (fromEngine) return { status };
  return { broken: status === 504 ? 'timeout' : 'reset' };
}

/** What the end tells of the engine that had it. */
function restOf(outcome: Outcome, reason: string | undefined): 'well' | 'answered' | 'unanswered' {
  if (outcome === 'completed') return 'well';
  return outcome === 'failed' && reason === 'engine' ? 'answered' : 'unanswered';
}

export function createRequestLifecycle(context: LifecycleContext, edge: Edge): RequestLifecycle {
  let state: State = 'new';
  let arrivedMs = 0;
  let requestId = '';
  let route: RouteName | undefined;
  let tenant: Tenant | undefined;
  let holding: Holding | undefined;
  /** When the body must be there. */
  let uploadUntilMs = 0;
  let bodyBytes = 0;
  /** With the model that serves it. */
  let request: ParsedRequest | undefined;
  /** The name that the client sent. */
  let askedModel = '';
  /** Models that would serve it and cannot. */
  let hindered: Map<string, UnavailableReason> | undefined;
  /** Of the model that was asked for. */
  let firstRefusal: ApiError | undefined;
  let trial: CanaryAssignment | undefined;
  /** Prompt tokens by which versions of a model are compared: the same prompt has the same number with each. */
  let comparedTokens = 0;
  let isTimed = false;
  let releasedMs = 0;
  let toSend: readonly Buffer[] | typeof AS_IT_CAME | undefined;
  /** Engines need not know chunked bodies. */
  let hasLength = false;
  let predictedPrompt = 0;
  /** A gateway sends a body without waiting for the answer to the headers. */
  let earlyBody: Uint8Array | undefined;
  /** Until when there must be room for the body. */
  let roomUntilMs = 0;
  let bodyReading: BodyReading | undefined;
  /** Envoy waits already: it can be told once. */
  let isHeld = false;
  let reservation: Reservation | undefined;
  let ticket: Ticket | undefined;
  let place: OccupancyEntry | undefined;
  let release: Release | undefined;
  let queuedSinceMs: number | undefined;
  let queueMs = 0;
  let endpoint: string | undefined;
  let ride: Ride | undefined;
  let status: number | undefined;
  let meter: AnswerMeter | undefined;
  let header: ((name: string) => string) | undefined;
  let lane: LaneConfig | undefined;
  let within: RequestHead['within'];
  let predictedCached = 0;
  let predictedOutput = 0;
  /** Of all outputs together. */
  let outputLimit: number | undefined;
  /** Of the stream: when its first token came, and what has been charged since. */
  let firstTokenMs: number | undefined;
  let lastChunkMs = 0;
  let hasBegun = false;
  let chargedTokens = 0;
  let chargedMs = 0;
  let chargedBytes = 0;
  let stalled = false;
  /** Where it matters how its client reads: who that is, and what its answer shows. */
  let readers: SlowReaders | undefined;
  let clientAddress = '';
  let watched: Reading | undefined;
  /** What is to be said of the endpoint. */
  let ending = NOTHING_SEEN;
  /** As it was when the request was written. */
  let priority: EngineCapabilities['priority'];

  const isLimited = (): boolean => tenant !== undefined && context.quarantine.isLimited(tenant.config.name);

  const limitHeaders = (nowMs: number): HeaderList =>
    tenant === undefined
      ? []
      : isLimited()
        ? [...rateLimitHeaders(tenant.limits, nowMs), [LIMITED_HEADER, 'engines-died']]
        : rateLimitHeaders(tenant.limits, nowMs);

  const record = (
    outcome: Outcome,
    reason: string | undefined,
    reading: AnswerReading | undefined,
    nowMs: number,
  ): void => {
    if (tenant === undefined || route === undefined || route === 'models') return;
    const known = request !== undefined && context.catalog.poolOf(request.model) !== undefined;
    context.record({
      requestId,
      tenant: tenant.config.name,
      route,
      ...(known && request !== undefined && { model: request.model }),
      ...(release !== undefined && { pool: release.pool }),
      ...(endpoint !== undefined && { endpoint }),
      ...(lane !== undefined && { lane: lane.name }),
      stream: request?.stream ?? false,
      quiet: release?.belowFairShare ?? false,
      stalled,
      outcome,
      ...(reason !== undefined && { reason }),
      ...(status !== undefined && { status }),
      queueMs,
      ...(reading?.firstTokenMs !== undefined && { ttftMs: reading.firstTokenMs - arrivedMs }),
      ...(reading?.itl !== undefined && { itlMeanMs: reading.itl.meanMs, itlMaxMs: reading.itl.maxMs }),
      durationMs: nowMs - arrivedMs,
      promptTokens: reading?.usage.promptTokens ?? 0,
      completionTokens: reading?.usage.completionTokens ?? 0,
      cachedTokens: reading?.usage.cachedTokens ?? 0,
      usageSource: reading?.source ?? 'none',
      droppedFields: (request?.dropped ?? [])
        .slice(0, MAX_LOGGED_FIELDS)
        .map((name) => name.slice(0, MAX_LOGGED_NAME)),
    });
  };

  const costNow = (promptTokens: number, cachedTokens: number, outputTokens: number): number =>
    costOf(context.catalog.costOf(request?.model ?? ''), promptTokens, cachedTokens, outputTokens);

  /** The first token is there, or late: once. Answers in one piece have none. */
  const timeTrial = (nowMs: number): void => {
    if (trial === undefined || isTimed || request?.stream !== true) return;
    const ttftMs = nowMs - releasedMs;
    const late = trial.slowAfterMs(comparedTokens) ?? Number.POSITIVE_INFINITY;
    if (firstTokenMs === undefined && ttftMs <= late) return;
    isTimed = true;
    trial.firstToken(comparedTokens, ttftMs, nowMs);
  };

  /** What the engine did, as far as it tells versions apart. */
  const judgeTrial = (outcome: Outcome, reading: AnswerReading | undefined, nowMs: number): void => {
    if (outcome === 'completed') trial?.ended(false, nowMs);
    else if (outcome === 'failed' && (reading?.errorFrame === true || (status ?? 0) >= 500)) {
      trial?.ended(true, nowMs);
    }
  };

  /** Output tokens, as far as anything but the engine's own count tells. */
  const usedOutput = (nowMs: number, isWhole = false): number => {
    if (release === undefined || request === undefined || tenant === undefined) return 0;
    if (request.route === 'embeddings') return 0;
    const { slot } = release;
    return abandonedTokens({
      events: meter?.tokens() ?? 0,
      contentTokens: context.predictor.contentTokens(
        tenant.config.name,
        request.model,
        meter?.contentBytes() ?? 0,
      ),
      // A whole answer shows what it has, but for what a stream did not show before its first token.
      unseenMs: (firstTokenMs ?? (isWhole ? releasedMs : nowMs)) - releasedMs,
      prefillMs: context.paces.prefillMs(slot.address, slot.prefillTokens),
      seenMs: firstTokenMs === undefined ? 0 : nowMs - firstTokenMs,
      streamedMs: firstTokenMs === undefined ? 0 : lastChunkMs - firstTokenMs,
      msPerToken: context.paces.msPerToken(slot.address),
      outputs: request.outputs,
      most: mostOutput(outputLimit, predictedOutput, request.outputs),
    });
  };

  /** What streamed since the last look is charged at once: a tenant cannot use now and pay at the end. */
  const chargeStream = (nowMs: number): void => {
    const tokens = meter?.tokens() ?? 0;
    if (tokens === 0 || release === undefined || request === undefined) return;
    if (firstTokenMs === undefined) {
      firstTokenMs = nowMs;
      chargedMs = nowMs;
      chargedTokens = tokens;
      timeTrial(nowMs);
      release.slot.ended(ending, nowMs);
      release.firstToken(nowMs);
      context.paces.firstToken(release.slot.address, nowMs - releasedMs, release.slot.prefillTokens);
      if (readers !== undefined && tenant !== undefined) {
        const { name } = tenant.config;
        const { address } = release.slot;
        const { outputs } = request;
        watched = readers.watch({ tenant: name, address: clientAddress, endpoint: address, outputs }, nowMs);
      }
      return;
    }
    const more = tokens - chargedTokens;
    const bytes = meter?.contentBytes() ?? 0;
    if (more < TOKENS_PER_CHARGE && bytes - chargedBytes < BYTES_PER_CHARGE) return;
    chargedBytes = bytes;
    if (more >= TOKENS_PER_CHARGE) {
      // Choices of one request stream side by side: each of them has its own next token.
      release.slot.interToken(((nowMs - chargedMs) / more) * request.outputs, nowMs);
      chargedMs = nowMs;
      chargedTokens = tokens;
    }
    const used = usedOutput(nowMs);
    release.charge(costNow(predictedPrompt, predictedCached, used), nowMs);
    reservation?.charge(predictedPrompt + used, nowMs);
  };

  /** The only way out. */
  const end = (
    outcome: Outcome,
    reason: string | undefined,
    reading: AnswerReading | undefined,
    nowMs: number,
  ): void => {
    if (state === 'ended') return;
    state = 'ended';
    bodyReading?.cancel();
    ticket?.cancel();
    place?.leave();
    const used = reading?.usage;
    reservation?.settle(used === undefined ? 0 : used.promptTokens + used.completionTokens, nowMs);
    if (reading?.source === 'engine' && tenant !== undefined && request !== undefined) {
      context.predictor.learn(tenant.config.name, request.model, {
        promptBytes: request.promptBytes,
        promptTokens: reading.usage.promptTokens,
        cachedTokens: reading.usage.cachedTokens,
        outputTokens: reading.usage.completionTokens,
        hasMedia: request.hasMedia,
        ...(outputLimit !== undefined && { outputCap: outputLimit }),
        ...(firstTokenMs !== undefined && { contentBytes: meter?.contentBytes() ?? 0 }),
      });
      if (firstTokenMs !== undefined && release !== undefined) {
        const tokens = meter?.tokens() ?? 0;
        // Several tokens may have come at once; many more than events were not shown.
        const { completionTokens } = reading.usage;
        const shown = completionTokens > 4 * tokens ? tokens : Math.max(tokens, completionTokens);
        context.paces.streamed(release.slot.address, lastChunkMs - firstTokenMs, shown / request.outputs);
      }
    }
    record(outcome, reason, reading, nowMs);
    judgeTrial(outcome, reading, nowMs);
    toSend = undefined;
    header = undefined;
    release?.slot.ended(ending, nowMs);
    if (holding?.hasRoom() === false) holding.gone();
    // Last: freeing the slot lets another request go, and that one must find this one's account closed.
    release?.settle(
      used === undefined ? 0 : costNow(used.promptTokens, used.cachedTokens, used.completionTokens),
      nowMs,
    );
    release?.free(nowMs);
    ride?.ended(restOf(outcome, reason), nowMs);
  };

  const refuse = (refusal: ApiError, nowMs: number): void => {
    const isForDeaths =
      isLimited() && (refusal.code === 'tenant_queue_full' || refusal.code === 'queue_timeout');
    const error = isForDeaths ? refusals.limitedByDeaths(refusal) : refusal;
    status = error.status;
    end('refused', refusals.reasonOf(error), undefined, nowMs);
    holding?.gone();
    // After the end: what the request had reserved is back, and the headers say so.
    edge.respond(errorResponse(route, error, limitHeaders(nowMs)));
  };

  const answerModels = (known: Tenant, nowMs: number): void => {
    const names = context.catalog.modelsOf(known.config);
    state = 'ended';
    edge.respond({
      status: 200,
      headers: [['content-type', 'application/json'], ...limitHeaders(nowMs)],
      body: modelList(names, context.startedS),
      details: 'models',
    });
  };

  /** Who served it, when the client asked for another. */
  const modelHeader = (): HeaderList =>
    release === undefined || request === undefined || request.model === askedModel
      ? []
      : [[MODEL_HEADER, request.model.replace(/[^\x20-\x7e]+/gu, encodeURIComponent)]];

  /** An engine's count of more than the request could get is none. */
  const believed = (reading: AnswerReading | undefined): AnswerReading | undefined => {
    if (reading === undefined || isPossibleOutput(reading.usage.completionTokens, outputLimit))
      return reading;
    const seen = Math.max(outputLimit ?? 0, meter?.tokens() ?? 0);
    const completionTokens = Math.min(reading.usage.completionTokens, seen);
    return { ...reading, usage: { ...reading.usage, completionTokens }, source: 'estimate' };
  };

  const readingNow = (isWhole: boolean, nowMs: number): AnswerReading | undefined =>
    believed(meter?.reading(predictedPrompt, usedOutput(nowMs, isWhole)));

  const withPriorityOf = (body: readonly Buffer[], quiet: boolean): readonly Buffer[] =>
    priority === undefined ? body : withPriority(body, quiet ? priority.quiet : priority.other);

  const onRelease = (granted: Release, nowMs: number): void => {
    release = granted;
    releasedMs = nowMs;
    header = undefined;
    place?.enter('inFlight');
    queueMs = granted.waitedMs;
    endpoint = granted.slot.address;
    if (tenant !== undefined) ride = context.quarantine.began(tenant.config.name, endpoint, nowMs);
    state = 'released';
    const body = toSend;
    toSend = undefined;
    if (body === undefined) {
      end('aborted', 'queued', undefined, nowMs);
      return;
    }
    const mirrorTo = request && context.mirrorTo?.(request.model, predictedOutput, nowMs);
    edge.sendOn({
      body: body === AS_IT_CAME ? undefined : withPriorityOf(body, granted.belowFairShare),
      pool: granted.pool,
      addresses: granted.slot.addresses,
      ...(mirrorTo !== undefined && { mirrorTo }),
    });
  };

  /** Most tokens of the answer: what the request says, lowered or set by the tenant's maxContext. */
  const outputCap = (
    parsed: ParsedRequest,
    maxContext: number | undefined,
  ): number | ApiError | undefined => {
    if (parsed.route === 'embeddings') {
      if (maxContext !== undefined && predictedPrompt > maxContext) {
        return contextLengthExceeded(parsed.route, { maxContext, prompt: predictedPrompt, output: 0 });
      }
      return 0;
    }
    const asked = parsed.maxOutputTokens;
    if (maxContext === undefined) return asked;
    const room = maxContext - predictedPrompt;
    if (room < MIN_OUTPUT_TOKENS || (asked !== undefined && asked > room)) {
      return contextLengthExceeded(parsed.route, {
        maxContext,
        prompt: predictedPrompt,
        output: asked ?? MIN_OUTPUT_TOKENS,
      });
    }
    return asked ?? room;
  };

  /** Goes on with what a limit says: at once, or when others have been asked, unless the request has ended by then. */
  const ask = <T>(
    answer: T | Promise<T>,
    next: (known: T, nowMs: number) => void,
    tooLate: (known: T, nowMs: number) => void,
    nowMs: number,
  ): void => {
    if (!(answer instanceof Promise)) {
      next(answer, nowMs);
      return;
    }
    state = 'asking';
    answer
      .then((known) => (state === 'asking' ? next : tooLate)(known, context.now()))
      .catch((error: unknown) =>
        context.onBug(error instanceof Error ? (error.stack ?? error.message) : String(error)),
      );
  };

  const hindranceOf = (model: string, pool: string): UnavailableReason | undefined =>
    hindered?.get(model) ?? (context.dispatcher.canServe(pool, within) ? undefined : 'no-endpoint');

  /** The model that serves it: the one that was asked for, its canary, or a fallback. */
  const serving = ({ config }: Tenant, promptBytes: number): Serving | undefined => {
    const { catalog } = context;
    trial = undefined;
    const choice = catalog.choose(config, askedModel, hindranceOf);
    if (choice.kind === 'denied') return undefined;
    let { model } = choice;
    if (choice.kind === 'serve') {
      const asker = { tenant: config.name, header: header ?? (() => '') };
      trial = context.rollouts.assign(model, asker, (canary) => {
        const pool = catalog.poolOf(canary);
        return pool !== undefined && hindranceOf(canary, pool) === undefined;
      });
      if (trial !== undefined) {
        comparedTokens = context.predictor.promptTokens(config.name, model, promptBytes);
        ({ model } = trial);
      }
    }
    const pool = catalog.poolOf(model);
    return pool === undefined ? undefined : { model, pool, hindered: choice.kind === 'hindered' };
  };

  const admit = (parsed: ParsedRequest, known: Tenant, nowMs: number): void => {
    const served = serving(known, parsed.promptBytes);
    if (served !== undefined) admitTo(served, parsed, known, nowMs);
    else
      refuse(context.catalog.isDiscovering() ? refusals.modelsUnknown() : modelNotFound(askedModel), nowMs);
  };

  const admitTo = ({ model, pool }: Serving, raw: ParsedRequest, known: Tenant, nowMs: number): void => {
    const { config } = known;
    const parsed = model === raw.model ? raw : { ...raw, model };
    request = parsed;
    if (parsed.route !== 'embeddings' && parsed.outputs > config.limits.maxOutputs) {
      refuse(refusals.tooManyOutputs(parsed.outputs, config.limits.maxOutputs), nowMs);
      return;
    }
    predictedPrompt = context.predictor.promptTokens(config.name, parsed.model, parsed.promptBytes);
    const cap = outputCap(parsed, config.limits.maxContext);
    if (typeof cap === 'object') {
      refuse(cap, nowMs);
      return;
    }
    outputLimit = cap === undefined ? undefined : cap * parsed.outputs;
    predictedOutput = context.predictor.outputTokens(config.name, parsed.model, outputLimit);
    predictedCached = context.predictor.cachedTokens(config.name, parsed.model, predictedPrompt);
    const burst = config.limits.tokenBurst ?? config.limits.tokensPerMinute;
    const predicted = predictedPrompt + predictedOutput;
    // The output is a guess and must not make a request impossible; the prompt is there and may.
    const toReserve = burst !== undefined && predictedPrompt < burst ? Math.min(predicted, burst) : predicted;
    ask(
      known.limits.reserveTokens(toReserve, nowMs),
      (reserved, at) => enqueue(parsed, known, { pool, cap, toReserve }, reserved, at),
      (reserved, at) => {
        if (reserved.kind === 'reserved') reserved.reservation.settle(0, at);
      },
      nowMs,
    );
  };

  const reserveRefusal = (
    reserved: Exclude<ReservationResult, { kind: 'reserved' }>,
    requested: number,
  ): ApiError => {
    const { limit } = reserved;
    switch (reserved.kind) {
      case 'never':
        return refusals.promptOverBurst(predictedPrompt, limit);
      case 'spent':
        return quotaSpent(limit, reserved.retryAfterMs);
      case 'short':
        return rateLimited('tokens', { limit, requested, retryAfterMs: reserved.retryAfterMs });
    }
  };

  /** What its endpoint is chosen by, beyond room; undefined: by load. */
  const choiceOf = (
    parsed: ParsedRequest,
    config: TenantConfig,
    pool: string,
    adapter: string | undefined,
    nowMs: number,
  ): ChoiceRequest | undefined => {
    const choosing = context.routingInputsOf?.(pool);
    readers = choosing?.readers;
    if (choosing === undefined) return undefined;
    const named = header?.(choosing.sessionHeader) || promptCacheKeyOf(parsed);
    if (readers !== undefined) clientAddress = lastHop(header?.('x-forwarded-for') ?? '');
    const prompt = context.hashPrompt?.(pool, {
      route: parsed.route,
      document: parsed.document,
      scope: cacheScopeOf(config),
      model: parsed.model,
      ...(named !== undefined && named.length <= MAX_SESSION_ID && { sessionId: named }),
    });
    return {
      ...(adapter !== undefined && { adapter }),
      prompt,
      promptBytes: parsed.promptBytes,
      promptTokens: predictedPrompt,
      totalTokens: predictedPrompt * parsed.outputs + predictedOutput,
      stream: parsed.stream,
      slow: readers?.isSlow(config.name, clientAddress, nowMs) === true,
      ...(choosing.zone !== undefined && { zone: choosing.zone }),
      ...(within !== undefined && { subset: within }),
    };
  };

  const enqueue = (
    parsed: ParsedRequest,
    known: Tenant,
    {
      pool,
      cap,
      toReserve,
    }: { readonly pool: string; readonly cap: number | undefined; readonly toReserve: number },
    reserved: ReservationResult,
    nowMs: number,
  ): void => {
    if (reserved.kind !== 'reserved') {
      refuse(reserveRefusal(reserved, toReserve), nowMs);
      return;
    }
    reservation = reserved.reservation;
    const { config } = known;
    lane = laneFor(context.config().queue.lanes, {
      tenant: config.name,
      tier: config.tier,
      model: parsed.model,
      route: parsed.route,
      promptTokens: predictedPrompt,
      maxOutputTokens: parsed.maxOutputTokens,
      header: header ?? (() => ''),
    });
    const adapter = context.catalog.adapterOf(parsed.model);
    const choice = choiceOf(parsed, known.config, pool, adapter?.name, nowMs);
    const sentModel =
      adapter === undefined ? parsed.model : (context.adapterName?.(pool, adapter) ?? adapter.name);
    const help = HELPED_ROUTES.has(parsed.route) ? context.capabilitiesOf(pool) : NO_CAPABILITIES;
    ({ priority } = help);
    const changes: RequestChanges = {
      ...(sentModel !== askedModel && { model: sentModel }),
      ...(help.cacheSalt && { cacheSalt: cacheSaltOf(config) }),
      priorityFollows: help.priority !== undefined,
      ...(config.limits.maxContext !== undefined &&
        parsed.maxOutputTokens === undefined &&
        cap !== undefined &&
        cap > 0 && { maxOutputTokens: cap }),
      includeUsage: true,
    };
    toSend =
      edge.keepsBody && hasLength && isUnchanged(parsed, changes)
        ? AS_IT_CAME
        : serialiseRequest(parsed, changes);
    // What waits is the text to send: the parsed body, several times its size, is not needed any more. No function below may
    // name `parsed`, or it would be kept with it.
    const { model } = parsed;
    request = { ...parsed, document: NO_DOCUMENT, forbidden: NOTHING_FORBIDDEN };
    place = context.occupancy.place(config.name, parsed.model);
    state = 'waiting';
    queuedSinceMs = nowMs;
    const offer = context.dispatcher.offer(
      {
        tenant: config.name,
        pool,
        lane: lane.name,
        bytes: bodyBytes,
        cost: costNow(predictedPrompt, predictedCached, predictedOutput),
        demand: {
          // An input of an embeddings request is computed in one step, and holds no place after it.
          sequences: parsed.route === 'embeddings' ? 1 : parsed.outputs,
          promptTokens: predictedPrompt,
          totalTokens: predictedPrompt * parsed.outputs + predictedOutput,
          streamed: parsed.stream,
          slo: lane,
          model: parsed.model,
          ...(adapter !== undefined && { adapter: adapter.name }),
          ...(within !== undefined && { within }),
          ...(choice !== undefined && { choice }),
        },
        onRelease,
        onExpire(reason, waitedMs, at) {
          queueMs = waitedMs;
          const retryAfterMs = context.dispatcher.retryAfterMs(pool);
          if (reason === 'timeout') refuse(queueTimeout(waitedMs, retryAfterMs), at);
          else if (reason === 'queue-full') refuse(queueFull('tenant', retryAfterMs), at);
          else if (reason === 'no-endpoint') refuse(noHealthyEndpoint(model, retryAfterMs), at);
          else if (reason === 'adapter-failed') refuse(adapterUnavailable(model, retryAfterMs), at);
          else if (reason === 'adapter-busy') refuse(queueFull('total', retryAfterMs), at);
          else refuse(draining(), at);
        },
      },
      nowMs,
    );
    if (offer.kind === 'refused') {
      refuseOrTryAnother(parsed, known, offer, nowMs);
    } else if (offer.kind === 'queued') {
      ticket = offer.ticket;
      header = undefined;
      place.enter('queued');
      holdFor(0);
    }
  };

  const holdFor = (moreMs: number): void => {
    if (isHeld) return;
    isHeld = true;
    edge.hold(context.config().queue.maxWaitMs + HOLD_MARGIN_MS + moreMs);
  };

  /** Another model may have room; the tenant's own queue is its own. */
  const refuseOrTryAnother = (
    parsed: ParsedRequest,
    known: Tenant,
    offer: Extract<Offer, { kind: 'refused' }>,
    nowMs: number,
  ): void => {
    firstRefusal ??= refusals.queueRefusal(offer, askedModel);
    if (offer.reason !== 'tenant-queue-full') {
      const isFull = offer.reason === 'queue-full' || offer.reason === 'adapter-busy';
      const by: UnavailableReason = isFull ? 'queue-full' : 'no-endpoint';
      hindered = (hindered ?? new Map<string, UnavailableReason>()).set(parsed.model, by);
      const other = serving(known, parsed.promptBytes);
      if (other !== undefined && !other.hindered) {
        reservation?.settle(0, nowMs);
        reservation = undefined;
        place?.leave();
        place = undefined;
        admitTo(other, parsed, known, nowMs);
        return;
      }
    }
    refuse(firstRefusal, nowMs);
  };

  /** @param config that the body was read with. */
  const bodyRead = (json: BodyText, config: Config, known: Tenant, nowMs: number): void => {
    const parsed = understand(route as EngineRoute, json, config);
    if (parsed.kind === 'bad') {
      refuse(parsed.error, nowMs);
      return;
    }
    request = parsed.request;
    askedModel = parsed.request.model;
    admit(parsed.request, known, nowMs);
  };

  const bodyArrived = (bytes: Uint8Array, nowMs: number): void => {
    if (tenant === undefined) return;
    const config = context.config();
    bodyBytes = bytes.length;
    holding?.arrived(bodyBytes);
    const { maxBodyBytes } = config.envoy;
    if (bodyBytes > maxBodyBytes) {
      refuse(bodyTooLarge(maxBodyBytes), nowMs);
      return;
    }
    const names = namesOf(config.fields);
    if (context.bodies === undefined || bytes.length <= AT_ONCE_BYTES) {
      bodyRead(readJson(bytes, names), config, tenant, nowMs);
      return;
    }
    const known = tenant;
    state = 'reading';
    holdFor(READING_MS);
    bodyReading = context.bodies.read(known.config.name, bytes, names, (json, at) => {
      bodyReading = undefined;
      if (state !== 'reading') return;
      try {
        bodyRead(json, config, known, at);
      } catch (error) {
        // Unanswered, Envoy would send it on unread.
        refuse(refusals.internalError(), at);
        throw error;
      }
    });
  };

  /** The request bucket has let it pass. */
  const accept = (head: RequestHead, known: Tenant, served: RouteName, nowMs: number): void => {
    if (served === 'models') {
      answerModels(known, nowMs);
      return;
    }
    if (head.endOfStream) {
      refuse(refusals.emptyBody(), nowMs);
      return;
    }
    if (!isJsonType(head.header('content-type'))) {
      refuse(refusals.notJsonType(), nowMs);
      return;
    }
    if (!/^(identity)?$/i.test(head.header('content-encoding').trim())) {
      refuse(refusals.encodedBody(), nowMs);
      return;
    }
    const maxBodyBytes = context.config().envoy.maxBodyBytes;
    if (head.contentLength !== undefined && head.contentLength > maxBodyBytes) {
      refuse(bodyTooLarge(maxBodyBytes), nowMs);
      return;
    }
    if (context.dispatcher.isFullFor(known.config.name, nowMs)) {
      refuse(queueFull('tenant', context.dispatcher.retryAfterMs()), nowMs);
      return;
    }
    const bytes = head.contentLength ?? maxBodyBytes;
    const { name, limits } = known.config;
    const held = context.holdings.take(name, bytes, holdingLimitsOf(limits, context.config()));
    if (typeof held === 'string') {
      refuse(refusals.holdingRefusal(held, context.dispatcher.retryAfterMs()), nowMs);
      return;
    }
    holding = held;
    const upload = (at: number): void => {
      uploadUntilMs = at + uploadMs(context.config().envoy, bytes);
      state = 'accepted';
      edge.passHeaders();
      const body = earlyBody;
      earlyBody = undefined;
      if (body !== undefined) bodyArrived(body, at);
    };
    if (held.hasRoom()) {
      upload(nowMs);
      return;
    }
    // Nothing of the body comes before: its headers wait.
    state = 'roomless';
    roomUntilMs = arrivedMs + ROOM_MS;
    edge.hold(ROOM_MS + HOLD_MARGIN_MS);
    held.whenRoom(() => {
      if (state === 'roomless') upload(context.now());
    });
  };

  const complete = (nowMs: number): void => {
    if (state !== 'answering') return;
    const reading = readingNow(true, nowMs);
    if (reading?.errorFrame === true) {
      // It may be the request's fault as well as the endpoint's.
      ending = NOTHING_SEEN;
      end('failed', 'engine', reading, nowMs);
    } else {
      watched?.completed();
      end('completed', undefined, reading, nowMs);
    }
  };

  return {
    headers(head, nowMs) {
      if (state !== 'new') return;
      arrivedMs = nowMs;
      requestId = head.requestId;
      header = head.header;
      hasLength = head.contentLength !== undefined;
      ({ within } = head);
      route = routeOf(head.method, head.path);
      tenant = context.tenants.get(head.tenant);
      if (tenant === undefined) {
        refuse(refusals.unknownTenant(), nowMs);
        return;
      }
      if (route === undefined) {
        refuse(refusals.unknownRoute(), nowMs);
        return;
      }
      if (head.oversized === true) {
        refuse(refusals.headersTooLarge(), nowMs);
        return;
      }
      const known = tenant;
      const served = route;
      ask(
        known.limits.takeRequest(nowMs),
        (taken, at) => {
          if (taken.kind === 'taken') accept(head, known, served, at);
          else refuse(rateLimited('requests', { limit: taken.limit, retryAfterMs: taken.retryAfterMs }), at);
        },
        () => undefined,
        nowMs,
      );
    },

    body(bytes, nowMs) {
      if (state === 'accepted') bodyArrived(bytes, nowMs);
      else if (state === 'roomless' || (state === 'asking' && request === undefined)) earlyBody = bytes;
    },

    responseHeaders(head, nowMs) {
      status = head.status;
      holding?.bodyGone();
      if (state === 'ended' || tenant === undefined) {
        edge.passResponseHeaders('none', []);
        return;
      }
      const { details = '' } = head;
      if (release !== undefined && hasBroken(details)) {
        const [first = '', second = first] = release.slot.addresses;
        ride?.brokeOn([first, second], nowMs);
      }
      const add = [...limitHeaders(nowMs), ...modelHeader()];
      if (state !== 'released' || release === undefined || request === undefined) {
        // Envoy's own answer to a request that never got to an engine: too large a body, a broken upload.
        edge.passResponseHeaders('none', add);
        end('refused', `envoy-${head.status}`, undefined, nowMs);
        return;
      }
      if (details === BROKE_TWICE_DETAILS) {
        ending = { broken: 'reset' };
        end('failed', 'broke-twice', undefined, nowMs);
        edge.respond(errorResponse(route, BROKE_TWICE, [...add, NO_RETRY_HEADER]));
        return;
      }
      if (head.upstream !== '') {
        release.slot.moveTo(head.upstream);
        ride?.movedTo(head.upstream, nowMs);
        endpoint = head.upstream;
      }
      ending = endingOf(head.status, head.upstream !== '');
      if (head.status === 404 && head.upstream !== '' && context.catalog.adapterOf(request.model)) {
        // It exists: this engine has lost it, or is another one than was chosen. A client would not ask again.
        const error = adapterUnavailable(request.model, ADAPTER_RETRY_MS);
        ({ status } = error);
        end('failed', 'engine', undefined, nowMs);
        edge.respond(errorResponse(route, error, add));
        return;
      }
      if (head.status >= 400) {
        edge.passResponseHeaders('none', add);
        end('failed', head.upstream === '' ? 'envoy' : 'engine', undefined, nowMs);
        return;
      }
      state = 'answering';
      lastChunkMs = nowMs;
      meter = createAnswerMeter(request, head);
      if (head.endOfStream) {
        edge.passResponseHeaders('none', add);
        end('completed', undefined, readingNow(true, nowMs), nowMs);
        return;
      }
      edge.passResponseHeaders('stream', add);
    },

    responseChunk(bytes, endOfStream, nowMs) {
      // The meter also cuts: it goes on after the end, until the last byte.
      edge.passChunk(meter?.push(bytes, endOfStream, nowMs));
      lastChunkMs = nowMs;
      hasBegun ||= bytes.length > 0;
      if (state === 'answering') {
        chargeStream(nowMs);
        watched?.chunk(bytes.length, meter?.tokens() ?? 0, nowMs);
      }
      if (endOfStream || meter?.finished() === true) complete(nowMs);
    },

    responseComplete: complete,

    tick(nowMs) {
      if (state === 'accepted' && nowMs > uploadUntilMs) refuse(refusals.uploadTooSlow(), nowMs);
      if (state === 'roomless' && nowMs > roomUntilMs) {
        refuse(refusals.holdingRefusal('too-many-bytes', context.dispatcher.retryAfterMs()), nowMs);
      }
      if (state === 'released' || (state === 'answering' && firstTokenMs === undefined)) timeTrial(nowMs);
      if (state !== 'answering' || stalled) return;
      if (release === undefined || request === undefined || lane === undefined) return;
      if (nowMs - lastChunkMs < lane.stalledAfterMs) return;
      if (!request.stream && hasBegun) {
        // An answer in one piece is computed when it begins: what is missing is what its client has not read.
        stalled = true;
        release.free(nowMs);
        return;
      }
      if (firstTokenMs === undefined) return;
      const seen = meter?.tokens() ?? 0;
      const most = mostOutput(outputLimit, predictedOutput, request.outputs);
      const perTokenMs = (lastChunkMs - firstTokenMs) / Math.max(1, seen);
      // Engines do not wait for readers: they are done with what they have begun.
      if (nowMs - lastChunkMs < STALL_PATIENCE * Math.max(0, most - seen) * perTokenMs) return;
      stalled = true;
      watched?.stalled(nowMs);
      release.free(nowMs);
    },

    streamEnded(nowMs) {
      holding?.gone();
      if (state === 'ended') return;
      if (state === 'answering') {
        // Whoever broke it off: it is not seen here.
        ending = NOTHING_SEEN;
        end('aborted', 'streaming', readingNow(false, nowMs), nowMs);
      } else if (state === 'released') {
        // The engine has begun, or may have: no token of the answer was seen, and some may have been computed.
        end('aborted', 'before-first-token', unseenReading(predictedPrompt, usedOutput(nowMs)), nowMs);
      } else if (state === 'waiting') {
        queueMs = queuedSinceMs === undefined ? 0 : nowMs - queuedSinceMs;
        end('aborted', 'queued', undefined, nowMs);
      } else {
        end('aborted', 'upload', undefined, nowMs);
      }
    },

    ended: () => state === 'ended',
  };
}
