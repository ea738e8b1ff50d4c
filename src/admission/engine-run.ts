/**
 * A request in an engine: from the moment it is sent until its answer ends. It meters the answer, charges the tenant
 * while the answer streams, notices clients that stopped reading, and says what the endpoint made of it.
 *
 *   sent          meter undefined
 *   answering     meter set, by answerBegins()
 *   streaming     firstTokenMs set too, by the first token of a stream
 *
 * After the end of the request the meter goes on reading: it also cuts what the client did not ask for.
 */
import type { ApiError } from '../domain/api-error.ts';
import { costOf } from '../domain/cost.ts';
import type { EngineKind } from '../domain/engine-kinds.ts';
import type { Mutable } from '../domain/mutable.ts';
import { isMirrored, meteredOf } from '../domain/routes.ts';
import type { AttemptResult } from '../pool/health/outcome.ts';
import type { Release } from '../queue/types.ts';
import { abandonedTokens, mostOutput } from '../usage/abandoned.ts';
import type { UsageFacts } from '../usage/believed-usage.ts';
import type { Predictor } from '../usage/predictor.ts';
import type { Outcome } from '../usage/usage-record.ts';
import type { Admitted } from './admitted.ts';
import { AnswerMeter, type AnswerReading, type UsageEstimate, unseenReading } from './answer-meter.ts';
import type { Bill } from './bill.ts';
import { billOf } from './charge.ts';
import type { ResponseHead } from './edge.ts';
import { replacementOf, resultOf } from './engine-answer.ts';
import type { LifecycleContext } from './lifecycle-context.ts';
import { pinnedAddresses } from './owned.ts';
import { type OwnedAnswer, ownedAnswer } from './owned-answer.ts';
import type { RequestInEngine } from './quarantine.ts';
import { type RunTimes, runTimes } from './run-times.ts';
import type { Reading } from './slow-readers.ts';

/** A stream is charged and timed each so many tokens. */
const TOKENS_PER_CHARGE = 32;
/** Or each so many bytes of text, where several tokens come in an event. */
const BYTES_PER_CHARGE = 512;
/** An engine has ended a stream when it had so many times the time that its tokens usually take. */
const STALL_PATIENCE = 2;
/** Without a first byte nothing is known of the endpoint: the client may just have left. */
const NOTHING_SEEN: AttemptResult = { broken: 'client' };

export class EngineRun {
  private readonly context: LifecycleContext;
  private readonly admitted: Admitted;
  private readonly release: Release;
  /** Where engines die of requests, who was there is known. */
  private readonly presence: RequestInEngine;
  private readonly sentMs: number;
  /** What serves it, as far as is known: `ip:port`, and what that was called when it got the request. */
  address: string;
  endpoint: string;
  /** What is to be said of the endpoint. */
  private result: AttemptResult = NOTHING_SEEN;
  private isBrokenTwice = false;
  /** The canary knows how long the first token took, or that it is late. */
  private isTimed = false;

  // From the headers of the answer on
  private meter: AnswerMeter | undefined = undefined;
  /** Where the engine may store it. */
  private owned: OwnedAnswer | undefined = undefined;
  private answeredMs = 0;
  private lastChunkMs = 0;
  private hasBegun = false;
  /** Its client stopped reading, and its slot went to others. */
  isStalled = false;

  // From the first token of a stream on
  private firstTokenMs: number | undefined = undefined;
  private chargedTokens = 0;
  private chargedMs = 0;
  private chargedBytes = 0;
  /** What the answer shows of how its client reads, where that matters. */
  private reader: Reading | undefined = undefined;

  constructor(context: LifecycleContext, admitted: Admitted, release: Release, nowMs: number) {
    this.context = context;
    this.admitted = admitted;
    this.release = release;
    this.sentMs = nowMs;
    this.address = release.slot.address;
    this.endpoint = context.nameAt(release.pool, this.address);
    this.presence = context.quarantine.began(admitted.tenant, this.address, nowMs);
  }

  get pool(): string {
    return this.release.pool;
  }

  get belowFairShare(): boolean {
    return this.release.belowFairShare;
  }

  /** Ordered `ip:port`, as Envoy is to try them. */
  get addresses(): readonly string[] {
    const { pinned } = this.admitted;
    return pinned === undefined ? this.release.slot.addresses : pinnedAddresses(pinned);
  }

  get engine(): EngineKind | undefined {
    return this.context.engineAt?.(this.pool, this.address);
  }

  /** Endpoints that it was passed on from. */
  get retries(): number {
    if (this.isBrokenTwice) return 1;
    const tried = this.addresses.indexOf(this.address);
    // Not one of them: Envoy's own choice, after at least the first.
    return tried === -1 ? 1 : tried;
  }

