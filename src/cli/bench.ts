import { accessSync, constants, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import type { EndpointConfig } from '../config/config.ts';
import { didYouMean, quote } from '../config/report.ts';
import { lookUpSecret, readFailure } from '../config/secrets.ts';
import { endpoint } from '../config/values.ts';
import { widthFor } from '../domain/text-table.ts';
import { ARMS, type ArmName, type ArmsAsked, httpArms, labArms, type TargetName } from '../loadtest/arms.ts';
import { type Comparison, compare } from '../loadtest/compare.ts';
import { comparisonJson } from '../loadtest/comparison-json.ts';
import { loadScenario } from '../loadtest/fs-scenario.ts';
import type { Progress } from '../loadtest/http-arm.ts';
import { runHttpArms } from '../loadtest/http-load.ts';
import { runLabArm } from '../loadtest/lab-arm.ts';
import type { Measured } from '../loadtest/measured.ts';
import { htmlReport } from '../loadtest/report-html.ts';
import { shown, textReport } from '../loadtest/report-text.ts';
import type { Scenario } from '../loadtest/scenario.ts';
import { LONGEST_RUN, runDurationMs, SHORTEST_RUN } from '../loadtest/scenario-schema.ts';
import { httpSchedule, labSchedule } from '../loadtest/schedule.ts';
import { interruption } from './interruption.ts';
import { hasColour, printError } from './terminal.ts';
import { problemsError, UserError } from './user-error.ts';

type Targets = ReadonlyMap<TargetName, EndpointConfig>;

interface Options {
  readonly compare?: boolean;
  readonly arms?: readonly ArmName[];
  readonly target?: Targets;
  readonly json?: string;
  readonly html?: string;
  readonly seed?: number;
  readonly duration?: number;
}

const armsArgument = (text: string): readonly ArmName[] =>
  text.split(',').map((word) => {
    const arm = ARMS.find((known) => known === word.trim());
    if (arm !== undefined) return arm;
    throw new InvalidArgumentError(
      `${quote(word.trim())} is no arm${didYouMean(word.trim(), ARMS) || `; there are ${ARMS.join(', ')}`}`,
    );
  });

function targetArgument(text: string, before: Targets = new Map()): Targets {
  const [, written, url] = /^(?:([A-Za-z-]+)=)?(.*)$/s.exec(text) ?? [];
  const name = written ?? 'target';
  if (name !== 'direct' && name !== 'fairlane' && (name !== 'target' || written !== undefined)) {
    throw new InvalidArgumentError('write it as direct=URL, fairlane=URL, or a URL alone');
  }
  if (before.has(name)) throw new InvalidArgumentError('the target is given twice');
  const parsed = endpoint(url ?? '');
  if (parsed.kind === 'bad') throw new InvalidArgumentError(`the URL ${parsed.problem}`);
  if (parsed.endpoint.isSecure || parsed.endpoint.prefix !== undefined) {
    throw new InvalidArgumentError('a target is http://host:port, without TLS and path');
  }
  return new Map([...before, [name, parsed.endpoint]]);
}

function seedArgument(text: string): number {
  const seed = Number(text);
  if (/^\d{1,10}$/.test(text) && seed <= 4_294_967_295) return seed;
  throw new InvalidArgumentError('a seed is a whole number from 0 to 4294967295');
}

function durationArgument(text: string): number {
  const ms = runDurationMs(text);
  if (ms !== undefined) return ms;
  throw new InvalidArgumentError(
    `a duration has a unit (ms, s, m, h) and is from ${SHORTEST_RUN} to ${LONGEST_RUN}, for example 60s`,
  );
}

/** Before a run that may take minutes. */
function checkWritable(option: string, path: string | undefined): void {
  if (path === undefined) return;
  const fail = (why: string): never => {
    throw new UserError(`${option}: cannot write ${path} (${why})`);
  };
  try {
    if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === true) fail('it is a directory');
    accessSync(dirname(path), constants.W_OK);
  } catch (error) {
    if (error instanceof UserError) throw error;
    fail(readFailure(error));
  }
}

