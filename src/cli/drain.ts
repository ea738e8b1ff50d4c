import { setTimeout as sleep } from 'node:timers/promises';
import { Command } from 'commander';
import type { HostPort } from '../config/config.ts';
import { endpoint as readEndpoint } from '../config/values.ts';
import {
  COMMAND_HEADER,
  type DrainAnswer,
  type HealthReport,
  isLoopback,
} from '../telemetry/http-metrics-server.ts';
import { loadOrThrow, UserError } from './running.ts';

const TIMEOUT_MS = 5_000;
const POLL_MS = 500;

async function ask({ host, port }: HostPort, path: string, method: 'GET' | 'POST'): Promise<Response> {
  const where = `${host.includes(':') ? `[${host}]` : host}:${port}`;
  try {
    return await fetch(`http://${where}${path}`, {
      method,
      headers: { [COMMAND_HEADER]: 'drain' },
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch {
    throw new UserError(`no service answers on ${where} (service.metrics); is it running?`);
  }
}

function textOf(answer: DrainAnswer, url: string): string {
  switch (answer.kind) {
    case 'draining':
      return `${url} gets no new requests`;
    case 'undone':
      return `${url} takes requests again`;
    case 'still':
      return `${url} stays drained: the configuration says so (pools.NAME.drain)`;
    case 'unknown':
      throw new UserError(`the service has no endpoint ${url}`);
  }
}

/** Until it is empty, or nobody wants it drained any more. */
async function untilEmpty(service: HostPort, url: string): Promise<void> {
  for (let told: number | undefined; ; await sleep(POLL_MS)) {
    const report = (await (await ask(service, '/health', 'GET')).json()) as HealthReport;
    const state = Object.values(report.pools).find(({ draining }) => draining?.[url] !== undefined)
      ?.draining?.[url];
    if (state === undefined) throw new UserError(`${url} is not drained any more`);
    if (state.empty) break;
    if (state.inFlight !== told) console.log(`${url} still has ${state.inFlight} requests`);
    told = state.inFlight;
  }
  console.log(`${url} is empty`);
}

/** `fairlane drain`: takes an endpoint of a running service out of the rotation, without cutting what it has. */
export function drainCommand(): Command {
  return new Command('drain')
    .description(
      'Give an endpoint of the running service no new requests, until it is undone or the service restarts. Needs service.metrics on a loopback address.',
    )
    .argument('<url>', 'the endpoint, as the configuration has it')
    .requiredOption('-c, --config <file>', 'configuration (YAML) of the running service')
    .option('--undo', 'let it take requests again')
    .option('--wait', 'return when its last request has ended')
    .action(async (text: string, options: { config: string; undo?: true; wait?: true }) => {
      const read = readEndpoint(text);
      if (read.kind === 'bad') throw new UserError(`the endpoint ${read.problem}`);
      const { url } = read.endpoint;
      const { metrics } = loadOrThrow(options.config, process.env).config.service;
      if (!isLoopback(metrics.host)) {
        throw new UserError(
          `service.metrics is on ${metrics.host}, where anybody could command: drain by pools.NAME.drain, or put it on 127.0.0.1`,
        );
      }
      const query = new URLSearchParams({ endpoint: url, ...(options.undo === true && { undo: 'on' }) });
      const response = await ask(metrics, `/drain?${query.toString()}`, 'POST');
      if (response.status === 403) throw new UserError((await response.text()).trim());
      const answer = (await response.json()) as DrainAnswer;
      console.log(textOf(answer, url));
      if (answer.kind === 'draining' && answer.last) {
        console.error('fairlane: warning: its pool has no other endpoint: requests now get a 503');
      }
      if (options.wait === true && answer.kind !== 'undone') await untilEmpty(metrics, url);
    });
}