  /** What it cost and is charged, once it has ended. @param reading undefined: nothing was used. */
  bill(reading: AnswerReading | undefined, nowMs: number): Bill {
    return billOf(this.context, this.admitted, this.release, reading, nowMs);
  }

  /** How long its engine had it, by what its answer took; undefined: it is in no batch of tokens. */
  times({ usage }: AnswerReading, nowMs: number): RunTimes | undefined {
    const { facts } = this.admitted;
    const { sentMs, firstTokenMs, release, meter } = this;
    const metered = meteredOf(facts.route);
    if (metered !== 'tokens' && metered !== 'prompt') return undefined;
    // An answer in one piece is computed when it begins.
    const endMs = meter === undefined ? nowMs : facts.stream ? this.lastChunkMs : this.answeredMs;
    const { address, prefillTokens } = release.slot;
    const isUnseen = metered === 'tokens' && !facts.stream;
    return runTimes({
      firstTokenMs: firstTokenMs === undefined || !facts.stream ? undefined : firstTokenMs - sentMs,
      computedMs: endMs - sentMs,
      expectedPrefillMs: isUnseen ? this.context.paces.prefillMs(address, prefillTokens) : undefined,
      promptTokens: usage.promptTokens,
      completionTokens: usage.completionTokens,
    });
  }

  /** The pool that gets a copy. None of what goes on with a stored response, which no other engine has, or is to be stored. */
  mirrorTo(nowMs: number): string | undefined {
    const { facts, prediction, pinned } = this.admitted;
    if (pinned !== undefined || facts.isStored === true || !isMirrored(facts.route)) return undefined;
    return this.context.mirrorTo?.(facts.model, prediction.outputTokens, nowMs);
  }

  /** The connections to its endpoints were there, and broke without an answer. */
  brokeOnEndpoints(nowMs: number): void {
    const [first = '', second = first] = this.release.slot.addresses;
    this.presence.brokeOn([first, second], nowMs);
  }

  /** Envoy has tried two endpoints, and gives up. */
  brokeTwice(): void {
    this.isBrokenTwice = true;
    this.result = { broken: 'reset' };
  }

  /** @param upstream that answered; empty: Envoy did, in its place. */
  answered({ status, upstream }: ResponseHead, nowMs: number): void {
    if (upstream !== '') {
      this.release.slot.moveTo(upstream, nowMs);
      this.presence.movedTo(upstream, nowMs);
      this.address = upstream;
      this.endpoint = this.context.nameAt(this.pool, upstream);
    }
    this.result = resultOf({ status, upstream });
  }

  /** What the client gets in place of an engine's answer that would mislead it; undefined: that answer. */
  replacementOf(head: ResponseHead): ApiError | undefined {
    return replacementOf(this.context.catalog, this.admitted, head);
  }

  answerBegins(head: ResponseHead, nowMs: number): void {
    this.answeredMs = nowMs;
    this.lastChunkMs = nowMs;
    const { tenant, facts, asked } = this.admitted;
    this.meter = new AnswerMeter(facts, head);
    if (facts.isStored !== true) return;
    const { pool, address: endpoint, context } = this;
    this.owned = ownedAnswer(context, { tenant, pool, endpoint, model: facts.model, asked, tokens: 0 }, head);
  }

  /** Meters a chunk. Gives the bytes to send instead, or undefined to send it as it came. */
  push(bytes: Uint8Array, endOfStream: boolean, nowMs: number): Uint8Array | undefined {
    this.owned?.push(bytes, nowMs);
    const replacement = this.meter?.push(bytes, endOfStream, nowMs);
    this.lastChunkMs = nowMs;
    if (bytes.length > 0) this.hasBegun = true;
    return replacement;
  }

  /** The engine has said that the answer is complete. */
  isFinished(): boolean {
    return this.meter?.finished() === true;
  }

  /** Charges what streamed since the last look: a tenant cannot use now and pay at the end. */
  chunkPassed(byteCount: number, nowMs: number): void {
    const tokens = this.meter?.tokens() ?? 0;
    if (tokens > 0) {
      if (this.firstTokenMs === undefined) this.firstToken(tokens, nowMs);
      else this.charge(tokens, nowMs);
    }
    this.reader?.chunk(byteCount, tokens, nowMs);
  }