/** The value, or the mistake told to the user. */
function orThrow<T extends { readonly kind: 'ok' }>(
  result: T | { readonly kind: 'bad'; readonly problem: string },
): T {
  if (result.kind === 'bad') throw new UserError(result.problem);
  return result;
}

function keysOf({ keyVariables }: Scenario, env: NodeJS.ProcessEnv): ReadonlyMap<string, string> {
  const sources = { env, readFile: () => '', locate: (path: string) => path };
  return new Map(
    [...keyVariables].map(([tenant, variable]) => {
      const looked = lookUpSecret(`env:${variable}`, sources);
      if (looked.kind !== 'ok') throw new UserError(`the key of tenant ${tenant}: ${looked.problem}`);
      return [tenant, looked.value];
    }),
  );
}

const isTerminal = process.stderr.isTTY;
const dim = (text: string): string => (hasColour(process.stderr) ? `\u001b[2m${text}\u001b[0m` : text);
const say = (text: string): void => printError(`fairlane: ${text}`);

function sayArm({ outcome, saturated }: Measured): void {
  const of = (what: string): number => outcome.requests.filter((request) => request.outcome === what).length;
  say(
    `${outcome.arm}: ${outcome.requests.length} requests, ${of('completed')} completed, ${of('refused')} refused, ${of('failed')} failed; engine saturated: ${saturated}`,
  );
}

function sayProgress(
  scenario: Scenario,
  { arm, atMs, sent, inFlight, completed, refused, failed }: Progress,
): void {
  const draining = atMs > scenario.durationMs ? ', waiting for the last answers' : '';
  say(
    dim(
      `${arm} ${shown(atMs / 1_000)} of ${shown(scenario.durationMs / 1_000)} s${draining}: ${sent} sent, ${inFlight} in flight, ${completed} completed, ${refused} refused, ${failed} failed`,
    ),
  );
}

async function inLab(scenario: Scenario, asked: ArmsAsked, signal: AbortSignal): Promise<Comparison> {
  const { arms, skipped } = orThrow(labArms(scenario, asked));
  const schedule = orThrow(labSchedule(scenario));
  const measured: Measured[] = [];
  for (const arm of arms) {
    if (isTerminal) say(dim(`${arm}: ${schedule.requests.length} requests`));
    const one = runLabArm(arm, scenario, schedule);
    measured.push(one);
    sayArm(one);
    // Signals are seen between two arms.
    await new Promise((resolve) => setTimeout(resolve, 1));
    if (signal.aborted) break;
  }
  const { bucketPerSecond } = schedule;
  const left = arms.slice(measured.length);
  return compare({
    scenario,
    mode: 'virtual',
    measured,
    targets: new Map(),
    interrupted: left.length > 0,
    remarks: [
      ...(left.length > 0 ? [`Ended early: the arms ${left.join(', ')} did not run.`] : []),
      ...skipped,
    ],
    ...(bucketPerSecond !== undefined && { bucketPerSecond }),
  });
}

async function overHttp(
  scenario: Scenario,
  asked: ArmsAsked,
  endpoints: Targets,
  signal: AbortSignal,
): Promise<Comparison> {
  const { arms, skipped } = orThrow(httpArms(scenario, asked, new Set(endpoints.keys())));
  const schedule = orThrow(httpSchedule(scenario));
  const keys = keysOf(scenario, process.env);
  const measured = await runHttpArms({
    scenario,
    schedule,
    arms,
    endpoints,
    keys,
    run: String(Date.now()),
    signal,
    onArm: sayArm,
    ...(isTerminal && { onProgress: (progress: Progress) => sayProgress(scenario, progress) }),
  });
  if (measured.length === 0) throw new UserError('ended before the first arm');
  const left = arms.slice(measured.length);
  const cut = measured.filter(({ interrupted }) => interrupted).map(({ outcome }) => outcome.arm);
  const { bucketPerSecond } = schedule;
  return compare({
    scenario,
    mode: 'http',
    measured,
    targets: new Map([...endpoints].map(([name, { url }]) => [name, url])),
    interrupted: cut.length > 0 || left.length > 0,
    remarks: [
      ...(cut.length > 0
        ? [`Ended early, in the arm ${cut.join(', ')}: its figures are of a shorter time.`]
        : []),
      ...(left.length > 0 ? [`The arms ${left.join(', ')} did not run.`] : []),
      ...skipped,
    ],
    ...(bucketPerSecond !== undefined && { bucketPerSecond }),
  });
}

