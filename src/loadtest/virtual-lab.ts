/**
 * A comparison on a virtual clock: the simulated engine and the real queue, concurrency limits and
 * predictions, without a socket or a timer. Ten minutes of traffic take seconds, and the same seed gives the
 * same result.
 *
 * The way of a byte between a client or Fairlane and the engine takes `hopMs`. A client and Fairlane are at
 * one place.
 */
import type { EngineProfile } from '../simulator/profile.ts';
import type { StepObserver } from '../simulator/step.ts';
import { ArmRecord, type TokenObserver, VirtualRequest } from './arm-record.ts';
import { createEventQueue } from './event-queue.ts';
import type { Request, TenantLoad } from './load.ts';
import type { ArmOutcome } from './outcome.ts';
import { RequestBucket } from './request-bucket.ts';
import { VirtualEngine } from './virtual-engine.ts';
import { type FairlaneOptions, type FairlaneWorld, VirtualFairlane } from './virtual-fairlane.ts';
import { type Replicas, VirtualReplicas } from './virtual-replicas.ts';

export type Arm =
  /** The quiet tenants have the engine for themselves. */
  | { readonly kind: 'solo' }
  /** Everybody sends to the engine. */
  | { readonly kind: 'direct' }
  /** Everybody sends to the engine; the others than the quiet tenants have one bucket of requests. */
  | { readonly kind: 'request-bucket'; readonly perSecond: number }
  /** Everybody sends through Fairlane; with `replicas`, through several of them. */
  | {
      readonly kind: 'fairlane';
      readonly fairlane: FairlaneOptions & { readonly replicas?: Replicas };
    }
  /** A perfect scheduler inside the engine. */
  | { readonly kind: 'floor' };

export interface LabOptions {
  readonly profile: EngineProfile;
  readonly tenants: readonly TenantLoad[];
  readonly requests: readonly Request[];
  readonly durationMs: number;
  readonly hopMs: number;
  /** Told of each step of the engine. */
  readonly observer?: StepObserver;
}

/** Where an arm's requests go when they arrive. */
interface Door {
  submit(one: VirtualRequest, nowMs: number): void;
}

/** Runs one arm to its last answer. @throws when a request is of no tenant. */
export function runArm(arm: Arm, options: LabOptions): ArmOutcome {
  const { profile, tenants, requests, durationMs, hopMs, observer } = options;
  const loads = new Map(tenants.map((tenant) => [tenant.name, tenant]));
  const events = createEventQueue();
  const engine = new VirtualEngine({
    profile: arm.kind === 'floor' ? { ...profile, scheduling: 'ideal' } : profile,
    events,
    hopMs,
    durationMs,
    observer,
  });
  const record = new ArmRecord(tenants);
  const door = doorOf(arm, { events, engine, record, loads, hopMs, durationMs });
  for (const request of requests) {
    const load = loads.get(request.tenant);
    if (arm.kind === 'solo' && load?.quiet !== true) continue;
    if (load === undefined) throw new Error(`a request of ${request.tenant}, which is no tenant`);
    const one = new VirtualRequest(request, load);
    events.at(request.atMs, (nowMs) => door.submit(one, nowMs));
  }
  events.run();
  return {
    arm: arm.kind,
    durationMs,
    requests: record.outcomes,
    itl: record.itl,
    usefulTokens: engine.usefulTokens(),
    engine: engine.use(),
    refusedWhileIdle: record.refusedWhileIdle,
    notes: [],
  };
}

function doorOf(arm: Arm, world: FairlaneWorld): Door {
  if (arm.kind !== 'fairlane') {
    return new DirectDoor(
      world,
      arm.kind === 'request-bucket' ? new RequestBucket(arm.perSecond) : undefined,
    );
  }
  const { replicas, ...own } = arm.fairlane;
  if (replicas !== undefined) return new VirtualReplicas(own, replicas, world);
  const fairlane = new VirtualFairlane(own, world);
  world.engine.waitsElsewhere = () => fairlane.dispatcher.queued() > 0;
  return fairlane;
}

/**
 * Requests go to the engine as they come; those of others than the quiet tenants may have to pass a bucket.
 */
class DirectDoor implements Door, TokenObserver {
  readonly #world: FairlaneWorld;
  readonly #bucket: RequestBucket | undefined;

  constructor(world: FairlaneWorld, bucket: RequestBucket | undefined) {
    this.#world = world;
    this.#bucket = bucket;
  }

  submit(one: VirtualRequest, nowMs: number): void {
    const { engine, record } = this.#world;
    if (!one.load.quiet && this.#bucket?.passes(nowMs) === false) {
      if (engine.hasIdleSequence()) record.refusedWhileIdle.any += 1;
      record.end(one, 'refused', nowMs);
      return;
    }
    one.observer = this;
    engine.send(one, one.load.quiet ? 0 : 1, nowMs);
  }

  onToken(one: VirtualRequest, last: boolean, _cachedTokens: number, nowMs: number): void {
    const { record } = this.#world;
    record.token(one, nowMs);
    if (last) record.end(one, 'completed', nowMs);
  }
}
