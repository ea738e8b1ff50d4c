/** A benchmark's scenario as users write it in YAML: parsed strictly, or everything that is wrong with it. */
import { dirname, isAbsolute, join } from 'node:path';
import type * as z from 'zod';
import { createReport, didYouMean, quote, type Report } from '../config/report.ts';
import { readFailure } from '../config/secrets.ts';
import { readYaml } from '../config/yaml-source.ts';
import { messageOf } from '../domain/text-of.ts';
import { type EngineProfile, parseProfile } from '../simulator/profile.ts';
import type { Arrivals, Length, TenantLoad } from './load.ts';
import type { GoodputLimits } from './outcome.ts';
import {
  knownKeys,
  MOST_ARRIVALS,
  MOST_TENANTS,
  type Path,
  schema,
  type Written,
  type WrittenLength,
  type WrittenTenant,
} from './scenario-schema.ts';

export interface Scenario {
  readonly name: string;
  readonly description?: string;
  /** Of the arrivals. */
  readonly durationMs: number;
  readonly seed: number;
  /** For goodput; absent: none is told. */
  readonly limits?: GoodputLimits;
  /** The lab's engine. */
  readonly engine: EngineProfile;
  /** Rate of the arm request-bucket as a part of the lab engine's capacity. */
  readonly bucket: number;
  /** The same in requests a second, for real targets. */
  readonly bucketPerSecond?: number;
  /** One way between two parts of the lab. */
  readonly hopMs: number;
  /** Real engines are told to make exactly as many tokens as drawn. */
  readonly ignoreEos: boolean;
  /** Asked of a real target; absent: the first that it lists. */
  readonly model?: string;
  readonly tenants: readonly TenantLoad[];
  /** Names of the environment variables with the tenants' keys, for those who have one. */
  readonly keyVariables: ReadonlyMap<string, string>;
}

export interface ScenarioInput {
  readonly text: string;
  /** As it is shown in problems; trace files are relative to its folder. */
  readonly file: string;
  /** Reads a trace file; throws what node:fs throws. */
  readonly readFile: (path: string) => string;
}

export type ParsedScenario =
  | { readonly kind: 'ok'; readonly scenario: Scenario }
  | { readonly kind: 'bad'; readonly problems: readonly string[] };

export const MAX_SCENARIO_BYTES = 1024 ** 2;
/** A million arrivals a file. */
export const MAX_TRACE_BYTES = 16 * 1024 ** 2;
const isMapping = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** `prompt: 200` as `prompt: {tokens: 200}`: one form for the schema, whose messages then stay exact. */
function withLengths(root: Readonly<Record<string, unknown>>): unknown {
  const { tenants } = root;
  if (!isMapping(tenants)) return root;
  const inLength = (value: unknown): unknown => (typeof value === 'number' ? { tokens: value } : value);
  return {
    ...root,
    tenants: Object.fromEntries(
      Object.entries(tenants).map(([key, value]) => {
        if (!isMapping(value)) return [key, value];
        const lengths = ['prompt', 'output'].filter((field) => Object.hasOwn(value, field));
        return [
          key,
          { ...value, ...Object.fromEntries(lengths.map((field) => [field, inLength(value[field])])) },
        ];
      }),
    ),
  };
}

function reportIssues(issues: readonly z.core.$ZodIssue[], report: Report): void {
  for (const issue of issues) {
    const path = issue.path.map((step) => (typeof step === 'number' ? step : String(step)));
    if (issue.code === 'unrecognized_keys') {
      const known = knownKeys(path);
      for (const key of issue.keys) {
        const near = didYouMean(key, known) || `; known here: ${known.join(', ')}`;
        report.problem([...path, key], `unknown setting${near}`, 'key');
      }
    } else if (issue.code === 'invalid_key') {
      report.problem(path, `the name ${issue.issues[0]?.message ?? 'is not valid'}`, 'key');
    } else {
      // `tokens` is how a lone number is read, not how it is written.
      report.problem(path.length === 4 && path[3] === 'tokens' ? path.slice(0, 3) : path, issue.message);
    }
  }
}

