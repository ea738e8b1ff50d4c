/** Commands to the service that runs with a configuration. */

import { COMMAND_HEADER } from '../admin/command-source.ts';
import type { Config, HostPort } from '../config/config.ts';
import { hostPortText } from '../domain/host-port.ts';
import { isLoopback } from '../domain/loopback.ts';
import { loadOrThrow } from './loading.ts';
import { UserError } from './user-error.ts';

const TIMEOUT_MS = 5_000;

/** Where the service takes commands. */
export const commandAddress = (configPath: string): HostPort =>
  commandAddressOf(loadOrThrow(configPath, process.env).config);

export function commandAddressOf({ service: { metrics } }: Pick<Config, 'service'>): HostPort {
  if (!isLoopback(metrics.host)) {
    throw new UserError(
      `service.metrics is on ${metrics.host}, where anybody could command: put it on 127.0.0.1 and restart the service (pools.NAME.drain drains without a command)`,
    );
  }
  return metrics;
}

export async function ask(address: HostPort, path: string, init: RequestInit = {}): Promise<Response> {
  const where = hostPortText(address);
  try {
    return await fetch(`http://${where}${path}`, { ...init, signal: AbortSignal.timeout(TIMEOUT_MS) });
  } catch {
    throw new UserError(`no service answers on ${where} (service.metrics); is it running?`);
  }
}

/** @returns its answer's JSON. */
export async function command(service: HostPort, path: string, body?: string): Promise<unknown> {
  const response = await ask(service, path, {
    method: 'POST',
    headers: { [COMMAND_HEADER]: 'on' },
    ...(body !== undefined && { body }),
  });
  const text = await response.text();
  if (response.status === 403) throw new UserError(text.trim());
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw new UserError(
      `what answers on ${service.host}:${service.port} is no Fairlane that knows this command: is it service.metrics of the running service?`,
    );
  }
}
