/**
 * One endpoint of a pool: what it has in flight, and whether it has room for more.
 *
 * Room is counted three times over, because eight long prompts are not eight short ones: sequences against its concurrency
 * limit, tokens against its KV cache, and prompt tokens that are not computed yet against what may share a step.
 *
 * What it would not serve, and Envoy has tried elsewhere, keeps its room here (passed-on.ts).
 *
 * Invariant: 0 ≤ in flight. An endpoint that left the rotation or the configuration keeps the count of what it still serves.
 */
import { type CandidateState, ISOLATED, UNHEALTHY } from '../routing/candidate.ts';
import { GpuClock } from '../usage/gpu-seconds.ts';
import type { ConcurrencyLimit, Gauges } from './concurrency-limit/concurrency-limit.ts';
import { plausibleGauges } from './concurrency-limit/gauges.ts';
import type { EndpointStatus, Rotation } from './health/rotation.ts';
import type { AllottedEndpoint, LimitAllotment } from './limit-allotment.ts';
import { PassedOn } from './passed-on.ts';
import { Prefills } from './prefills.ts';
import type { Demand, EndpointState, PoolEndpoint } from './types.ts';

/** For want of what an endpoint has no room. */
export type Shortage = 'limit' | 'kv-cache' | 'headroom' | 'prefill';
export type Room = 'yes' | Shortage;

/** What a request may use of an endpoint's room; the same for all endpoints of a pool. */
export interface RoomClaim {
  readonly belowFairShare: boolean;
  /** Slots that the request would not leave free: it may go only where a larger limit is probed. */
  readonly missingHeadroom: number;
  /** Prompt tokens that may wait for their computation; a longer prompt goes alone. */
  readonly prefillTokens: number;
  /** The same while no tenant below its fair share is active. */
  readonly unpacedPrefillTokens: number;
  /** Tenants below their fair share are active. */
  readonly isPaced: boolean;
  /** Others wait while a prompt of a tenant below its fair share is computed. */
  readonly holds: boolean;
}

/** Part of the KV cache that requests above their fair share may plan with: outputs grow past their prediction. */
const KV_PLANNED_PART = 0.9;
/** Prompt tokens beside what is cached that a request may bring where others are held back. */
const CHEAP_TOKENS = 512;

export class Endpoint implements AllottedEndpoint {
  readonly url: string;
  readonly status: EndpointStatus;
  readonly #rotation: Rotation;

  // As configured.
  address: string;
  isolated = false;
  zone: string | undefined;
  /** Its part of the load, relative to the others'. */
  weight = 1;
  /** The same, of the largest weight in the pool. Over 0, up to 1. */
  weightPart = 1;
  /** Not in the configuration any more. */
  isRemoved = false;

  // By probes and operators.
  isHealthy = false;
  isProbed = false;
  isDrained = false;

  // In flight.
  requests = 0;
  sequences = 0;
  kvTokens = 0;
  /** What it has had, as start-time fair queueing counts it: when what goes there next would begin, in sequences ÷ weight. */
  turnEnds = 0;
  /** Requests whose clients read slowly. */
  slowClients = 0;
  readonly prefills = new Prefills();
  /** Whose its time is. */
  readonly gpu = new GpuClock();
  /** The last request that asked had to wait for prompts, not for a slot. */
  isHolding = false;
  readonly passedOn = new PassedOn();

  // How much it may have.
  concurrency: ConcurrencyLimit;
  /** This replica's part of the limit; undefined: all of it. */
  allotment: LimitAllotment | undefined;
  kvCapacityTokens: number | undefined;
  /** Each sequence has its own part of the KV cache. */
  kvIsDivided = false;
  maxSequences: number | undefined;

  // By its engine's gauges, when they were read last.
  /** Requests in its own queue. */
  #waiting = 0;
  /** Running or waiting there, but not ours. */
  #foreign = 0;
  /** The same, also where replicas share the endpoint. */
  #gauged = 0;
  /** The least of that in the last two samples. */
  #strangers = 0;

  // For the choice.
  /** What the router reads; undefined where the pool has none. */
  candidate: CandidateState | undefined;
  /** What roomFor() said in the selection under way; undefined: it was not asked. Of that selection alone. */
  answer: Room | undefined;

  constructor(
    { url, address }: PoolEndpoint,
    status: EndpointStatus,
    rotation: Rotation,
    limit: ConcurrencyLimit,
  ) {
    this.url = url;
    this.address = address;
    this.status = status;
    this.#rotation = rotation;
    this.concurrency = limit;
  }

  reconfigure({ address, isolated = false, zone, weight = 1 }: PoolEndpoint): void {
    this.address = address;
    this.isolated = isolated;
    this.zone = zone;
    this.weight = weight;
  }

  wasProbed(healthy: boolean): void {
    // Another engine may be there than the one that refused.
    if (healthy && !this.isHealthy) this.passedOn.forget();
    this.isHealthy = healthy;
    this.isProbed = true;
  }