  private firstToken(tokens: number, nowMs: number): void {
    const { slot } = this.release;
    this.firstTokenMs = nowMs;
    this.chargedMs = nowMs;
    this.chargedTokens = tokens;
    this.timeCanary(nowMs);
    slot.ended(this.result, nowMs);
    this.release.firstToken(nowMs);
    this.context.paces.firstToken(slot.address, nowMs - this.sentMs, slot.prefillTokens);
    const { client, tenant, facts } = this.admitted;
    if (client === undefined) return;
    const stream = { tenant, address: client.address, endpoint: slot.address, outputs: facts.outputs };
    this.reader = client.readers.watch(stream, nowMs);
  }

  private charge(tokens: number, nowMs: number): void {
    const { facts, prediction, reservation, price } = this.admitted;
    const more = tokens - this.chargedTokens;
    const bytes = this.meter?.contentBytes() ?? 0;
    if (more < TOKENS_PER_CHARGE && bytes - this.chargedBytes < BYTES_PER_CHARGE) return;
    this.chargedBytes = bytes;
    if (more >= TOKENS_PER_CHARGE) {
      // Choices of one request stream side by side: each of them has its own next token.
      this.release.slot.interToken(((nowMs - this.chargedMs) / more) * facts.outputs, nowMs);
      this.chargedMs = nowMs;
      this.chargedTokens = tokens;
    }
    const used = this.usedOutput(nowMs, false);
    const { promptTokens, cachedTokens } = prediction;
    this.release.charge(this.costOf(promptTokens, cachedTokens, used), nowMs);
    reservation.charge(promptTokens + used, nowMs, price?.nanoAt(used));
  }

  private costOf(promptTokens: number, cachedTokens: number, outputTokens: number): number {
    const weights = this.context.catalog.costOf(this.admitted.facts.model);
    return costOf(weights, promptTokens, cachedTokens, outputTokens);
  }

  /** Tells the canary of the first token when it is there, or late: once. Answers in one piece have none. */
  private timeCanary(nowMs: number): void {
    const { canary, facts } = this.admitted;
    if (canary === undefined || this.isTimed || !facts.stream) return;
    const { assignment, promptTokens } = canary;
    const ttftMs = nowMs - this.sentMs;
    const late = assignment.slowAfterMs(promptTokens) ?? Number.POSITIVE_INFINITY;
    if (this.firstTokenMs === undefined && ttftMs <= late) return;
    this.isTimed = true;
    assignment.firstToken(promptTokens, ttftMs, nowMs);
  }

  /** Output tokens, as far as anything but the engine's own count tells. */
  private usedOutput(nowMs: number, isWhole: boolean): number {
    const { tenant, facts, prediction } = this.admitted;
    const { meter, firstTokenMs, sentMs } = this;
    const metered = meteredOf(facts.route);
    if (metered !== 'tokens') return metered === 'reported' ? (meter?.tokens() ?? 0) : 0;
    const { slot } = this.release;
    return abandonedTokens({
      events: meter?.tokens() ?? 0,
      contentTokens: this.context.predictor.contentTokens(tenant, facts.model, meter?.contentBytes() ?? 0),
      // A whole answer shows what it has, but for what a stream did not show before its first token.
      unseenMs: (firstTokenMs ?? (isWhole ? sentMs : nowMs)) - sentMs,
      prefillMs: this.context.paces.prefillMs(slot.address, slot.prefillTokens),
      seenMs: firstTokenMs === undefined ? 0 : nowMs - firstTokenMs,
      streamedMs: firstTokenMs === undefined ? 0 : this.lastChunkMs - firstTokenMs,
      msPerToken: this.context.paces.msPerToken(slot.address),
      outputs: facts.outputs,
      most: mostOutput(prediction.outputLimit, prediction.outputTokens, facts.outputs),
    });
  }

  /** What is known of the answer now. @param isWhole it has come to its end. */
  reading(isWhole: boolean, nowMs: number): AnswerReading | undefined {
    return this.meter?.reading(this.usageFacts(), this.estimate(nowMs, isWhole));
  }

  /** No token of the answer was seen, and some may have been computed. */
  unseen(nowMs: number): AnswerReading {
    return unseenReading(this.usageFacts(), this.estimate(nowMs, false));
  }

  private estimate(nowMs: number, isWhole: boolean): UsageEstimate {
    const { promptTokens } = this.admitted.prediction;
    return { promptTokens, completionTokens: this.usedOutput(nowMs, isWhole) };
  }

  /** What bounds what is believed of it. */
  private usageFacts(): UsageFacts {
    const { facts, prediction, leavesCap, bodyBytes, storedTokens } = this.admitted;
    const { route, promptBytes, hasMedia, outputs, pairs } = facts;
    const known: Mutable<UsageFacts> = {
      route,
      bodyBytes,
      promptBytes,
      hasMedia,
      storedTokens,
      outputs,
      outputLimit: prediction.outputLimit,
      mayBeEmpty: leavesCap,
      contextTokens: this.context.contextAt?.(this.pool, this.address),
    };
    if (pairs !== undefined) known.pairs = pairs;
    return known;
  }