function lengthOf(written: WrittenLength, path: Path, report: Report): Length | undefined {
  const { tokens, from, to, median, sigma, max } = written;
  const forms = [tokens, from ?? to, median ?? sigma ?? max].filter((form) => form !== undefined);
  const wrong = (message: string): undefined => {
    report.problem(path, message);
  };
  if (forms.length !== 1)
    return wrong('must be one of: a number of tokens, {from, to}, {median, sigma, max}');
  if (tokens !== undefined) return { kind: 'fixed', tokens };
  if (from !== undefined || to !== undefined) {
    if (from === undefined || to === undefined) return wrong('needs both from and to');
    return from <= to ? { kind: 'uniform', from, to } : wrong('has from above to; exchange them');
  }
  if (median === undefined || sigma === undefined || max === undefined) {
    return wrong('needs all of median, sigma and max');
  }
  return median <= max
    ? { kind: 'lognormal', median, sigma, max }
    : wrong('has a median above max; raise max');
}

/** Milliseconds apart by white space or commas; a JSON list is one, too. */
function traceOf(content: string): readonly number[] | undefined {
  const words = content
    .trim()
    .replace(/^\[|\]$/g, '')
    .split(/[\s,]+/)
    .filter((word) => word !== '');
  const times = words.map(Number);
  const good = times.length > 0 && times.length <= MOST_ARRIVALS;
  return good && times.every((ms) => ms >= 0 && ms <= 86_400_000) ? times : undefined;
}

function arrivalsOf(
  written: WrittenTenant['arrivals'],
  path: Path,
  { report, readFile }: { report: Report; readFile: (path: string) => string },
): Arrivals | undefined {
  const { perSecond, timesCapacity, trace, traceFile } = written;
  const given = Object.values(written).filter((value) => value !== undefined);
  if (given.length !== 1) {
    report.problem(path, 'must have exactly one of perSecond, timesCapacity, trace, traceFile');
    return undefined;
  }
  if (perSecond !== undefined) return { kind: 'poisson', perSecond };
  if (timesCapacity !== undefined) return { kind: 'capacity', times: timesCapacity };
  if (trace !== undefined) return { kind: 'trace', atMs: trace };
  const here = [...path, 'traceFile'];
  try {
    const atMs = traceOf(readFile(traceFile ?? ''));
    if (atMs !== undefined) return { kind: 'trace', atMs };
    report.problem(here, 'has something else in it than milliseconds from the start (0 to 86400000)');
  } catch (error) {
    report.problem(here, `cannot be read (${readFailure(error)}); create it or correct the path`);
  }
  return undefined;
}

function engineOf({ profile, set }: Written['engine'], report: Report): EngineProfile | undefined {
  let base: EngineProfile;
  try {
    base = parseProfile(profile, {});
  } catch (error) {
    report.problem(['engine', 'profile'], messageOf(error));
    return undefined;
  }
  const known = Object.keys(base).filter((key) => key !== 'name');
  let unknown = false;
  for (const key of Object.keys(set)) {
    if (known.includes(key)) continue;
    unknown = true;
    const near = didYouMean(key, known) || `; known here: ${known.join(', ')}`;
    report.problem(['engine', 'set', key], `unknown setting${near}`, 'key');
  }
  if (unknown) return undefined;
  try {
    return parseProfile(profile, set);
  } catch (error) {
    report.problem(['engine', 'set'], messageOf(error));
    return undefined;
  }
}

interface Tenants {
  readonly tenants: readonly TenantLoad[];
  readonly keyVariables: ReadonlyMap<string, string>;
}

interface Reading {
  readonly report: Report;
  readonly file: string;
  readonly readFile: ScenarioInput['readFile'];
}

/**
 * The tenants; with `count: N` a mapping makes N of them, named NAME-1 to NAME-N. Problems go to the report.
 */
