/**
 * Several Fairlanes on the lab's clock, in front of one engine: they share its concurrency limit by
 * allotments.
 */
import { type Allotments, createAllotments } from '../limit/allotments.ts';
import type { VirtualRequest } from './arm-record.ts';
import type { Request } from './load.ts';
import { createVirtualAllotments, type VirtualAllotments } from './virtual-allotments.ts';
import { type FairlaneOptions, type FairlaneWorld, VirtualFairlane } from './virtual-fairlane.ts';

export interface Replicas {
  readonly count: number;
  /** Which one a request comes to, from 0. */
  readonly of: (request: Request) => number;
  /** One way to the account of allotments. Default: 0.3. */
  readonly hopMs?: number;
  /** Whether the account can be reached. Default: always. */
  readonly isUp?: (nowMs: number) => boolean;
  /** Default: 0.5. */
  readonly failureShare?: number;
  /** Told every 10 ms: of each, what is in flight, its part of the concurrency limit, and what is queued. */
  readonly onAllotments?: (list: readonly ReplicaSeen[], nowMs: number) => void;
}

interface ReplicaSeen {
  readonly inFlight: number;
  readonly concurrencyLimit: number;
  readonly queued: number;
}

const TICK_MS = 10;
const HOP_MS = 0.3;
const MAX_WAIT_MS = 10;

export class VirtualReplicas {
  readonly #list: readonly VirtualFairlane[];
  readonly #replicas: Replicas;
  readonly #world: FairlaneWorld;

  constructor(own: FairlaneOptions, replicas: Replicas, world: FairlaneWorld) {
    this.#replicas = replicas;
    this.#world = world;
    const account = createVirtualAllotments();
    this.#list = Array.from({ length: replicas.count }, (_, i) => {
      const allotments = allotmentsOf(`replica-${i}`, { account, replicas, world });
      return new VirtualFairlane(own, world, allotments);
    });
    world.engine.waitsElsewhere = () => this.#list.some(({ dispatcher }) => dispatcher.queued() > 0);
    world.events.at(0, this.#look);
  }

  /** Gives a request to the replica that it comes to. */
  submit(one: VirtualRequest, nowMs: number): void {
    this.#list[this.#replicas.of(one.request)]?.submit(one, nowMs);
  }

  readonly #look = (nowMs: number): void => {
    this.#replicas.onAllotments?.(
      this.#list.map(({ endpoints, dispatcher }) => ({
        inFlight: endpoints.inFlight(),
        concurrencyLimit: endpoints.concurrencyLimit(nowMs),
        queued: dispatcher.queued(),
      })),
      nowMs,
    );
    const { events, durationMs } = this.#world;
    if (nowMs < durationMs) events.at(nowMs + TICK_MS, this.#look);
  };
}

/** One replica's allotments: its calls to the account take their time, and fail while the account is down. */
function allotmentsOf(
  replica: string,
  {
    account,
    replicas: { hopMs = HOP_MS, isUp = () => true, failureShare = 0.5 },
    world: { events, durationMs },
  }: { readonly account: VirtualAllotments; readonly replicas: Replicas; readonly world: FairlaneWorld },
): Allotments {
  let clockMs = 0;
  const allotments = createAllotments({
    failureShare,
    maxWaitMs: MAX_WAIT_MS,
    isUp: () => isUp(clockMs),
    send(key, kind, sent, done) {
      events.at(sent.atMs + hopMs, (atMs) => {
        const answer = isUp(atMs) ? account.call(key, kind, replica, sent, atMs) : undefined;
        events.at(atMs + hopMs, (doneMs) => done(answer, doneMs));
      });
    },
    onActive: () => undefined,
  });
  const tick = (nowMs: number): void => {
    clockMs = nowMs;
    allotments.tick(nowMs);
    if (nowMs < durationMs || allotments.active() > 0) events.at(nowMs + TICK_MS, tick);
  };
  events.at(0, tick);
  return allotments;
}
