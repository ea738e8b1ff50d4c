/** What is asked of the engine in every arm of a comparison: the same requests at the same times. */
import type { EngineProfile } from '../simulator/profile.ts';
import { bad, type OrProblem } from './arms.ts';
import { capacityPerSecond } from './engine-capacity.ts';
import { allRequests, createRandom, drawLength, type Request, type TenantLoad } from './load.ts';
import type { Scenario } from './scenario.ts';

const SAMPLES = 1_000;
/** A sample of the capacity covers the batch so many times. */
const BATCHES = 16;
const MOST_SAMPLED_TOKENS = 5_000_000;
const MOST_REQUESTS = 1_000_000;

type Lengths = Pick<Request, 'promptTokens' | 'outputTokens'>;

/** Of endless requests like these, as many as it takes to know what the engine can do with them. */
function sampleOf(draw: (i: number) => Lengths, { maxSequences }: EngineProfile): readonly Lengths[] {
  const sample: Lengths[] = [];
  let tokens = 0;
  for (let i = 0; i < Math.max(SAMPLES, BATCHES * maxSequences) && tokens < MOST_SAMPLED_TOKENS; i += 1) {
    const { promptTokens, outputTokens } = draw(i);
    sample.push({ promptTokens, outputTokens });
    tokens += promptTokens + outputTokens;
  }
  return sample;
}

export interface Schedule {
  /** In the order of arrival; the same in every arm. */
  readonly requests: readonly Request[];
  /** Rate of the arm request-bucket, where it is known. */
  readonly bucketPerSecond?: number;
}

function requestsIn(
  scenario: Scenario,
  capacityOf: (tenant: TenantLoad) => number,
): OrProblem<{ readonly requests: readonly Request[] }> {
  const { durationMs, seed, tenants } = scenario;
  const loads = tenants.map((tenant) => {
    const { arrivals } = tenant;
    if (arrivals.kind === 'trace') return { tenant, expected: arrivals.atMs.length };
    const perSecond = arrivals.kind === 'poisson' ? arrivals.perSecond : arrivals.times * capacityOf(tenant);
    return {
      tenant: { ...tenant, arrivals: { kind: 'poisson' as const, perSecond } },
      expected: (perSecond * durationMs) / 1_000,
    };
  });
  const expected = loads.reduce((sum, load) => sum + load.expected, 0);
  if (!(expected <= MOST_REQUESTS)) {
    return bad(`the scenario makes more than ${MOST_REQUESTS} requests; lower its rates or its duration`);
  }
  const requests = allRequests(
    loads.map(({ tenant }) => tenant),
    { seed, durationMs, capacityPerSecond: 0 },
  );
  if (requests.length === 0) return bad('no request arrives in this time; raise the duration or the rates');
  return { kind: 'ok', requests };
}

/** For the lab, whose engine's capacity is found by trying. */
export function labSchedule(scenario: Scenario): OrProblem<Schedule> {
  const { engine, seed, tenants } = scenario;
  const fits = Math.min(engine.maxModelLen, (engine.kvBlocks - 1) * engine.blockTokens);
  const longest = ({ prompt, output }: TenantLoad): number =>
    [prompt, output].reduce(
      (sum, length) =>
        sum + (length.kind === 'fixed' ? length.tokens : length.kind === 'uniform' ? length.to : length.max),
      0,
    );
  const tooLong = tenants.find((tenant) => longest(tenant) > fits);
  if (tooLong !== undefined) {
    return bad(
      `tenant ${tooLong.name} can ask for ${longest(tooLong)} tokens, prompt and output, and the engine holds ${fits}; lower its lengths or set another profile`,
    );
  }
  // Tenants that are alike by their loads share an answer.
  const known = new Map<string, number>();
  const capacityOf = ({ prompt, output }: TenantLoad): number => {
    const kind = JSON.stringify([prompt, output]);
    const before = known.get(kind);
    if (before !== undefined) return before;
    const random = createRandom(seed);
    const draw = (): Lengths => ({
      promptTokens: drawLength(prompt, random),
      outputTokens: drawLength(output, random),
    });
    const capacity = capacityPerSecond(engine, sampleOf(draw, engine));
    known.set(kind, capacity);
    return capacity;
  };
  const made = requestsIn(scenario, capacityOf);
  if (made.kind === 'bad') return made;
  const quiet = new Set(tenants.filter((tenant) => tenant.quiet).map(({ name }) => name));
  const others = made.requests.filter(({ tenant }) => !quiet.has(tenant));
  const [first] = others;
  if (first === undefined) return made;
  const sample = sampleOf((i) => others[i % others.length] ?? first, engine);
  return { ...made, bucketPerSecond: scenario.bucket * capacityPerSecond(engine, sample) };
}

/** For real targets. */
export function httpSchedule(scenario: Scenario): OrProblem<Schedule> {
  const unknown = scenario.tenants.find(({ arrivals }) => arrivals.kind === 'capacity');
  if (unknown !== undefined) {
    return bad(
      `tenant ${unknown.name}: timesCapacity is for the lab, because the capacity of a real target is not known; give arrivals: { perSecond: … }`,
    );
  }
  const made = requestsIn(scenario, () => 0);
  if (made.kind === 'bad') return made;
  const { bucketPerSecond } = scenario;
  return { ...made, ...(bucketPerSecond !== undefined && { bucketPerSecond }) };
}