function tenantsOf(written: Written['tenants'], { report, file, readFile }: Reading): Tenants {
  const located = (path: string): string => (isAbsolute(path) ? path : join(dirname(file), path));
  const tenants: TenantLoad[] = [];
  const keyVariables = new Map<string, string>();
  const taken = new Set<string>();
  for (const [base, load] of Object.entries(written)) {
    const path = ['tenants', base];
    const alike = loadOf(load, path, { report, readFile: (trace) => readFile(located(trace)) });
    const numbers =
      load.count === undefined ? [undefined] : Array.from({ length: load.count }, (_, i) => i + 1);
    if (tenants.length + numbers.length > MOST_TENANTS) {
      report.problem([...path, 'count'], `makes more than ${MOST_TENANTS} tenants in all; lower it`);
      continue;
    }
    for (const at of numbers) {
      const full = at === undefined ? base : `${base}-${at}`;
      if (taken.has(full)) {
        report.problem(path, `makes a tenant ${quote(full)}, which there is already; rename one`, 'key');
        continue;
      }
      taken.add(full);
      if (load.key !== undefined) {
        keyVariables.set(full, load.key.slice('env:'.length).replace('{n}', String(at ?? '')));
      }
      if (alike !== undefined) tenants.push({ ...alike, name: full });
    }
  }
  return { tenants, keyVariables };
}

/** What all tenants of a mapping have in common; undefined when something of it is wrong. */
function loadOf(
  load: WrittenTenant,
  path: Path,
  reading: { readonly report: Report; readonly readFile: (path: string) => string },
): Omit<TenantLoad, 'name'> | undefined {
  const arrivals = arrivalsOf(load.arrivals, [...path, 'arrivals'], reading);
  const prompt = lengthOf(load.prompt, [...path, 'prompt'], reading.report);
  const output = lengthOf(load.output, [...path, 'output'], reading.report);
  if (arrivals === undefined || prompt === undefined || output === undefined) return undefined;
  return {
    weight: load.weight,
    quiet: load.quiet,
    arrivals,
    prompt,
    output,
    sharedPrefix: load.sharedPrefix,
    saysLength: load.saysLength,
    ...(load.lane !== undefined && { lane: load.lane }),
  };
}

/** @returns every problem at once, each with its line. Throws nothing. */
export function parseScenario({ text: source, file, readFile }: ScenarioInput): ParsedScenario {
  const refuse = (problem: string): ParsedScenario => ({ kind: 'bad', problems: [`${file}: ${problem}`] });
  if (source.length > MAX_SCENARIO_BYTES) return refuse('is larger than 1 MiB; put traces into files');
  const yaml = readYaml(source);
  const report = createReport({
    file,
    hide: (shown) => shown,
    position: yaml.source?.position ?? (() => ({ line: 1, column: 1 })),
  });
  const bad = (): ParsedScenario => ({ kind: 'bad', problems: report.problems() });
  for (const { position, path, message } of yaml.faults) report.problem(path, message, position);
  if (yaml.source === undefined) return bad();
  const { value } = yaml.source;
  if (!isMapping(value)) return refuse('is not a mapping of settings; it begins with a line such as "name:"');
  const parsed = schema.safeParse(withLengths(value));
  if (!parsed.success) reportIssues(parsed.error.issues, report);
  if (!parsed.success || report.problems().length > 0) return bad();
  const written = parsed.data;

  const { tenants, keyVariables } = tenantsOf(written.tenants, { report, file, readFile });
  const profile = engineOf(written.engine, report);
  if (profile === undefined || report.problems().length > 0) return bad();
  const { ttft, itl } = written.limits ?? {};
  return {
    kind: 'ok',
    scenario: {
      name: written.name,
      ...(written.description !== undefined && { description: written.description }),
      durationMs: written.duration,
      seed: written.seed,
      ...((ttft !== undefined || itl !== undefined) && {
        limits: {
          from: 'arrival',
          ...(ttft !== undefined && { ttftMs: ttft }),
          ...(itl !== undefined && { itlMs: itl }),
        },
      }),
      engine: profile,
      bucket: written.bucket,
      ...(written.bucketPerSecond !== undefined && { bucketPerSecond: written.bucketPerSecond }),
      hopMs: written.hop,
      ignoreEos: written.ignoreEos,
      ...(written.model !== undefined && { model: written.model }),
      tenants,
      keyVariables,
    },
  };
}
