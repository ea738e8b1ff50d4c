/**
 * A grant: one request's place on an endpoint, from its release to its end.
 *
 *   open ──firstToken()──▶ open, its prompt computed ──free()──▶ closed
 *    └─────────────────────────free()──────────────────────────────┘        moveTo() while it is open
 *
 * Invariants: every slot that is taken is given back exactly once, on the endpoint that it is counted on by then. Its prompt
 * is counted where it was released to, until its first token, its end, or its move. ended() is apart: what an endpoint made of
 * the request may be known before or after free().
 */
import type { PoolRouter } from '../routing/pool-router.ts';
import type { GpuDemand, PromptUse } from '../usage/gpu-demand.ts';
import { GpuUse } from '../usage/gpu-use.ts';
import type { Endpoint } from './endpoint.ts';
import { type AttemptResult, endpointSignOf } from './health/outcome.ts';
import type { RequestKey, Rotation } from './health/rotation.ts';
import type { LoraPlacement } from './lora-placement.ts';
import type { Prefill } from './prefills.ts';
import type { Claim, Demand, Slot } from './types.ts';

/** The pool that a slot is of. */
export interface SlotPool {
  readonly rotation: Rotation;
  readonly router: PoolRouter | undefined;
  readonly adapters: LoraPlacement | undefined;
  endpointAt(address: string): Endpoint | undefined;
  /** A slot was given back. */
  freed(): void;
}

/** Where a request goes. */
export interface Placement {
  readonly endpoint: Endpoint;
  /** Where to try next, `ip:port`. */
  readonly fallbacks: readonly string[];
  /** Prompt tokens that the endpoint is thought to have cached. */
  readonly matchedTokens: number;
}

export class EndpointSlot implements Slot {
  readonly kind = 'slot';
  readonly addresses: readonly string[];
  readonly prefillTokens: number;

  // The request.
  readonly #pool: SlotPool;
  readonly #demand: Demand;
  readonly #key: RequestKey;
  readonly #releasedMs: number;

  // Where it is.
  /** Where it was released to. */
  readonly #first: Endpoint;
  /** Where it is counted. */
  #endpoint: Endpoint;
  readonly #prefill: Prefill;
  readonly #gpu: GpuUse;
  #endAdapter: ((nowMs: number) => void) | undefined;
  /** Of PassedOn.begin() where it was released to; undefined: it is there. */
  #passedOn: number | undefined;

  // How far it is.
  #isOpen = true;
  #sawToken = false;
  /** When tokens were told of last. */
  #tokenMs = 0;
  #hasEnded = false;

