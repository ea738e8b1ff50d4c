/**
 * The endpoints of one pool: who is in the rotation, how much each has in flight, and which one is next.
 *
 * Room on an endpoint is counted three times over, because eight long prompts are not eight short ones: sequences against
 * its window, tokens against its KV cache, and prompt tokens that are not computed yet against what may share a step.
 *
 * Invariant: 0 ≤ in flight; every slot taken is given back exactly once. An endpoint that left the rotation or the
 * configuration keeps the count of what it still serves.
 */
import { fixedWindow, type Gauges, type Window, type WindowSource } from '../queue/window.ts';

interface EndpointState {
  /** `http://host:port` as configured. */
  readonly url: string;
  /** `ip:port`, as Envoy knows it. */
  readonly address: string;
  readonly healthy: boolean;
  /** Requests. */
  readonly inFlight: number;
  /** Sequences that may be in flight. */
  readonly window: number;
  readonly windowSource: WindowSource;
  /** Its gauges are worth reading sooner. */
  readonly eager: boolean;
  /** KV cache tokens that the requests in flight need, prompt and predicted output. */
  readonly kvTokens: number;
  /** Undefined until the engine has said. */
  readonly kvCapacityTokens: number | undefined;
  /** The last request that asked had to wait for the prompts that are being computed, not for a slot. */
  readonly holding: boolean;
}

/** What a request takes of an endpoint. */
export interface Demand {
  /** Sequences that it runs as: one for each output (`n`). */
  readonly sequences: number;
  readonly promptTokens: number;
  /** Prompt and predicted output, of all sequences. */
  readonly totalTokens: number;
  /** Its tokens are seen as they come, so the end of its prefill is too. */
  readonly streamed: boolean;
  /** What its lane promises, if anything. */
  readonly slo?: Slo;
}

interface Slo {
  /** From the release to the first token. */
  readonly ttftMs?: number;
  readonly itlMs?: number;
}

export interface Slot {
  /** Ordered `ip:port`: the chosen endpoint, then the fallbacks for Envoy's retries. */
  readonly addresses: readonly string[];
  /** The endpoint that the slot is counted on, `ip:port`. */
  readonly address: string;
  /** Its prompt is computed. The first call counts. */
  firstToken(nowMs: number): void;
  /** Mean time between some of its tokens. */
  interToken(meanMs: number, nowMs: number): void;
  /** The first call gives the slot back; later ones are no-ops. */
  free(): void;
  /** Envoy served the request elsewhere (a retry): the slot is counted there from now on. */
  moveTo(address: string): void;
}

/** Who asks for a slot. */
export interface Claim {
  /** A tenant below its fair share: it may use the reserve, and while its prompt is computed no other is sent there. */
  readonly quiet: boolean;
  /** Slots of the pool that stay free for quiet tenants; not while an endpoint tries a larger window. */
  readonly reserve: number;
}

export interface WindowConfig {
  /** Sequences per endpoint; `auto` finds the size. */
  readonly window: number | 'auto';
  /**
   * Prompt tokens per endpoint that may wait for their computation while quiet tenants are active: a quiet request shares
   * its step with no more. A longer prompt goes alone.
   */
  readonly prefillTokens: number;
  /** Slots of the pool that are kept free while quiet tenants are active. */
  readonly reserve: number | 'auto';
  /** Others wait while a quiet prompt is computed. Default: true; benchmarks compare. */
  readonly holds?: boolean;
}

export interface PoolEndpoints {
  /** The least-loaded healthy endpoint that has room for it, or undefined. */
  acquire(demand: Demand, claim: Claim, nowMs: number): Slot | undefined;
  /** Sequences that all healthy endpoints may have in flight. */
  window(nowMs: number): number;
  /** As configured. */
  reserve(): number | 'auto';
  /** Requests. */
  inFlight(): number;
  healthyCount(): number;
  setHealthy(url: string, healthy: boolean): void;
  /** What an endpoint's engine says of itself. */
  gauges(url: string, sample: Gauges | 'unusable', nowMs: number): void;
  setCapacity(url: string, kvTokens: number | undefined): void;
  /** Replaces the set; endpoints that stay keep their state. `address` is the resolved `ip:port`. */
  reconfigure(
    endpoints: readonly { readonly url: string; readonly address: string }[],
    config: WindowConfig,
  ): void;
  list(nowMs: number): readonly EndpointState[];
}

/** A prompt that is being computed, or waits for it in the engine. */
interface Prefill {
  readonly tokens: number;
  readonly quiet: boolean;
  /** It is over by then, whether its first token was seen or not. */
  readonly untilMs: number;
}

