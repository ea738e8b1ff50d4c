/**
 * A circuit breaker for each model (or adapter) on an endpoint: what fails there is asked of other endpoints, and tried again
 * one request at a time. The states are those of M. Nygard, Release It!, 2007: an open circuit lets no traffic through.
 *
 *   closed ──(failures that tenants agree on)──▶ open ──(its time)──▶ half-open ──(successful probes)──▶ closed
 *                                                  ▲                      │
 *                                                  └─(a second tenant's───┘
 *                                                      probe fails)
 *
 * In half-open one request at a time goes there: the half-open probe. Nobody's bad requests open a model's circuit to others:
 * 1. Each tenant is one vote (tenant-votes.ts). The circuit opens for everybody when at least two tenants fail and they are
 *    at least `failureShare` of those who were here in the window.
 * 2. A tenant that fails, and was alone here, is kept out alone, and only for faults that no request can cause (`fault`).
 *    Whoever comes next is not.
 * 3. Whoever succeeded here last, within the window, is let in whatever the state is: their own first failure ends that.
 * 4. A probe that failed, said nothing or never ended bars its tenant from the next ones. Only a failed probe of a second
 *    tenant opens the circuit again.
 *
 * So: one tenant, whatever it sends, never keeps another out, and no number of tenants keeps out one that succeeds. The price: a
 * model that died is noticed by each such tenant with one request, unless Envoy tries that one elsewhere.
 *
 * Memory is bounded: `maxKeys` pairs of endpoint and model, those used last, and `maxTenants` tenants each. Rule 3 holds for a
 * tenant that is remembered.
 */
import type { ModelSign } from './outcome.ts';
import { TenantVotes } from './tenant-votes.ts';

export interface BreakerConfig {
  readonly windowMs: number;
  /** Part of a tenant's outcomes, and of the tenants, that has to fail. 0 to 1. */
  readonly failureShare: number;
  /** Failures in the window below which nothing opens. */
  readonly minFailures: number;
  /** Of a first opening; each further one lasts twice as long. */
  readonly openMs: number;
  readonly maxOpenMs: number;
  /** Successful probes after which the circuit closes. */
  readonly successesToClose: number;
  /** A probe that says nothing for so long is no longer waited for. */
  readonly probeTimeoutMs: number;
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
  probeTimeoutMs: 10_000,
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
  /** It would be the half-open probe. */
  | { readonly kind: 'probe' }
  /** Another endpoint, or later: at `retryMs` at the latest something changes. */
  | { readonly kind: 'refuse'; readonly retryMs: number };

type BreakerState = 'closed' | 'open' | 'half-open';

/** 0 is in no URL and no model. */
const idOf = ({ endpoint, model }: BreakerKey): string => `${endpoint}\0${model}`;
const MAX_DOUBLINGS = 30;
const PASS: Permission = { kind: 'pass' };
const PROBE: Permission = { kind: 'probe' };

/** One model on one endpoint. */
class Circuit {
  readonly key: BreakerKey;
  readonly #config: BreakerConfig;
  readonly #votes: TenantVotes;

  /** Undefined: closed. Before that time: open. After it: half-open. */
  #openUntilMs: number | undefined;
  /** Openings in a row without a close. */
  #openings = 0;
  /** Tenants that are kept out alone, and how often in a row they were. */
  readonly #barred = new Map<string, { readonly untilMs: number; readonly times: number }>();

  // Half-open.
  #probe: { readonly tenant: string; readonly untilMs: number } | undefined;
  /** Successful probes. */
  #succeeded = 0;
  /** Whose probes failed; a second tenant's opens the circuit again. */
  #failedProbeOf: string | undefined;

  constructor(key: BreakerKey, config: BreakerConfig) {
    this.key = key;
    this.#config = config;
    this.#votes = new TenantVotes(config);
  }

