import { isUtf8 } from 'node:buffer';
import { readFileSync } from 'node:fs';
import { buffer as readAll } from 'node:stream/consumers';
import { Command, Option } from 'commander';
import type { Explanation } from '../admission/explain.ts';
import { explanationText } from '../admission/explain-text.ts';
import { API_ROUTES, type CustomRoutes, ROUTES } from '../domain/routes.ts';
import { messageOf } from '../domain/text-of.ts';
import { configOption, textArgument } from './arguments.ts';
import { command, commandAddressOf } from './commands.ts';
import { loadOrThrow } from './loading.ts';
import { print } from './terminal.ts';
import { UserError } from './user-error.ts';

interface Options {
  readonly config: string;
  readonly tenant: string;
  readonly route: string;
  readonly header?: readonly string[];
  readonly json?: true;
}

async function requestText(path: string): Promise<string> {
  const bytes = path === '-' ? await readAll(process.stdin) : bytesOf(path);
  // As text it would be another body than the one that is asked about.
  if (!isUtf8(bytes)) throw new UserError(`${path} is not UTF-8: the service would refuse it with 400`);
  return bytes.toString('utf8');
}

function bytesOf(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new UserError(`cannot read ${path}: ${messageOf(error)}`);
  }
}

function headersOf(pairs: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const at = pair.indexOf(':');
      if (at <= 0) throw new UserError(`--header ${pair}: must be NAME: VALUE`);
      return [pair.slice(0, at).trim().toLowerCase(), pair.slice(at + 1).trim()];
    }),
  );
}

/** Of the API, or of the configuration. */
function routeNamed(name: string, custom: CustomRoutes | undefined): { method: string; path: string } {
  const route = API_ROUTES.find((known) => known === name);
  const found = route === undefined ? custom?.get(name) : ROUTES[route];
  if (found !== undefined) return { method: found.method, path: found.path };
  const names = [...API_ROUTES, ...(custom?.keys() ?? [])];
  throw new UserError(`--route ${name}: there is none of this name; there are ${names.join(', ')}`);
}

/** `fairlane explain`: which endpoint a request would have now, and why. */
export function explainCommand(): Command {
  return new Command('explain')
    .description(
      'Say what the running service would do with a request now: model, lane, turn, and every endpoint with what keeps it out and what it scores; or the refusal, the limit that is over, and when to try again. Nothing is sent, taken or counted. Needs service.metrics on a loopback address.',
    )
    .argument(
      '<request>',
      'file with the body of the request (JSON, or a form with its content-type as a header), or - for the standard input',
    )
    .addOption(configOption('configuration (YAML) of the running service'))
    .requiredOption('-t, --tenant <name>', 'who asks', textArgument)
    .addOption(
      new Option(
        '-r, --route <route>',
        `what for: ${API_ROUTES.join(', ')}, or a name in routes of the configuration`,
      ).default('chat.completions'),
    )
    .option(
      '-H, --header <name: value>',
      'a header of the request; may be given several times',
      (value: string, before: readonly string[] | undefined) => [...(before ?? []), value],
    )
    .option('--json', 'print the answer as JSON')
    .action(async (path: string, options: Options) => {
      const { config } = loadOrThrow(options.config, process.env);
      const question = {
        tenant: options.tenant,
        ...routeNamed(options.route, config.routes),
        headers: headersOf(options.header ?? []),
        body: await requestText(path),
      };
      const told = await command(commandAddressOf(config), '/explain', JSON.stringify(question));
      const answer = told as Explanation & { readonly error?: string };
      if (answer.error !== undefined) throw new UserError(answer.error);
      print(
        options.json === true ? JSON.stringify(answer, undefined, 2) : explanationText(answer, Date.now()),
      );
      if (answer.kind === 'refused') process.exitCode = 2;
    });
}