interface Member {
  readonly url: string;
  address: string;
  healthy: boolean;
  requests: number;
  sequences: number;
  kvTokens: number;
  kvCapacityTokens: number | undefined;
  readonly prefills: Set<Prefill>;
  prefillTokens: number;
  quietPrefills: number;
  holding: boolean;
  window: Window;
  /** Learned; of the prompts before it in the engine and its own. */
  msPerPromptToken: number;
}

export type MakeWindow = (initial: number) => Window;

/** Part of the KV cache that requests above their fair share may plan with: outputs grow past their prediction. */
const KV_PLANNED_PART = 0.9;
const INITIAL_WINDOW = 8;
/** A request of unknown size in an engine of known capacity. */
const TYPICAL_TOKENS = 2_048;
const INITIAL_MS_PER_PROMPT_TOKEN = 0.2;
const SMOOTHING = 0.1;
/** Without quiet tenants, so many times the prompt tokens may wait: the engine never runs out of prompts. */
const UNPACED_PREFILL = 4;
/** A prefill is not waited for longer than so many times its expected duration, and some. */
const PREFILL_PATIENCE = 3;
const PREFILL_MARGIN_MS = 100;
/** An answer that does not stream shows no first token: the expected duration alone has to do. */
const UNSEEN_PATIENCE = 1;