  stateOf(nowMs: number): BreakerState {
    if (this.#openUntilMs === undefined) return 'closed';
    return nowMs < this.#openUntilMs ? 'open' : 'half-open';
  }

  /** It may refuse somebody. */
  isTroubled(): boolean {
    return this.#openUntilMs !== undefined || this.#barred.size > 0;
  }

  permits(tenant: string, nowMs: number): Permission {
    if (this.#isSucceeding(tenant, nowMs)) return PASS;
    const barredUntilMs = this.#barred.get(tenant)?.untilMs ?? nowMs;
    if (nowMs < barredUntilMs) return { kind: 'refuse', retryMs: barredUntilMs - nowMs };
    const openUntilMs = this.#openUntilMs;
    if (openUntilMs === undefined) return PASS;
    if (nowMs < openUntilMs) return { kind: 'refuse', retryMs: openUntilMs - nowMs };
    const probe = this.#probe;
    const rest = probe?.tenant === tenant ? this.#config.probeTimeoutMs : 0;
    const probeUntilMs = probe === undefined ? nowMs : probe.untilMs + rest;
    if (nowMs < probeUntilMs) return { kind: 'refuse', retryMs: probeUntilMs - nowMs };
    return PROBE;
  }

  beginProbe(tenant: string, nowMs: number): void {
    if (this.#probe !== undefined) this.#bar(this.#probe.tenant, false, nowMs);
    this.#probe = { tenant, untilMs: nowMs + this.#config.probeTimeoutMs };
  }

  observe(tenant: string, sign: ModelSign | undefined, nowMs: number): void {
    const isProbe = this.#probe?.tenant === tenant;
    if (isProbe) this.#probe = undefined;
    if (sign === undefined) {
      if (isProbe) this.#bar(tenant, false, nowMs);
      return;
    }
    const state = this.stateOf(nowMs);
    this.#votes.add(tenant, sign !== 'success', nowMs);
    if (state === 'closed') this.#observeClosed(tenant, sign, nowMs);
    // A success is one, whoever had it. A failure of what went there before the circuit opened says nothing new.
    else if (sign === 'success' || (isProbe && state === 'half-open')) {
      this.#observeProbe(tenant, sign, nowMs);
    }
  }

  #observeClosed(tenant: string, sign: ModelSign, nowMs: number): void {
    if (sign === 'success') {
      this.#barred.delete(tenant);
      return;
    }
    if (this.#votes.total(nowMs).failed < this.#config.minFailures) return;
    const verdict = this.#votes.verdict(nowMs);
    if (verdict.kind === 'place') this.#open(nowMs);
    else if (verdict.kind === 'alone' && verdict.tenant === tenant && sign === 'fault') {
      this.#bar(tenant, true, nowMs);
      // Otherwise its next outcomes would be judged by these once more.
      this.#votes.clear();
    }
  }

  #observeProbe(tenant: string, sign: ModelSign, nowMs: number): void {
    if (sign === 'success') {
      this.#succeeded += 1;
      if (this.#succeeded >= this.#config.successesToClose) this.#close();
      return;
    }
    this.#succeeded = 0;
    if (this.#failedProbeOf !== undefined && this.#failedProbeOf !== tenant) this.#open(nowMs);
    else {
      this.#failedProbeOf = tenant;
      this.#bar(tenant, true, nowMs);
    }
  }

  /** No traffic for a while. */
  #open(nowMs: number): void {
    this.#openUntilMs = nowMs + this.#lasting(this.#openings);
    this.#openings += 1;
    this.#forgetProbes();
    this.#votes.clear();
  }

  /** Traffic again. */
  #close(): void {
    this.#openUntilMs = undefined;
    this.#openings = 0;
    this.#forgetProbes();
  }

  #forgetProbes(): void {
    this.#probe = undefined;
    this.#succeeded = 0;
    this.#failedProbeOf = undefined;
    this.#barred.clear();
  }

  /** @param failed the next time lasts longer. */
  #bar(tenant: string, failed: boolean, nowMs: number): void {
    const barred = this.#barred;
    const times = barred.get(tenant)?.times ?? 0;
    barred.delete(tenant);
    barred.set(tenant, { untilMs: nowMs + this.#lasting(times), times: failed ? times + 1 : times });
    for (const oldest of barred.keys()) {
      if (barred.size <= this.#config.maxTenants) break;
      barred.delete(oldest);
    }
  }

  #lasting(times: number): number {
    const { openMs, maxOpenMs } = this.#config;
    return Math.min(maxOpenMs, openMs * 2 ** Math.min(MAX_DOUBLINGS, times));
  }

  #isSucceeding(tenant: string, nowMs: number): boolean {
    const atMs = this.#votes.succeededAtMs(tenant);
    return atMs !== undefined && nowMs - atMs < this.#config.windowMs;
  }
}

export class Breaker {
  readonly #config: BreakerConfig;
  /** In the order of their latest use. */
  readonly #circuits = new Map<string, Circuit>();
  /** Those that may refuse somebody. */
  readonly #troubled = new Set<Circuit>();

