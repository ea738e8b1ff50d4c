/** `fairlane load`: a quiet tenant and a noisy one send to a Fairlane that runs, for whoever watches it. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { DEMO_KEYS } from '../config/checks/demo-keys.ts';
import type { EndpointConfig } from '../config/config.ts';
import { lookUpSecret } from '../config/secrets.ts';
import { endpoint } from '../config/values.ts';
import { HttpArm } from '../loadtest/http-arm.ts';
import { listedModels } from '../loadtest/http-target.ts';
import { DEFAULT_LOAD_URL } from '../loadtest/load-command-line.ts';
import { labSchedule } from '../loadtest/schedule.ts';
import { modelOfBoth, NOISY, QUIET, TwoTenantsCounts, twoTenants } from '../loadtest/two-tenants.ts';
import { textArgument, wholeNumber } from './arguments.ts';
import { interruption } from './interruption.ts';
import { hasColour, print, printError } from './terminal.ts';
import { UserError } from './user-error.ts';

const MOST_SECONDS = 3_600;
const DEFAULT_SECONDS = 60;
const MOST_PER_SECOND = 1_000;

interface Options {
  readonly url: EndpointConfig;
  readonly seconds: number;
  readonly quietKey?: string;
  readonly noisyKey?: string;
  readonly noisyPerSecond?: number;
  readonly model?: string;
}

/** The banner's address ends in /v1. */
function urlArgument(text: string): EndpointConfig {
  const parsed = endpoint(text.replace(/\/(v1\/?)?$/, ''));
  if (parsed.kind === 'bad') throw new InvalidArgumentError(`the URL ${parsed.problem}`);
  if (parsed.endpoint.isSecure || parsed.endpoint.prefix !== undefined) {
    throw new InvalidArgumentError('write it as http://host:port, without TLS and path');
  }
  return parsed.endpoint;
}

/** A key itself would stand in the list of processes, so it is not taken, and not repeated by the parser's error. */
function keyArgument(text: string): string {
  if (!/^(env|file):/.test(text)) throw new UserError('a tenant’s key: write it as env:NAME or file:PATH');
  const sources = {
    env: process.env,
    readFile: (path: string) => readFileSync(path, 'utf8'),
    locate: (path: string) => resolve(path),
  };
  const looked = lookUpSecret(text, sources);
  if (looked.kind !== 'ok') throw new UserError(`a tenant’s key: ${looked.problem}`);
  return looked.value;
}

const dim = (text: string): string => (hasColour(process.stderr) ? `\u001b[2m${text}\u001b[0m` : text);
const say = (text: string): void => printError(`fairlane: ${text}`);

/** @throws UserError that says why nothing can be sent. */
async function modelFor(
  { url, model }: Options,
  keys: Readonly<Record<'quiet' | 'noisy', string>>,
): Promise<string> {
  const answers = [];
  for (const tenant of [QUIET, NOISY] as const) {
    answers.push({ tenant, ...(await listedModels(url, keys[tenant])) });
  }
  const chosen = modelOfBoth(url.url, answers, model);
  if (chosen.kind === 'bad') throw new UserError(chosen.problem);
  return chosen.model;
}

/** Sends until the time is over, until Ctrl-C, or until it is clear that nothing is answered. */
async function load(options: Options, signal: AbortSignal): Promise<void> {
  const { url, seconds, noisyPerSecond } = options;
  const keys = { quiet: options.quietKey ?? DEMO_KEYS.quiet, noisy: options.noisyKey ?? DEMO_KEYS.noisy };
  const model = await modelFor(options, keys);
  const scenario = twoTenants({
    durationMs: seconds * 1_000,
    seed: 1,
    ...(noisyPerSecond !== undefined && { noisyPerSecond }),
  });
  const schedule = labSchedule(scenario);
  if (schedule.kind === 'bad') throw new UserError(schedule.problem);
  const { requests } = schedule;
  const perSecond = requests.filter(({ tenant }) => tenant === NOISY).length / seconds;
  say(
    `${url.url}, model ${model}, ${seconds} s: quiet 1 request/s, noisy ${perSecond.toFixed(1)}; Ctrl-C ends it`,
  );

  const counts = new TwoTenantsCounts();
  const hopeless = new AbortController();
  await new HttpArm({
    arm: 'fairlane',
    endpoint: url,
    requests,
    tenants: scenario.tenants.map((tenant) => ({ ...tenant, key: keys[tenant.quiet ? QUIET : NOISY] })),
    durationMs: scenario.durationMs,
    ignoreEos: scenario.ignoreEos,
    model,
    run: String(Date.now()),
    signal: AbortSignal.any([signal, AbortSignal.timeout(scenario.durationMs), hopeless.signal]),
    observer: {
      sent: (tenant) => counts.sent(tenant),
      firstToken: (tenant, ttftMs) => counts.firstToken(tenant, ttftMs),
      settled(tenant, outcome, reason) {
        counts.settled(tenant, outcome, reason);
        if (counts.isHopeless()) hopeless.abort();
      },
    },
    ...(process.stderr.isTTY && {
      onProgress: ({ atMs }) => say(dim(counts.progressLine(atMs, scenario.durationMs))),
    }),
  }).run();
  if (counts.isFailed()) throw new UserError(`nothing was answered: ${counts.reasonLines().join('; ')}`);
  print(counts.summaryLines().join('\n'));
}

const MORE_HELP = `
TTFT counts from a request's planned time to its first token. Requests that are open at the end are cut off.
Without options it sends to the demo that \`fairlane start\` runs. The console shows it: http://127.0.0.1:9464/.

Examples:
  fairlane load
  fairlane load --seconds 20 --url http://127.0.0.1:8081
  fairlane load --quiet-key env:ALICE_KEY --noisy-key env:BOB_KEY --noisy-per-second 20
`;

/** `fairlane load`: quiet against noisy, before a Fairlane that runs. */
export function loadCommand(): Command {
  return new Command('load')
    .description(
      'Send load to a running Fairlane as two tenants: quiet one request a second, noisy more than the engine can do.',
    )
    .option('--url <address>', `where it sends (default: ${DEFAULT_LOAD_URL})`, urlArgument)
    .option(
      '--seconds <number>',
      'for how long it sends',
      wholeNumber('a time', 1, MOST_SECONDS, ', in seconds'),
      DEFAULT_SECONDS,
    )
    .option(
      '--quiet-key <reference>',
      'key of the quiet one: env:NAME or file:PATH (default: the demo’s)',
      keyArgument,
    )
    .option(
      '--noisy-key <reference>',
      'key of the noisy one: env:NAME or file:PATH (default: the demo’s)',
      keyArgument,
    )
    .option(
      '--noisy-per-second <number>',
      'requests a second of the noisy one (default: 1.5 times what the demo’s engine can do)',
      wholeNumber('a rate', 1, MOST_PER_SECOND),
    )
    .option('--model <name>', 'the model asked for (default: the first that both may use)', textArgument)
    .addHelpText('after', MORE_HELP)
    .action(async (options: Omit<Options, 'url'> & Partial<Pick<Options, 'url'>>) => {
      const { signal, release } = interruption();
      try {
        await load({ ...options, url: options.url ?? urlArgument(DEFAULT_LOAD_URL) }, signal);
      } finally {
        release();
      }
    });
}