  // Who may go there.

  isWithin(within: Demand['within']): boolean {
    return within === undefined || within.has(this.address);
  }

  /** It may be given requests, as far as probes and operators go. */
  isOpen(within: Demand['within']): boolean {
    return this.isHealthy && !this.isDrained && this.isWithin(within);
  }

  /** It is given requests without further questions. */
  isServing(): boolean {
    return this.status.serves && !this.isDrained;
  }

  isInUse(): boolean {
    return !this.isRemoved && this.isServing();
  }

  mayBeProbed(): boolean {
    return !this.isRemoved && this.isHealthy && !this.isDrained;
  }

  // Room.

  /** Of endpoints with room the one with the least takes the next request: sequences ÷ weight. */
  get load(): number {
    return this.taken / this.weight;
  }

  /** Sequences that take its room. Where it is ejected it is asked only whether it answers again. */
  get taken(): number {
    return this.status.serves ? this.sequences + this.passedOn.sequences : this.sequences;
  }

  /** Sequences that may be in flight from here, before any slow start. */
  ownLimit(nowMs: number): number {
    const limit = this.concurrency.limit(nowMs);
    return this.allotment === undefined ? limit : Math.min(limit, this.allotment.limit(nowMs));
  }

  /** Sequences that may be in flight from here. */
  limit(nowMs: number): number {
    return this.#rotation.ramped(this.status, this.ownLimit(nowMs), nowMs);
  }

  /** What may be added to the limit within moments. */
  coming(nowMs: number): number {
    return this.allotment?.coming(nowMs) ?? 0;
  }