  constructor(config: BreakerConfig) {
    this.#config = config;
  }

  /** Nothing is taken by asking; began() takes the half-open probe. */
  permits(key: BreakerKey, tenant: string, nowMs: number): Permission {
    if (this.#troubled.size === 0) return PASS;
    return this.#circuits.get(idOf(key))?.permits(tenant, nowMs) ?? PASS;
  }

  /** Everybody passes everywhere: nothing has to be asked. */
  permitsEverything(): boolean {
    return this.#troubled.size === 0;
  }

  /** The request has gone there, by that permission. */
  began(key: BreakerKey, tenant: string, permission: Permission, nowMs: number): void {
    if (permission.kind !== 'probe') return;
    const circuit = this.#circuitFor(key);
    circuit.beginProbe(tenant, nowMs);
    this.#note(circuit);
  }

  /** Hears how it ended. `undefined` says nothing, but ends a half-open probe. */
  observed(key: BreakerKey, tenant: string, sign: ModelSign | undefined, nowMs: number): void {
    if (sign === undefined && !this.#circuits.has(idOf(key))) return;
    const circuit = this.#circuitFor(key);
    circuit.observe(tenant, sign, nowMs);
    this.#note(circuit);
  }

  stateOf(key: BreakerKey, nowMs: number): BreakerState {
    return this.#circuits.get(idOf(key))?.stateOf(nowMs) ?? 'closed';
  }

  /** The endpoint is gone, or was restarted. */
  forget(endpoint: string): void {
    for (const [id, circuit] of this.#circuits)
      if (circuit.key.endpoint === endpoint) this.#drop(id, circuit);
  }

  /** Lists the circuits that are not closed. */
  open(nowMs: number): readonly (BreakerKey & { readonly state: 'open' | 'half-open' })[] {
    const found: (BreakerKey & { readonly state: 'open' | 'half-open' })[] = [];
    for (const circuit of this.#circuits.values()) {
      const state = circuit.stateOf(nowMs);
      if (state !== 'closed') found.push({ ...circuit.key, state });
    }
    return found;
  }

  /** Pairs of endpoint and model that are remembered. */
  size(): number {
    return this.#circuits.size;
  }

  #circuitFor(key: BreakerKey): Circuit {
    const id = idOf(key);
    const circuit = this.#circuits.get(id) ?? new Circuit(key, this.#config);
    this.#circuits.delete(id);
    this.#circuits.set(id, circuit);
    for (const [oldest, unused] of this.#circuits) {
      if (this.#circuits.size <= this.#config.maxKeys) break;
      this.#drop(oldest, unused);
    }
    return circuit;
  }

  #drop(id: string, circuit: Circuit): void {
    this.#circuits.delete(id);
    this.#troubled.delete(circuit);
  }

  #note(circuit: Circuit): void {
    if (circuit.isTroubled()) this.#troubled.add(circuit);
    else this.#troubled.delete(circuit);
  }
}