const MORE_HELP = `
Arms, one after the other with the same arrivals:
  solo            the quiet tenants alone
  direct          everybody sends to the engine
  request-bucket  the same with one bucket of requests for all who are not quiet
  fairlane        everybody sends through Fairlane
  floor           a perfect scheduler in the engine (lab only)

Without --target they run on a simulated engine and a virtual clock: minutes of traffic take seconds, and the same seed
gives the same figures. With --target they are real requests to OpenAI-compatible servers, streamed, at the planned times
whatever became of the earlier ones. Without --compare and --arms only the arm fairlane runs, or each target as it is.

A comparison says something only if the arm direct saturates its engine; the report says whether it did.
Ctrl-C ends early and reports what there is (in the lab: after the arm that is running).

  fairlane bench scenarios/noisy-neighbour.yaml --compare --html report.html
  fairlane bench scenarios/http.yaml --compare --target direct=http://127.0.0.1:8000 --target fairlane=http://127.0.0.1:8080
`;

/** `fairlane bench`: what a scenario's tenants get with and without Fairlane. */
export function benchCommand(): Command {
  return new Command('bench')
    .description('Run a scenario’s load in the lab or against real servers, and compare.')
    .argument('<scenario>', 'scenario (YAML)')
    .option('--compare', 'run every arm that can run, and give the ratios')
    .option('--arms <names>', `run these arms, separated by commas: ${ARMS.join(', ')}`, armsArgument)
    .option(
      '--target <name=url>',
      'send to a real server: direct=URL, fairlane=URL, or a URL alone; may be repeated',
      targetArgument,
    )
    .option('--json <file>', 'write all figures as JSON')
    .option('--html <file>', 'write a report as one HTML page')
    .option('--seed <number>', 'other arrivals and lengths than the scenario’s seed gives', seedArgument)
    .option('--duration <time>', 'another duration than the scenario’s, for example 60s', durationArgument)
    .addHelpText('after', MORE_HELP)
    .action(async (path: string, options: Options) => {
      checkWritable('--json', options.json);
      checkWritable('--html', options.html);
      const loaded = loadScenario(path);
      if (loaded.kind === 'bad') throw problemsError('the scenario', loaded.problems);
      const { seed, duration, target, arms } = options;
      const scenario: Scenario = {
        ...loaded.scenario,
        ...(seed !== undefined && { seed }),
        ...(duration !== undefined && { durationMs: duration }),
      };
      const asked: ArmsAsked = { compare: options.compare === true, ...(arms !== undefined && { arms }) };
      const { signal, release } = interruption();
      let comparison: Comparison;
      try {
        comparison =
          target === undefined
            ? await inLab(scenario, asked, signal)
            : await overHttp(scenario, asked, target, signal);
      } finally {
        release();
      }
      const colour = hasColour(process.stdout);
      process.stdout.write(textReport(comparison, { colour, width: widthFor(process.stdout.columns) }));
      if (options.json !== undefined) {
        writeFileSync(options.json, `${JSON.stringify(comparisonJson(comparison), null, 2)}\n`);
      }
      if (options.html !== undefined) writeFileSync(options.html, htmlReport(comparison));
    });
}
