import { isIP } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { Command } from 'commander';
import type { DrainAnswer } from '../admin/commands.ts';
import type { HealthReport } from '../admin/health.ts';
import type { HostPort } from '../config/config.ts';
import { endpoint as readEndpoint } from '../config/values.ts';
import { configOption } from './arguments.ts';
import { ask, command, commandAddress } from './commands.ts';
import { print, printError } from './terminal.ts';
import { UserError } from './user-error.ts';

const POLL_MS = 500;

function textOf(answer: DrainAnswer, url: string): string {
  switch (answer.kind) {
    case 'draining':
      return `${url} gets no new requests`;
    case 'undone':
      return `${url} takes requests again`;
    case 'still':
      return `${url} stays drained: the configuration says so (pools.NAME.drain)`;
    case 'unknown':
      throw new UserError(`the service has no endpoint ${url}: give one of pools.NAME.endpoints`);
  }
}

/** As the configuration has it, or one of its addresses: `http://name:port#ip`, as `/health` shows it. */
function readUrl(text: string): string {
  const at = text.indexOf('#');
  const address = at < 0 ? undefined : text.slice(at + 1);
  const read = readEndpoint(at < 0 ? text : text.slice(0, at));
  if (read.kind === 'bad') throw new UserError(`the endpoint ${read.problem}`);
  if (address === undefined) return read.endpoint.url;
  if (isIP(address) === 0) throw new UserError(`${address} is no IP address; write http://host:port#address`);
  return `${read.endpoint.url}#${address}`;
}

/** Of the endpoint, at all of its addresses that are drained. Undefined: none is. */
function requestsOf({ pools }: HealthReport, url: string): number | undefined {
  const all = Object.values(pools)
    .flatMap(({ draining = {} }) => Object.entries(draining))
    .filter(([name]) => name === url || name.startsWith(`${url}#`));
  return all.length === 0 ? undefined : all.reduce((sum, [, { inFlight }]) => sum + inFlight, 0);
}

/** Until it is empty, or nobody wants it drained any more. */
async function untilEmpty(service: HostPort, url: string): Promise<void> {
  for (let told: number | undefined; ; await sleep(POLL_MS)) {
    const report = (await (await ask(service, '/health')).json()) as HealthReport;
    const inFlight = requestsOf(report, url);
    if (inFlight === undefined) throw new UserError(`${url} is not drained any more`);
    if (inFlight === 0) break;
    if (inFlight !== told) print(`${url} still has ${inFlight} requests`);
    told = inFlight;
  }
  print(`${url} is empty`);
}

/**
 * `fairlane drain`: takes an endpoint of a running service out of the rotation, without cutting what it has.
 */
export function drainCommand(): Command {
  return new Command('drain')
    .description(
      'Give an endpoint of the running service no new requests, until it is undone or the service restarts. Needs service.metrics on a loopback address.',
    )
    .argument(
      '<url>',
      'the endpoint, as the configuration has it: all of its addresses; or one, as URL#address',
    )
    .addOption(configOption('configuration (YAML) of the running service'))
    .option('--undo', 'let it take requests again')
    .option('--wait', 'return when its last request has ended')
    .action(async (text: string, options: { config: string; undo?: true; wait?: true }) => {
      const url = readUrl(text);
      const metrics = commandAddress(options.config);
      const query = new URLSearchParams({ endpoint: url, ...(options.undo === true && { undo: 'on' }) });
      const answer = (await command(metrics, `/drain?${query.toString()}`)) as DrainAnswer;
      print(textOf(answer, url));
      if (answer.kind === 'draining' && answer.last) {
        printError('fairlane: warning: its pool has no other endpoint: requests now get a 503');
      }
      if (options.wait === true && answer.kind !== 'undone') await untilEmpty(metrics, url);
    });
}
