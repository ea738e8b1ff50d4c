/**
 * A circuit breaker for each model (or adapter) on an endpoint: what fails there is asked of other endpoints, and tried again
 * one request at a time.
 *
 *   closed ──(failures that tenants agree on)──▶ open ──(its time)──▶ half-open ──(successful trials)──▶ closed
 *                                                  ▲                      │
 *                                                  └─(a second tenant's───┘
 *                                                      trial fails)
 *
 * The rule, by which nobody's bad requests close a model to others:
 * 1. Each tenant is one vote (tenant-votes.ts). The breaker opens for everybody when at least two tenants fail and they are at
 *    least `failureShare` of those who were here in the window.
 * 2. A tenant that fails, and was alone here, is kept out alone, and only for faults that no request can cause (`fault`).
 *    Whoever comes next is not.
 * 3. Whoever succeeded here last, within the window, is let in whatever the state is: their own first failure ends that.
 * 4. A trial that failed, said nothing or never ended bars its tenant from the next ones. Only a failed trial of a second
 *    tenant opens the breaker again.
 *
 * So: one tenant, whatever it sends, never keeps another out, and no number of tenants keeps out one that succeeds. The price: a
 * model that died is noticed by each such tenant with one request, unless Envoy tries that one elsewhere.
 *
 * Memory is bounded: `maxKeys` pairs of endpoint and model, those used last, and `maxTenants` tenants each. Rule 3 holds for a
 * tenant that is remembered.
 */
import type { ModelSign } from './outcome.ts';
import { createTenantVotes, type TenantVotes } from './tenant-votes.ts';

export interface BreakerConfig {
  readonly windowMs: number;
  /** Part of a tenant's outcomes, and of the tenants, that has to fail. 0 to 1. */
  readonly failureShare: number;
  /** Failures in the window below which nothing opens. */
  readonly minFailures: number;
  /** Of a first opening; each further one lasts twice as long. */
  readonly openMs: number;
  readonly maxOpenMs: number;
  /** Successful trials after which it is closed. */
  readonly successesToClose: number;
  /** A trial that says nothing for so long is no longer waited for. */
  readonly trialMs: number;
  readonly maxKeys: number;
  readonly maxTenants: number;
}

export const DEFAULT_BREAKER: BreakerConfig = {
  windowMs: 10_000,
  failureShare: 0.5,
  minFailures: 3,
  openMs: 5_000,
  maxOpenMs: 120_000,
  successesToClose: 1,
  trialMs: 10_000,
  maxKeys: 1_024,
  maxTenants: 64,
};

export interface BreakerKey {
  readonly endpoint: string;
  /** Model or adapter, as the engine is asked for it. */
  readonly model: string;
}

type Permission =
  | { readonly kind: 'pass' }
  /** It is the one request that tries. */
  | { readonly kind: 'trial' }
  /** Another endpoint, or later: at `retryMs` at the latest something changes. */
  | { readonly kind: 'refuse'; readonly retryMs: number };

export interface Breaker {
  /** Nothing is taken by asking; began() takes the trial. */
  permits(key: BreakerKey, tenant: string, nowMs: number): Permission;
  /** Everybody passes everywhere: nothing has to be asked. */
  isCalm(): boolean;
  /** The request has gone there, by that permission. */
  began(key: BreakerKey, tenant: string, permission: Permission, nowMs: number): void;
  /** Its end. `undefined` says nothing, but ends a trial. */
  observed(key: BreakerKey, tenant: string, sign: ModelSign | undefined, nowMs: number): void;
  stateOf(key: BreakerKey, nowMs: number): 'closed' | 'open' | 'half-open';
  /** The endpoint is gone, or was restarted. */
  forget(endpoint: string): void;
  /** Those that are not closed. */
  open(nowMs: number): readonly (BreakerKey & { readonly state: 'open' | 'half-open' })[];
  /** Pairs that are remembered. */
  size(): number;
}

