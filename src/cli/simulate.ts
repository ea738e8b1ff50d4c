import { readFileSync } from 'node:fs';
import { Command, InvalidArgumentError } from 'commander';
import { readFailure } from '../config/secrets.ts';
import { messageOf } from '../domain/text-of.ts';
import { type SimulatorOptions, startSimulator } from '../simulator/http-simulator.ts';
import { parseProfile } from '../simulator/profile.ts';
import { portArgument, textArgument, wholeNumber } from './arguments.ts';
import { print } from './terminal.ts';
import { UserError } from './user-error.ts';

const adaptersArgument = wholeNumber('a number of adapters', 0, 1_000_000);
const millisecondsArgument = wholeNumber('a time in milliseconds', 0, 1_000_000);
const setting = (
  text: string,
  before: Readonly<Record<string, string>> = {},
): Readonly<Record<string, string>> => {
  const [, key, value] = /^([^=]+)=(.+)$/s.exec(text) ?? [];
  if (key === undefined || value === undefined) throw new InvalidArgumentError('write it as key=value');
  return { ...before, [key]: value };
};

const prefixOf = (text: string): string => {
  if (!/^(\/[A-Za-z0-9._~-]+)+$/.test(text)) throw new InvalidArgumentError('write it as /llm or /a/b');
  return text;
};
const textOf = (file: string): string => {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new UserError(`cannot read ${file} (${readFailure(error)})`);
  }
};

interface Options {
  readonly host: string;
  readonly port: number;
  readonly model: readonly string[];
  readonly profile: string;
  readonly set?: Readonly<Record<string, string>>;
  readonly adapters?: number;
  readonly adapterLoad: number;
  readonly apiKey?: string;
  readonly prefix?: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly tlsClientCa?: string;
  readonly exitWithParent?: boolean;
}

/** What it listens with; undefined: plain HTTP. */
function tlsOf({ tlsCert, tlsKey, tlsClientCa }: Options): SimulatorOptions['tls'] {
  if (tlsCert === undefined && tlsKey === undefined && tlsClientCa === undefined) return undefined;
  if (tlsCert === undefined || tlsKey === undefined) {
    throw new UserError('TLS needs both --tls-cert and --tls-key');
  }
  const ca = tlsClientCa === undefined ? {} : { ca: textOf(tlsClientCa) };
  return { cert: textOf(tlsCert), key: textOf(tlsKey), ...ca };
}

/** `fairlane simulate`: an engine without a GPU. */
export function simulateCommand(): Command {
  return new Command('simulate')
    .description('Run an engine simulator: the OpenAI API with the timing of a vLLM, and no model.')
    .option('--host <address>', 'address to listen on', textArgument, '127.0.0.1')
    .option('--port <port>', 'port to listen on; 0: any free one', portArgument, 8000)
    .option('--model <names...>', 'models it serves; the first is the default', ['demo'])
    .option('--profile <name>', 'how fast it is: quickstart, 8b, 70b or test', 'quickstart')
    .option(
      '--set <key=value>',
      'replace a setting of the profile, e.g. stepBaseMs=20; may be repeated',
      setting,
    )
    .option(
      '--adapters <number>',
      'LoRA adapters that may be loaded at one time; without it: none',
      adaptersArgument,
    )
    .option('--adapter-load <milliseconds>', 'time that loading an adapter takes', millisecondsArgument, 500)
    .option('--api-key <key>', 'what begins with /v1 wants this key, as of `vllm serve --api-key`')
    .option('--prefix <path>', 'before every path, for example /llm', prefixOf)
    .option('--tls-cert <file>', 'speak TLS with this certificate (PEM); needs --tls-key')
    .option('--tls-key <file>', 'its private key (PEM)')
    .option('--tls-client-ca <file>', 'clients must show a certificate of this authority (PEM)')
    .option('--exit-with-parent', 'end when the process that started it ends (needs an IPC channel)')
    .action(async (options: Options) => {
      let profile: ReturnType<typeof parseProfile>;
      try {
        profile = parseProfile(options.profile, options.set ?? {});
      } catch (error) {
        throw new UserError(messageOf(error));
      }
      const tls = tlsOf(options);
      const simulator = await startSimulator({
        profile,
        models: options.model,
        host: options.host,
        port: options.port,
        ...(options.apiKey !== undefined && { apiKey: options.apiKey }),
        ...(options.prefix !== undefined && { prefix: options.prefix }),
        ...(tls !== undefined && { tls }),
        ...(options.adapters !== undefined && {
          adapters: { max: options.adapters, loadMs: options.adapterLoad },
        }),
      });
      print(`Simulating ${options.model.join(', ')} (${profile.name}) on ${simulator.url}`);
      process.send?.({ kind: 'ready', url: simulator.url });
      const stop = (): void => {
        void simulator.close().then(() => process.exit(0));
      };
      process.on('SIGTERM', stop);
      process.on('SIGINT', stop);
      if (options.exitWithParent === true) process.on('disconnect', stop);
    });
}
