/** Which arms a comparison has, in the lab and over HTTP. */
import type { Scenario } from './scenario.ts';

export const ARMS = ['solo', 'direct', 'request-bucket', 'fairlane', 'floor'] as const;
export type ArmName = (typeof ARMS)[number];
/** A target without a name is an arm of its own. */
export type HttpArmName = Exclude<ArmName, 'floor'> | 'target';
export type TargetName = 'direct' | 'fairlane' | 'target';

/** A value, or what the user has to change. */
export type OrProblem<T> = ({ readonly kind: 'ok' } & T) | { readonly kind: 'bad'; readonly problem: string };
export const bad = (problem: string) => ({ kind: 'bad', problem }) as const;

export interface ArmsAsked {
  readonly compare: boolean;
  /** Named ones; they go before `compare`. */
  readonly arms?: readonly ArmName[];
}

export interface Arms<Name> {
  /** In the order in which they run. */
  readonly arms: readonly Name[];
  /** What is left out of a comparison, and why. */
  readonly skipped: readonly string[];
}

/** Why an arm cannot run, or undefined. */
type Obstacle<Name> = (arm: Name) => string | undefined;

function chosen<Name extends string>(
  asked: ArmsAsked,
  obstacle: Obstacle<Name | ArmName>,
  all: readonly Name[],
  alone: readonly NoInfer<Name>[],
): OrProblem<Arms<Name>> {
  const named = asked.arms;
  if (named !== undefined) {
    const wrong = named.find((arm) => obstacle(arm) !== undefined);
    if (wrong !== undefined) return bad(`the arm ${wrong} cannot run: ${obstacle(wrong) ?? ''}`);
    return { kind: 'ok', arms: all.filter((arm) => (named as readonly string[]).includes(arm)), skipped: [] };
  }
  const wanted = asked.compare ? all : alone;
  const skipped = wanted.flatMap((arm) => {
    const why = obstacle(arm);
    return why === undefined ? [] : [`The arm ${arm} was left out: ${why}.`];
  });
  const arms = wanted.filter((arm) => obstacle(arm) === undefined);
  return arms.length === 0 ? bad(`no arm can run. ${skipped.join(' ')}`) : { kind: 'ok', arms, skipped };
}

const noQuietTenant = ({ tenants }: Scenario): string | undefined =>
  tenants.some(({ quiet }) => quiet) ? undefined : 'no tenant of the scenario is quiet';

export function labArms(scenario: Scenario, asked: ArmsAsked): OrProblem<Arms<ArmName>> {
  const obstacle: Obstacle<ArmName> = (arm) => (arm === 'solo' ? noQuietTenant(scenario) : undefined);
  return chosen(asked, obstacle, ARMS, ['fairlane']);
}

/** Which target an arm sends to. */
export const targetOf = (arm: HttpArmName): TargetName =>
  arm === 'fairlane' || arm === 'target' ? arm : 'direct';

export function httpArms(
  scenario: Scenario,
  asked: ArmsAsked,
  targets: ReadonlySet<TargetName>,
): OrProblem<Arms<HttpArmName>> {
  if (asked.compare && targets.has('target')) {
    return bad('a comparison needs targets with names: --target direct=URL --target fairlane=URL');
  }
  const obstacle: Obstacle<HttpArmName | ArmName> = (arm) => {
    if (arm === 'floor') return 'there is none of a real engine';
    const target = targetOf(arm);
    if (!targets.has(target)) return `it needs --target ${target}=URL`;
    if (arm === 'solo') return noQuietTenant(scenario);
    if (arm !== 'request-bucket' || scenario.bucketPerSecond !== undefined) return undefined;
    return 'it needs bucketPerSecond in the scenario, because the capacity of a real target is not known';
  };
  const all: readonly HttpArmName[] = ['solo', 'direct', 'request-bucket', 'fairlane'];
  return chosen<HttpArmName>(asked, obstacle, all, [...targets].sort());
}