  /** The whole answer has come. */
  completed(): void {
    this.reader?.completed();
  }

  /** It is not seen here whose fault it was: the client's, the request's, or the endpoint's. */
  blamesNobody(): void {
    this.result = NOTHING_SEEN;
  }

  /** Time has passed without a message. */
  tick(nowMs: number): void {
    if (this.firstTokenMs === undefined) this.timeCanary(nowMs);
    if (this.meter === undefined || this.isStalled || !this.hasStalled(nowMs)) return;
    this.isStalled = true;
    if (this.admitted.facts.stream) this.reader?.stalled(nowMs);
    this.release.free(nowMs);
  }

  /** Nothing has come for long, and the engine must be done: it does not wait for readers. */
  private hasStalled(nowMs: number): boolean {
    const { lane, facts, prediction } = this.admitted;
    const { firstTokenMs, lastChunkMs } = this;
    const silentMs = nowMs - lastChunkMs;
    if (silentMs < lane.stalledAfterMs) return false;
    // An answer in one piece is computed when it begins: what is missing is what its client has not read.
    if (!facts.stream && this.hasBegun) return true;
    if (firstTokenMs === undefined) return false;
    const seen = this.meter?.tokens() ?? 0;
    const most = mostOutput(prediction.outputLimit, prediction.outputTokens, facts.outputs);
    const perTokenMs = (lastChunkMs - firstTokenMs) / Math.max(1, seen);
    return silentMs >= STALL_PATIENCE * Math.max(0, most - seen) * perTokenMs;
  }

  /** Learns from the engine's own count, where that is all of an answer and can be. */
  learn({ usage, source, odd, errorFrame }: AnswerReading): void {
    if (source !== 'engine' || odd.length > 0 || errorFrame) return;
    const { tenant, facts, prediction } = this.admitted;
    const { context, meter, firstTokenMs } = this;
    const seen: Mutable<Parameters<Predictor['learn']>[2]> = {
      promptBytes: facts.promptBytes,
      promptTokens: usage.promptTokens,
      cachedTokens: usage.cachedTokens,
      outputTokens: usage.completionTokens,
      // What was stored is not in its bytes either.
      hasMedia: facts.hasMedia || facts.heldTokens !== undefined,
    };
    if (prediction.outputLimit !== undefined) seen.outputCap = prediction.outputLimit;
    if (firstTokenMs !== undefined) seen.contentBytes = meter?.contentBytes() ?? 0;
    context.predictor.learn(tenant, facts.model, seen);
    if (firstTokenMs === undefined) return;
    const tokens = meter?.tokens() ?? 0;
    // Several tokens may have come at once; many more than events were not shown.
    const shown = usage.completionTokens > 4 * tokens ? tokens : Math.max(tokens, usage.completionTokens);
    context.paces.streamed(this.release.slot.address, this.lastChunkMs - firstTokenMs, shown / facts.outputs);
  }

  /** Tells the canary what the engine did, as far as that tells versions apart. @param status that the client got. */
  judgeCanary(outcome: Outcome, status: number | undefined, hasErrorFrame: boolean, nowMs: number): void {
    const assignment = this.admitted.canary?.assignment;
    if (assignment === undefined) return;
    if (outcome === 'completed') assignment.ended(false, nowMs);
    else if (outcome === 'failed' && (hasErrorFrame || (status ?? 0) >= 500)) assignment.ended(true, nowMs);
  }

  /** Says what the endpoint made of it. The first call counts. */
  tellResult(nowMs: number): void {
    this.release.slot.ended(this.result, nowMs);
  }

  /**
   * Settles the cost and gives the slot back, which lets another request go: all else of this one must be closed.
   *
   * @param how whether its whole answer came, an error of the engine did, or nobody knows.
   */
  free(
    reading: AnswerReading | undefined,
    how: Parameters<RequestInEngine['ended']>[0],
    nowMs: number,
  ): void {
    const used = reading?.source === 'none' ? undefined : reading?.usage;
    const cost =
      used === undefined ? 0 : this.costOf(used.promptTokens, used.cachedTokens, used.completionTokens);
    if (used !== undefined) this.owned?.ended(used, nowMs);
    this.release.settle(cost, nowMs);
    this.release.free(nowMs);
    this.presence.ended(how, nowMs);
  }
}