  /**
   * Whether it has room, and if not, for want of what. Changes nothing, but forgets prompts whose computation is over.
   *
   * @param matchedTokens prompt tokens that it is thought to have cached.
   * @param coming slots that count as there.
   */
  roomFor(demand: Demand, claim: RoomClaim, nowMs: number, matchedTokens: number, coming: number): Room {
    this.prefills.expire(nowMs);
    const { belowFairShare } = claim;
    const limit = this.limit(nowMs) + coming;
    const taken = this.passedOn.mayTry(nowMs) ? this.sequences : this.taken;
    // What is larger than a whole endpoint goes when it is alone there.
    const isFull = (taken > 0 || limit === 0) && taken + demand.sequences > limit;
    if (isFull && !(belowFairShare && this.#mayExceed(nowMs))) return 'limit';
    if (this.#exceedsKvCache(demand, belowFairShare ? 1 : KV_PLANNED_PART)) return 'kv-cache';
    if (belowFairShare) return 'yes';
    if (claim.missingHeadroom > 0 && !this.concurrency.isProbing()) return 'headroom';
    return this.#holdsBack(demand.promptTokens - matchedTokens, matchedTokens > 0, claim, nowMs)
      ? 'prefill'
      : 'yes';
  }

  /** A request was told that. One that found the endpoint full is a reason for a larger limit. */
  answered(room: Room, demand: Demand, claim: RoomClaim, nowMs: number): void {
    if (room === 'limit' || room === 'headroom') {
      const more = demand.sequences + (room === 'headroom' ? claim.missingHeadroom : 0);
      // What is full because it is let fill slowly, or of what others serve, says nothing of its limit.
      if (this.passedOn.sequences > 0 || this.#rotation.isRamping(this.status, nowMs)) return;
      if (this.allotment === undefined) this.concurrency.saturated();
      else this.allotment.foundFull(more, nowMs);
    } else if (room !== 'kv-cache' && !claim.belowFairShare) this.isHolding = room === 'prefill';
  }

  // What is in flight.

  add(demand: Demand): void {
    this.#count(demand, 1);
  }

  remove(demand: Demand): void {
    this.#count(demand, -1);
  }

  /** It serves what it is sent. */
  hasAnswered(nowMs: number): void {
    if (this.passedOn.sequences === 0) return;
    this.passedOn.forget();
    this.moved(nowMs);
  }

  /** What is in flight, or wanted, has changed. */
  moved(nowMs: number): void {
    this.allotment?.moved(nowMs);
    this.heardOfOthers(nowMs);
  }

  /** Whose the engine's time is by what is known of others in it. */
  heardOfOthers(nowMs: number): void {
    const isTold = this.allotment?.tellOthers(this.gpu, nowMs) === true;
    this.gpu.setStrangers(isTold ? 0 : this.#othersInEngine(nowMs), nowMs);
  }

  /** What the engine has of all replicas, as far as it is known. */
  inFlightOfAll(nowMs: number): number | undefined {
    return this.allotment === undefined ? this.sequences : this.allotment.inFlight(nowMs);
  }

  // What the engine says.

  gauges(reported: Gauges | 'unusable', nowMs: number): void {
    const sample = plausibleGauges(reported);
    // What the others have is a moment old, and not known at all before they were asked.
    const inEngine = sample === 'unusable' ? 0 : Math.max(this.sequences, sample.running + sample.waiting);
    const inFlight = this.inFlightOfAll(nowMs) ?? inEngine;
    const certain = this.allotment?.others(nowMs) === undefined ? inFlight : Math.min(inFlight, inEngine);
    this.concurrency.gauges(sample, inFlight, nowMs, certain);
    const isTrusted = sample !== 'unusable' && this.concurrency.source() !== 'ttft';
    this.#waiting = isTrusted ? sample.waiting : 0;
    // Allotments of a limit already leave out what others have.
    const strangers = isTrusted ? Math.max(0, inEngine - this.sequences) : 0;
    this.#foreign = this.allotment === undefined ? strangers : 0;
    // What has just ended here may still be in a gauge: others are there when two in a row say so.
    this.#strangers = Math.min(this.#gauged, strangers);
    this.#gauged = strangers;
    this.moved(nowMs);
  }

  // For the choice.

  /**
   * Writes what the router goes by, as it is now. Gauges are a moment old and may be wrong: they never count for more than a
   * limit.
   */
  writeCandidate(isCandidate: boolean, nowMs: number): void {
    const { candidate } = this;
    if (candidate === undefined) return;
    this.prefills.expire(nowMs);
    const limit = this.ownLimit(nowMs);
    candidate.address = this.address;
    candidate.flags = (isCandidate ? 0 : UNHEALTHY) | (this.isolated ? ISOLATED : 0);
    candidate.zone = this.zone;
    candidate.sequences = this.taken + Math.min(this.#foreign, limit);
    candidate.waiting = Math.min(this.#waiting, limit);
    candidate.concurrencyLimit = limit;
    const ramp = limit <= 0 ? 1 : this.#rotation.ramped(this.status, limit, nowMs) / limit;
    candidate.startWeight = ramp * this.weightPart;
    candidate.slowClients = this.slowClients;
    candidate.prefillTokens = this.prefills.tokens;
    candidate.kvTokens = this.kvTokens;
    candidate.kvCapacityTokens = this.kvCapacityTokens ?? 0;
  }

  state(nowMs: number): EndpointState {
    return {
      url: this.url,
      address: this.address,
      healthy: this.isHealthy,
      ejected: this.status.ejected,
      broken: this.#rotation.broken(this.url, nowMs),
      serving: this.isServing(),
      inFlight: this.requests,
      sequences: this.sequences,
      concurrencyLimit: this.limit(nowMs),
      limitSource: this.concurrency.source(),
      isEager: this.concurrency.isEager(),
      kvTokens: this.kvTokens,
      kvCapacityTokens: this.kvCapacityTokens,
      slowClients: this.candidate === undefined ? undefined : this.slowClients,
      isHolding: this.isHolding,
      busyMs: this.gpu.certainBusyMs(nowMs),
    };
  }

  #count({ sequences, totalTokens, choice }: Demand, sign: 1 | -1): void {
    this.requests += sign;
    this.sequences += sign * sequences;
    this.kvTokens += sign * totalTokens;
    if (choice?.slow === true) this.slowClients += sign;
  }

  /** Sequences of others: replicas tell one another sooner than the engine does. */
  #othersInEngine(nowMs: number): number {
    const { allotment } = this;
    const others = allotment?.others(nowMs) ?? 0;
    const inFlight = others > 0 ? allotment?.inFlight(nowMs) : undefined;
    return inFlight === undefined ? this.#strangers : Math.max(0, inFlight - this.sequences);
  }

  /** A limit that nobody confirmed, and that is not shared, is no reason to keep tenants below their fair share waiting. */
  #mayExceed(nowMs: number): boolean {
    const isShared = this.allotment !== undefined && this.allotment.others(nowMs) !== 0;
    return !isShared && this.concurrency.isUnconfirmed();
  }

  #exceedsKvCache({ totalTokens }: Demand, part: number): boolean {
    const capacity = this.kvCapacityTokens;
    if (capacity === undefined || this.kvIsDivided || this.requests === 0) return false;
    return this.kvTokens + totalTokens > capacity * part;
  }

  /** Prompts are computed there that the request's own would delay, or be delayed by. @param own tokens to compute. */
  #holdsBack(own: number, isCached: boolean, claim: RoomClaim, nowMs: number): boolean {
    const { prefills } = this;
    // Anywhere else its whole prompt would have to be computed.
    const isCheap = isCached && own <= CHEAP_TOKENS && prefills.tokens + own <= claim.unpacedPrefillTokens;
    if (isCheap) return false;
    if (prefills.belowFairShare > 0 && claim.holds) return true;
    // Who is below its fair share at other replicas is not known here.
    const isPaced = claim.isPaced || (this.allotment?.others(nowMs) ?? 0) > 0;
    const most = isPaced ? claim.prefillTokens : claim.unpacedPrefillTokens;
    return prefills.tokens > 0 && prefills.tokens + own > most;
  }
}