  /** Takes the slot. */
  constructor(
    pool: SlotPool,
    { endpoint, fallbacks, matchedTokens }: Placement,
    demand: Demand,
    { belowFairShare, tenant }: Claim,
    nowMs: number,
  ) {
    this.#pool = pool;
    this.#demand = demand;
    this.#key = { model: demand.model, tenant };
    this.#releasedMs = nowMs;
    this.#first = endpoint;
    this.#endpoint = endpoint;
    this.addresses = [endpoint.address, ...fallbacks];
    pool.rotation.began(endpoint.status, this.#key, nowMs);
    endpoint.add(demand);
    endpoint.passedOn.tried(nowMs);
    endpoint.moved(nowMs);
    const own = Math.max(1, demand.promptTokens - matchedTokens);
    this.#prefill = endpoint.prefills.begin(own, belowFairShare, demand.streamed, nowMs);
    this.prefillTokens = endpoint.prefills.tokens;
    this.#gpu = new GpuUse(endpoint.gpu, gpuDemandOf(demand, matchedTokens, this.prefillTokens), nowMs);
    this.#beginOn(endpoint);
  }

  get address(): string {
    return this.#endpoint.address;
  }

  firstToken(nowMs: number): void {
    if (this.#sawToken) return;
    this.#sawToken = true;
    this.#tokenMs = nowMs;
    this.#gpu.firstToken(nowMs);
    const endpoint = this.#endpoint;
    this.#first.prefills.end(this.#prefill);
    // What a failed attempt took is in this time too.
    if (endpoint !== this.#first) return;
    const ttftMs = nowMs - this.#releasedMs;
    const { slo } = this.#demand;
    endpoint.prefills.learn(ttftMs, this.prefillTokens);
    const inFlight = endpoint.inFlightOfAll(nowMs) ?? endpoint.sequences;
    endpoint.concurrency.firstToken(ttftMs, this.prefillTokens, inFlight, nowMs);
    if (slo?.ttftMs !== undefined) endpoint.concurrency.slo(ttftMs / slo.ttftMs, nowMs);
  }

  interToken(meanMs: number, nowMs: number): void {
    const { concurrency } = this.#endpoint;
    const { slo } = this.#demand;
    concurrency.interToken(meanMs);
    this.#gpu.tokensCame((nowMs - this.#tokenMs) / meanMs, nowMs);
    this.#tokenMs = nowMs;
    if (slo?.itlMs !== undefined) concurrency.slo(meanMs / slo.itlMs, nowMs);
  }

  gpuMs(nowMs: number, prompt?: PromptUse): number {
    return this.#gpu.end(nowMs, prompt);
  }

  free(nowMs: number): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#gpu.end(nowMs);
    const endpoint = this.#endpoint;
    const { choice } = this.#demand;
    this.#first.prefills.end(this.#prefill);
    endpoint.remove(this.#demand);
    if (this.#passedOn !== undefined) {
      this.#first.passedOn.end(this.#demand.sequences, this.#passedOn);
      this.#first.moved(nowMs);
    }
    this.#pool.freed();
    this.#endAdapter?.(nowMs);
    if (this.#sawToken && choice !== undefined && endpoint.candidate !== undefined) {
      this.#pool.router?.ended(choice, endpoint.candidate);
    }
    endpoint.moved(nowMs);
  }

  moveTo(address: string, nowMs: number): void {
    if (!this.#isOpen || address === this.address) return;
    const other = this.#pool.endpointAt(address);
    if (other === undefined) return;
    this.#tellPassedOver(address, nowMs);
    this.#passedOn ??= this.#first.passedOn.begin(this.#demand.sequences, nowMs);
    this.#first.prefills.end(this.#prefill);
    this.#endpoint.remove(this.#demand);
    this.#endpoint = other;
    this.#gpu.moveTo(other.gpu, nowMs);
    other.add(this.#demand);
    this.#endAdapter?.(this.#releasedMs);
    this.#beginOn(other);
  }

  ended(result: AttemptResult, nowMs: number): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    const endpoint = this.#endpoint;
    if (this.#demand.adapter !== undefined && result.status === 404) {
      this.#pool.adapters?.suspect(endpoint.url);
    }
    if (endpointSignOf(result) === 'success') endpoint.hasAnswered(nowMs);
    this.#pool.rotation.ended(endpoint.status, this.#key, result, nowMs);
  }

  /** Tells adapters and the router. */
  #beginOn(endpoint: Endpoint): void {
    const { adapter, choice } = this.#demand;
    const { adapters, router } = this.#pool;
    if (adapter !== undefined) this.#endAdapter = adapters?.began(endpoint.url, adapter, this.#releasedMs);
    if (choice !== undefined && endpoint.candidate !== undefined) {
      router?.released(choice, endpoint.candidate, this.#releasedMs);
    }
  }

  /**
   * Envoy goes through the addresses in their order: those before the one that answers have failed. That is told as soon as it is
   * known: an answer can take long, and meanwhile others would be sent where nothing is served.
   */
  #tellPassedOver(answering: string, nowMs: number): void {
    const { rotation } = this.#pool;
    const tried = this.addresses.indexOf(answering);
    // Not one of them: Envoy's own choice, after at least the first.
    for (const address of this.addresses.slice(0, tried === -1 ? 1 : tried)) {
      const passed = this.#pool.endpointAt(address);
      if (passed !== undefined) rotation.ended(passed.status, this.#key, { passedOver: true }, nowMs);
    }
  }
}

/** What an endpoint is known to have cached tells more than what such prompts have cached on average. */
function gpuDemandOf(
  { sequences, promptTokens, cachedTokens, totalTokens, streamed }: Demand,
  matchedTokens: number,
  prefillTokens: number,
): GpuDemand {
  const output = totalTokens <= promptTokens ? 'none' : streamed ? 'seen' : 'unseen';
  const cached = matchedTokens > 0 ? matchedTokens : (cachedTokens ?? 0);
  return { sequences, promptTokens, cached, prefillTokens, output };
}
