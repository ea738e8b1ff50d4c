/** Which lane a request belongs to. */
import type { LaneCondition, LaneConfig } from '../config/config.ts';
import type { EngineRoute } from '../domain/routes.ts';

export interface LaneSubject {
  readonly tenant: string;
  readonly tier: string | undefined;
  readonly model: string;
  readonly route: EngineRoute;
  readonly promptTokens: number;
  /** The request's own cap, of one output; undefined: it has none. */
  readonly maxOutputTokens: number | undefined;
  /** Value of a request header, by lower-case name; empty when absent. */
  readonly header: (name: string) => string;
}

function isTrue(condition: LaneCondition, subject: LaneSubject): boolean {
  const { tenants, tiers, models, routes, header } = condition;
  const { minPromptTokens = 0, maxPromptTokens = Number.POSITIVE_INFINITY } = condition;
  const { minOutputTokens = 0, maxOutputTokens = Number.POSITIVE_INFINITY } = condition;
  const output = subject.maxOutputTokens ?? Number.POSITIVE_INFINITY;
  return (
    (tenants === undefined || tenants.includes(subject.tenant)) &&
    (tiers === undefined || (subject.tier !== undefined && tiers.includes(subject.tier))) &&
    (models === undefined || models.includes(subject.model)) &&
    (routes === undefined || routes.includes(subject.route)) &&
    (header === undefined || subject.header(header.name) === header.value) &&
    subject.promptTokens >= minPromptTokens &&
    subject.promptTokens <= maxPromptTokens &&
    output >= minOutputTokens &&
    output <= maxOutputTokens
  );
}

/** The first lane that takes the request; what none takes goes into the first. `lanes` has at least one. */
export function laneFor(lanes: ReadonlyMap<string, LaneConfig>, subject: LaneSubject): LaneConfig {
  let first: LaneConfig | undefined;
  for (const lane of lanes.values()) {
    first ??= lane;
    if (lane.when === undefined || lane.when.some((condition) => isTrue(condition, subject))) return lane;
  }
  if (first === undefined) throw new Error('there is no lane');
  return first;
}