export function createPoolEndpoints(makeWindow: MakeWindow): PoolEndpoints {
  let members: Member[] = [];
  let config: WindowConfig = { window: 1, prefillTokens: 1, reserve: 'auto' };
  let inFlight = 0;
  /** Ties go round, so that an idle pool does not send everything to its first endpoint. */
  let turn = 0;

  const memberOf = (url: string): Member | undefined => members.find((member) => member.url === url);

  const newWindow = (kvTokens: number | undefined): Window =>
    config.window === 'auto'
      ? makeWindow(
          Math.min(INITIAL_WINDOW, Math.ceil((kvTokens ?? Number.POSITIVE_INFINITY) / TYPICAL_TOKENS)),
        )
      : fixedWindow(config.window);

  const endPrefill = (member: Member, prefill: Prefill): void => {
    if (!member.prefills.delete(prefill)) return;
    member.prefillTokens -= prefill.tokens;
    if (prefill.quiet) member.quietPrefills -= 1;
  };
  const forgetOverdue = (member: Member, nowMs: number): void => {
    for (const prefill of member.prefills) if (prefill.untilMs <= nowMs) endPrefill(member, prefill);
  };

  const hasRoom = (
    member: Member,
    demand: Demand,
    {
      quiet,
      paced,
      leavesReserve,
    }: { readonly quiet: boolean; readonly paced: boolean; readonly leavesReserve: boolean },
    nowMs: number,
  ): boolean => {
    const limit = member.window.limit(nowMs);
    // What is larger than a whole endpoint goes when it is alone there.
    const isFull = member.sequences > 0 && member.sequences + demand.sequences > limit;
    if (isFull && !(quiet && member.window.isGuess())) {
      member.window.pressed();
      return false;
    }
    if (member.kvCapacityTokens !== undefined && member.requests > 0) {
      const part = quiet ? 1 : KV_PLANNED_PART;
      if (member.kvTokens + demand.totalTokens > member.kvCapacityTokens * part) return false;
    }
    if (quiet) return true;
    if (!leavesReserve && !member.window.trying()) {
      member.window.pressed();
      return false;
    }
    const prefillTokens = paced ? config.prefillTokens : UNPACED_PREFILL * config.prefillTokens;
    member.holding =
      (member.quietPrefills > 0 && config.holds !== false) ||
      (member.prefillTokens > 0 && member.prefillTokens + demand.promptTokens > prefillTokens);
    return !member.holding;
  };

  const move = (member: Member, demand: Demand, sign: 1 | -1): void => {
    member.requests += sign;
    member.sequences += sign * demand.sequences;
    member.kvTokens += sign * demand.totalTokens;
  };

  const slotOn = (first: Member, demand: Demand, quiet: boolean, releasedMs: number): Slot => {
    let member = first;
    let open = true;
    move(member, demand, 1);
    inFlight += 1;
    const before = member.prefillTokens + demand.promptTokens;
    const expectedMs = member.msPerPromptToken * before;
    const patience = demand.streamed ? PREFILL_PATIENCE : UNSEEN_PATIENCE;
    const prefill: Prefill = {
      tokens: demand.promptTokens,
      quiet,
      untilMs: releasedMs + patience * expectedMs + PREFILL_MARGIN_MS,
    };
    member.prefills.add(prefill);
    member.prefillTokens += prefill.tokens;
    if (quiet) member.quietPrefills += 1;
    let tokenSeen = false;
    const fallbacks = members
      .filter((other) => other !== first && other.healthy)
      .sort((a, b) => a.sequences - b.sequences)
      .map((other) => other.address);
    return {
      addresses: [first.address, ...fallbacks],
      get address() {
        return member.address;
      },
      firstToken(nowMs) {
        if (tokenSeen) return;
        tokenSeen = true;
        endPrefill(first, prefill);
        if (member !== first) return;
        const ttftMs = nowMs - releasedMs;
        member.msPerPromptToken += SMOOTHING * (ttftMs / Math.max(64, before) - member.msPerPromptToken);
        member.window.firstToken(ttftMs, before, member.sequences, nowMs);
        if (demand.slo?.ttftMs !== undefined) member.window.slo(ttftMs / demand.slo.ttftMs, nowMs);
      },
      interToken(meanMs, nowMs) {
        member.window.interToken(meanMs);
        if (demand.slo?.itlMs !== undefined) member.window.slo(meanMs / demand.slo.itlMs, nowMs);
      },
      free() {
        if (!open) return;
        open = false;
        endPrefill(first, prefill);
        move(member, demand, -1);
        inFlight -= 1;
      },
      moveTo(address) {
        if (!open || address === member.address) return;
        const other = members.find((candidate) => candidate.address === address);
        if (other === undefined) return;
        endPrefill(first, prefill);
        move(member, demand, -1);
        member = other;
        move(member, demand, 1);
      },
    };
  };

  const freeSlots = (nowMs: number): number => {
    let free = 0;
    for (const member of members) {
      if (member.healthy && !member.window.trying())
        free += Math.max(0, member.window.limit(nowMs) - member.sequences);
    }
    return free;
  };

  return {
    acquire(demand, { quiet, reserve }, nowMs) {
      const leavesReserve = reserve === 0 || inFlight === 0 || freeSlots(nowMs) - demand.sequences >= reserve;
      let best: Member | undefined;
      for (let i = 0; i < members.length; i += 1) {
        const member = members[(turn + i) % members.length];
        if (member === undefined || !member.healthy) continue;
        forgetOverdue(member, nowMs);
        if (!hasRoom(member, demand, { quiet, paced: reserve > 0, leavesReserve }, nowMs)) continue;
        if (best === undefined || member.sequences < best.sequences) best = member;
      }
      if (best === undefined) return undefined;
      turn = (members.indexOf(best) + 1) % members.length;
      return slotOn(best, demand, quiet, nowMs);
    },
    window: (nowMs) =>
      members.reduce((sum, member) => sum + (member.healthy ? member.window.limit(nowMs) : 0), 0),
    reserve: () => config.reserve,
    inFlight: () => inFlight,
    healthyCount: () => members.reduce((sum, member) => sum + (member.healthy ? 1 : 0), 0),
    setHealthy(url, healthy) {
      const member = memberOf(url);
      if (member !== undefined) member.healthy = healthy;
    },
    gauges(url, sample, nowMs) {
      const member = memberOf(url);
      member?.window.gauges(sample, member.sequences, nowMs);
    },
    setCapacity(url, kvTokens) {
      const member = memberOf(url);
      if (member === undefined || member.kvCapacityTokens === kvTokens) return;
      member.kvCapacityTokens = kvTokens;
      if (member.requests === 0) member.window = newWindow(kvTokens);
    },
    reconfigure(endpoints, next) {
      const windowChanged = next.window !== config.window;
      config = next;
      members = endpoints.map(({ url, address }) => {
        const known = memberOf(url);
        if (known === undefined) {
          return {
            url,
            address,
            healthy: false,
            requests: 0,
            sequences: 0,
            kvTokens: 0,
            kvCapacityTokens: undefined,
            prefills: new Set(),
            prefillTokens: 0,
            quietPrefills: 0,
            holding: false,
            window: newWindow(undefined),
            msPerPromptToken: INITIAL_MS_PER_PROMPT_TOKEN,
          };
        }
        known.address = address;
        if (windowChanged) known.window = newWindow(known.kvCapacityTokens);
        return known;
      });
      turn = 0;
    },
    list: (nowMs) =>
      members.map((member) => ({
        url: member.url,
        address: member.address,
        healthy: member.healthy,
        inFlight: member.requests,
        window: member.window.limit(nowMs),
        windowSource: member.window.source(),
        eager: member.window.isEager(),
        kvTokens: member.kvTokens,
        kvCapacityTokens: member.kvCapacityTokens,
        holding: member.holding,
      })),
  };
}