interface Circuit {
  readonly key: BreakerKey;
  readonly votes: TenantVotes;
  /** Of everybody; undefined: closed. */
  openUntilMs: number | undefined;
  /** Openings in a row without a close. */
  openings: number;
  /** Tenants that are kept out alone, and how often in a row they were. */
  readonly barred: Map<string, { readonly untilMs: number; readonly times: number }>;
  trial: { readonly tenant: string; readonly untilMs: number } | undefined;
  /** Successful trials since it is half-open. */
  succeeded: number;
  /** Whose trials failed since it is half-open; the second opens. */
  failedTrialOf: string | undefined;
}

/** 0 is in no URL and no model. */
const idOf = ({ endpoint, model }: BreakerKey): string => `${endpoint}\0${model}`;
const MAX_DOUBLINGS = 30;
const PASS: Permission = { kind: 'pass' };
const TRIAL: Permission = { kind: 'trial' };

export function createBreaker(config: BreakerConfig): Breaker {
  /** In the order of their latest use. */
  const circuits = new Map<string, Circuit>();
  /** Those that may refuse somebody. */
  const troubled = new Set<Circuit>();

  const drop = (id: string, circuit: Circuit): void => {
    circuits.delete(id);
    troubled.delete(circuit);
  };
  const note = (circuit: Circuit): void => {
    if (circuit.openUntilMs === undefined && circuit.barred.size === 0) troubled.delete(circuit);
    else troubled.add(circuit);
  };

  const circuitFor = (key: BreakerKey): Circuit => {
    const id = idOf(key);
    const circuit = circuits.get(id) ?? {
      key,
      votes: createTenantVotes(config),
      openUntilMs: undefined,
      openings: 0,
      barred: new Map(),
      trial: undefined,
      succeeded: 0,
      failedTrialOf: undefined,
    };
    circuits.delete(id);
    circuits.set(id, circuit);
    for (const [oldest, unused] of circuits) {
      if (circuits.size <= config.maxKeys) break;
      drop(oldest, unused);
    }
    return circuit;
  };

  const lasting = (times: number): number =>
    Math.min(config.maxOpenMs, config.openMs * 2 ** Math.min(MAX_DOUBLINGS, times));

  /** @param failed the next time lasts longer. */
  const bar = ({ barred }: Circuit, tenant: string, failed: boolean, nowMs: number): void => {
    const times = barred.get(tenant)?.times ?? 0;
    barred.delete(tenant);
    barred.set(tenant, { untilMs: nowMs + lasting(times), times: failed ? times + 1 : times });
    for (const oldest of barred.keys()) {
      if (barred.size <= config.maxTenants) break;
      barred.delete(oldest);
    }
  };

  const openFor = (circuit: Circuit, nowMs: number): void => {
    circuit.openUntilMs = nowMs + lasting(circuit.openings);
    circuit.openings += 1;
    circuit.trial = undefined;
    circuit.succeeded = 0;
    circuit.failedTrialOf = undefined;
    circuit.votes.clear();
    circuit.barred.clear();
  };

  const close = (circuit: Circuit): void => {
    circuit.openUntilMs = undefined;
    circuit.openings = 0;
    circuit.trial = undefined;
    circuit.succeeded = 0;
    circuit.failedTrialOf = undefined;
    circuit.barred.clear();
  };

  const isSucceeding = ({ votes }: Circuit, tenant: string, nowMs: number): boolean => {
    const atMs = votes.succeededAtMs(tenant);
    return atMs !== undefined && nowMs - atMs < config.windowMs;
  };

  const observedClosed = (circuit: Circuit, tenant: string, sign: ModelSign, nowMs: number): void => {
    if (sign === 'success') {
      circuit.barred.delete(tenant);
      return;
    }
    if (circuit.votes.total(nowMs).failed < config.minFailures) return;
    const verdict = circuit.votes.verdict(nowMs);
    if (verdict.kind === 'place') openFor(circuit, nowMs);
    else if (verdict.kind === 'alone' && verdict.tenant === tenant && sign === 'fault') {
      bar(circuit, tenant, true, nowMs);
      // Otherwise its next outcomes would be judged by these once more.
      circuit.votes.clear();
    }
  };

  const observedTrial = (circuit: Circuit, tenant: string, sign: ModelSign, nowMs: number): void => {
    if (sign === 'success') {
      circuit.succeeded += 1;
      if (circuit.succeeded >= config.successesToClose) close(circuit);
      return;
    }
    circuit.succeeded = 0;
    if (circuit.failedTrialOf !== undefined && circuit.failedTrialOf !== tenant) openFor(circuit, nowMs);
    else {
      circuit.failedTrialOf = tenant;
      bar(circuit, tenant, true, nowMs);
    }
  };

  const stateOf = ({ openUntilMs }: Circuit, nowMs: number): 'closed' | 'open' | 'half-open' => {
    if (openUntilMs === undefined) return 'closed';
    return nowMs < openUntilMs ? 'open' : 'half-open';
  };

  return {
    permits(key, tenant, nowMs) {
      if (troubled.size === 0) return PASS;
      const circuit = circuits.get(idOf(key));
      if (circuit === undefined || isSucceeding(circuit, tenant, nowMs)) return PASS;
      const barredUntilMs = circuit.barred.get(tenant)?.untilMs ?? nowMs;
      if (nowMs < barredUntilMs) return { kind: 'refuse', retryMs: barredUntilMs - nowMs };
      const { openUntilMs, trial } = circuit;
      if (openUntilMs === undefined) return PASS;
      if (nowMs < openUntilMs) return { kind: 'refuse', retryMs: openUntilMs - nowMs };
      const trialUntilMs =
        trial === undefined ? nowMs : trial.untilMs + (trial.tenant === tenant ? config.trialMs : 0);
      if (nowMs < trialUntilMs) return { kind: 'refuse', retryMs: trialUntilMs - nowMs };
      return TRIAL;
    },
    isCalm: () => troubled.size === 0,
    began(key, tenant, permission, nowMs) {
      if (permission.kind !== 'trial') return;
      const circuit = circuitFor(key);
      if (circuit.trial !== undefined) bar(circuit, circuit.trial.tenant, false, nowMs);
      circuit.trial = { tenant, untilMs: nowMs + config.trialMs };
      note(circuit);
    },
    observed(key, tenant, sign, nowMs) {
      const isKnown = circuits.has(idOf(key));
      if (!isKnown && sign === undefined) return;
      const circuit = circuitFor(key);
      const isTrial = circuit.trial?.tenant === tenant;
      if (isTrial) circuit.trial = undefined;
      if (sign === undefined) {
        if (isTrial) bar(circuit, tenant, false, nowMs);
        note(circuit);
        return;
      }
      const state = stateOf(circuit, nowMs);
      circuit.votes.add(tenant, sign !== 'success', nowMs);
      if (state === 'closed') observedClosed(circuit, tenant, sign, nowMs);
      // A success is one, whoever had it. A failure of what went there before the breaker opened says nothing new.
      else if (sign === 'success' || (isTrial && state === 'half-open')) {
        observedTrial(circuit, tenant, sign, nowMs);
      }
      note(circuit);
    },
    stateOf(key, nowMs) {
      const circuit = circuits.get(idOf(key));
      return circuit === undefined ? 'closed' : stateOf(circuit, nowMs);
    },
    forget(endpoint) {
      for (const [id, circuit] of circuits) if (circuit.key.endpoint === endpoint) drop(id, circuit);
    },
    open(nowMs) {
      const found: (BreakerKey & { readonly state: 'open' | 'half-open' })[] = [];
      for (const circuit of circuits.values()) {
        const state = stateOf(circuit, nowMs);
        if (state !== 'closed') found.push({ ...circuit.key, state });
      }
      return found;
    },
    size: () => circuits.size,
  };
}
