/** Two tenants before a running Fairlane: what they ask for, and what became of it so far. */
import { parseProfile } from '../simulator/profile.ts';
import type { Arrivals, TenantLoad } from './load.ts';
import { createQuantiles, type RequestOutcome } from './outcome.ts';
import { shown } from './report-text.ts';
import type { Scenario } from './scenario.ts';

export const QUIET = 'quiet';
export const NOISY = 'noisy';
const QUIET_PER_SECOND = 1;
const TIMES_CAPACITY = 1.5;
/** So many requests that failed, and none that was answered: more of them say nothing new. */
const HOPELESS = 10;
const MOST_REASONS = 3;

export interface TwoTenantsAsked {
  readonly durationMs: number;
  readonly seed: number;
  /** Requests a second of the noisy one; absent: 1.5 times what the demo's engine can do. */
  readonly noisyPerSecond?: number;
}

/** The load as a scenario, whose engine is the demo's. */
export function twoTenants({ durationMs, seed, noisyPerSecond }: TwoTenantsAsked): Scenario {
  const tenant = (name: string, arrivals: Arrivals): TenantLoad => ({
    name,
    weight: 1,
    quiet: name === QUIET,
    arrivals,
    prompt: { kind: 'uniform', from: 50, to: 150 },
    output: { kind: 'uniform', from: 40, to: 80 },
    sharedPrefix: 0,
    saysLength: false,
  });
  const noisy: Arrivals =
    noisyPerSecond === undefined
      ? { kind: 'capacity', times: TIMES_CAPACITY }
      : { kind: 'poisson', perSecond: noisyPerSecond };
  return {
    name: 'quiet against noisy',
    durationMs,
    seed,
    engine: parseProfile('quickstart', {}),
    bucket: 1,
    hopMs: 0,
    ignoreEos: true,
    tenants: [tenant(QUIET, { kind: 'trace', atMs: everySecond(durationMs) }), tenant(NOISY, noisy)],
    keyVariables: new Map(),
  };
}

const everySecond = (durationMs: number): readonly number[] =>
  Array.from(
    { length: Math.ceil((durationMs * QUIET_PER_SECOND) / 1_000) },
    (_, i) => (i * 1_000) / QUIET_PER_SECOND,
  );

/** Of one tenant. */
class Tally {
  sent = 0;
  completed = 0;
  refused = 0;
  failed = 0;
  /** From a request's planned time to its first token, in ms. */
  readonly ttft = createQuantiles();

  get open(): number {
    return this.sent - this.completed - this.refused - this.failed;
  }
}

const ms = (value: number | undefined): string =>
  value === undefined ? '–' : value < 1_000 ? `${Math.round(value)} ms` : `${(value / 1_000).toFixed(1)} s`;

/** Counts what is told of both tenants' requests. */
export class TwoTenantsCounts {
  readonly #tallies: ReadonlyMap<string, Tally> = new Map([
    [QUIET, new Tally()],
    [NOISY, new Tally()],
  ]);
  readonly #reasons = new Map<string, number>();

  sent(tenant: string): void {
    const tally = this.#tallies.get(tenant);
    if (tally !== undefined) tally.sent += 1;
  }

  firstToken(tenant: string, ttftMs: number): void {
    this.#tallies.get(tenant)?.ttft.add(ttftMs);
  }

  settled(tenant: string, outcome: RequestOutcome['outcome'], reason?: string): void {
    const tally = this.#tallies.get(tenant);
    if (tally !== undefined) tally[outcome] += 1;
    if (reason !== undefined) this.#reasons.set(reason, (this.#reasons.get(reason) ?? 0) + 1);
  }

  /** Whether many failed and nothing was answered: not even a refusal. */
  isHopeless(): boolean {
    return this.#answered() === 0 && this.#sum(({ failed }) => failed) >= HOPELESS;
  }

  /** Whether something failed and nothing was answered. */
  isFailed(): boolean {
    return this.#answered() === 0 && this.#sum(({ failed }) => failed) > 0;
  }

  /** @param atMs since the start. */
  progressLine(atMs: number, durationMs: number): string {
    const seconds = `${shown(Math.floor(atMs / 1_000))} of ${shown(durationMs / 1_000)} s`;
    const each = [...this.#tallies].map(
      ([name, { ttft, sent, refused, failed }]) =>
        `${name} ${sent} sent, TTFT p50 ${ms(ttft.at(0.5))}, p99 ${ms(ttft.at(0.99))}` +
        `${refused > 0 ? `, ${refused} refused` : ''}${failed > 0 ? `, ${failed} failed` : ''}`,
    );
    return `${seconds}: ${each.join('; ')}`;
  }

  summaryLines(): readonly string[] {
    const row = (cells: readonly string[]): string =>
      cells.map((cell, i) => (i === 0 ? cell.padEnd(6) : cell.padStart(9))).join(' ');
    return [
      row(['', 'TTFT p50', 'TTFT p99', 'requests', 'completed', 'refused', 'failed', 'cut off']),
      ...[...this.#tallies].map(([name, tally]) => {
        const { ttft, sent, completed, refused, failed, open } = tally;
        const counts = [sent, completed, refused, failed, open].map(String);
        return row([name, ms(ttft.at(0.5)), ms(ttft.at(0.99)), ...counts]);
      }),
      ...this.reasonLines(),
    ];
  }

  /** Why requests failed, the most frequent first. */
  reasonLines(): readonly string[] {
    return [...this.#reasons]
      .sort(([, a], [, b]) => b - a)
      .slice(0, MOST_REASONS)
      .map(([reason, count]) => `${count} failed: ${reason}`);
  }

  #answered(): number {
    return this.#sum(({ completed, refused, ttft }) => completed + refused + ttft.count());
  }

  #sum(of: (tally: Tally) => number): number {
    return [...this.#tallies.values()].reduce((sum, tally) => sum + of(tally), 0);
  }
}

/** What a target answered when a tenant's key asked for the models. */
export interface KeyAnswer {
  readonly tenant: string;
  readonly status: number;
  readonly models: readonly string[];
}

/** The model that both may use, or what is wrong. @param url of the target. */
export function modelOfBoth(
  url: string,
  answers: readonly KeyAnswer[],
  asked: string | undefined,
): { readonly kind: 'ok'; readonly model: string } | { readonly kind: 'bad'; readonly problem: string } {
  for (const { tenant, status } of answers) {
    if (status === 200) continue;
    const problem =
      status === 401 || status === 403
        ? `does not take the key of ${tenant} (status ${status}); give one of its tenants’ with --${tenant}-key env:NAME`
        : status === 404
          ? 'is no Fairlane: it has no /v1/models; --url says where one is'
          : `answers with ${status}: is its service running? (fairlane doctor says more)`;
    return { kind: 'bad', problem: `${url} ${problem}` };
  }
  if (asked !== undefined) return { kind: 'ok', model: asked };
  const [first, ...others] = answers;
  const model = first?.models.find((one) => others.every(({ models }) => models.includes(one)));
  if (model !== undefined) return { kind: 'ok', model };
  return { kind: 'bad', problem: `${url} lists no model that both tenants may use; name one with --model` };
}
