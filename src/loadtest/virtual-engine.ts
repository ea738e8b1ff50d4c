/**
 * The simulated engine on the lab's clock: takes requests, runs one step after another, and measures its own
 * use.
 */
import type { Gauges } from '../pool/concurrency-limit/concurrency-limit.ts';
import { createEngine } from '../simulator/engine.ts';
import type { EngineProfile } from '../simulator/profile.ts';
import type { Engine, StepObserver } from '../simulator/step.ts';
import type { VirtualRequest } from './arm-record.ts';
import type { EventQueue } from './event-queue.ts';
import type { Request, TenantLoad } from './load.ts';
import type { EngineUse } from './outcome.ts';

export interface VirtualEngineOptions {
  readonly profile: EngineProfile;
  readonly events: EventQueue;
  /** One way between the engine and who asks it. */
  readonly hopMs: number;
  /** Of the arrivals: what is done later counts for no figure. */
  readonly durationMs: number;
  /** Told of each step. */
  readonly observer?: StepObserver | undefined;
}

/** Hashes of a prompt's full blocks: those of the shared prefix are the tenant's, the others are its own. */
function prefixHashes(request: Request, load: TenantLoad, blockTokens: number): readonly string[] {
  if (load.sharedPrefix < blockTokens) return [];
  const shared = Math.min(load.sharedPrefix, request.promptTokens);
  return Array.from({ length: Math.floor(shared / blockTokens) }, (_, i) => `${load.name}/${i}`);
}

export class VirtualEngine {
  readonly profile: EngineProfile;
  /** Says whether work waits for the engine in a queue before it. */
  waitsElsewhere: () => boolean = () => false;
  readonly #events: EventQueue;
  readonly #hopMs: number;
  readonly #durationMs: number;

  // What it runs.
  readonly #engine: Engine;
  readonly #running = new Map<string, VirtualRequest>();
  #isStepping = false;
  #gauges: Gauges = { running: 0, waiting: 0, kvUsage: 0 };
  #inEngine = 0;

  // Its use until the end of the arrivals.
  #usefulTokens = 0;
  #busyMs = 0;
  #sequenceMs = 0;
  #backloggedMs = 0;

  constructor({ profile, events, hopMs, durationMs, observer }: VirtualEngineOptions) {
    this.profile = profile;
    this.#events = events;
    this.#hopMs = hopMs;
    this.#durationMs = durationMs;
    this.#engine = createEngine(profile, observer);
  }

  /** Sends a request on its way; its observer is told of each token. @param priority lower first. */
  send(one: VirtualRequest, priority: number, nowMs: number): void {
    this.#inEngine += 1;
    one.releasedMs = nowMs;
    this.#events.at(nowMs + this.#hopMs, (atMs) => this.#arrive(one, priority, atMs));
  }

  /** What it says of itself: from the end of its last planning, as vLLM's gauges are. */
  gauges(): Gauges {
    return this.#gauges;
  }

  /** True if there is less on its way to the engine and in it than the engine runs at once. */
  hasIdleSequence(): boolean {
    return this.#inEngine < this.profile.maxSequences;
  }

  /** True if requests have reached it and not ended. */
  isBusy(): boolean {
    return this.#running.size > 0;
  }

  /** Prompt tokens computed and output tokens made until the end of the arrivals. */
  usefulTokens(): number {
    return this.#usefulTokens;
  }

  use(): EngineUse {
    return {
      busy: this.#busyMs / this.#durationMs,
      batch: this.#busyMs === 0 ? 0 : this.#sequenceMs / this.#busyMs / this.profile.maxSequences,
      backlogged: this.#backloggedMs / this.#durationMs,
    };
  }

  #arrive(one: VirtualRequest, priority: number, atMs: number): void {
    const { id, promptTokens, outputTokens } = one.request;
    this.#running.set(id, one);
    this.#engine.add({
      id,
      promptTokens,
      outputTokens,
      priority,
      prefixHashes: prefixHashes(one.request, one.load, this.profile.blockTokens),
    });
    if (this.#isStepping) return;
    this.#isStepping = true;
    this.#events.at(atMs, this.#step);
  }

  readonly #step = (nowMs: number): void => {
    const plan = this.#engine.planStep();
    const { running, waiting, kvUsage } = this.#engine.gauges();
    this.#gauges = { running, waiting, kvUsage };
    this.#isStepping = plan !== undefined;
    if (plan === undefined) return;
    const within = Math.max(0, Math.min(plan.durationMs, this.#durationMs - nowMs));
    this.#busyMs += within;
    this.#sequenceMs += within * running;
    if (waiting > 0 || this.waitsElsewhere()) this.#backloggedMs += within;
    this.#events.at(nowMs + plan.durationMs, this.#finishStep);
  };

  readonly #finishStep = (endMs: number): void => {
    for (const { id, last, cachedTokens } of this.#engine.finishStep()) {
      const one = this.#running.get(id);
      if (one === undefined) continue;
      if (endMs <= this.#durationMs) {
        this.#usefulTokens += one.tokens === 0 ? one.request.promptTokens + 1 : 1;
      }
      one.tokens += 1;
      if (last) {
        this.#running.delete(id);
        this.#inEngine -= 1;
      }
      this.#events.at(endMs + this.#hopMs, (seenMs) =>
        one.observer?.onToken(one, last, cachedTokens, seenMs),
      );
    }
    // Without hops, what these tokens set off reaches the engine before it plans: two events later.
    this.#events.at(endMs, () => this.#events.at(endMs, () => this.#events.at(endMs, this.#step)));
  };
}
