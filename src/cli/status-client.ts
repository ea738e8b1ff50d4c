/** Asks the running service for its status, and says what is wrong where that cannot be had. */
import { InvalidArgumentError, Option } from 'commander';
import {
  STATUS_VERSION,
  type StatusQuery,
  type StatusReport,
  statusPath,
  statusSchema,
} from '../admin/status.ts';
import { type HostPort, reachedAt } from '../config/config.ts';
import { loadConfig } from '../config/fs-config.ts';
import { hostPort } from '../config/values.ts';
import { hostPortText } from '../domain/host-port.ts';
import { messageOf } from '../domain/text-of.ts';
import { configOption, DEFAULT_CONFIG, hasDefaultConfig } from './arguments.ts';
import { UserError } from './user-error.ts';

const TIMEOUT_MS = 5_000;
/** Far above a thousand tenants and ten thousand models. */
const MOST_BYTES = 32 * 1024 * 1024;
/** Where a service is whose configuration says nothing, such as the demo's. */
const DEFAULT_ADDRESS: HostPort = { host: '127.0.0.1', port: 9464 };

export interface Where {
  readonly config: string;
  readonly address?: HostPort;
}

export const configOfRunning = (): Option =>
  configOption('configuration (YAML) of the running service, which says where it is');

export const addressOption = (): Option =>
  new Option(
    '-a, --address <host:port>',
    'service.metrics of the running service, instead of the configuration’s',
  ).argParser((text: string): HostPort => {
    const read = hostPort(text, 'any');
    if (read === undefined) throw new InvalidArgumentError('must be host:port, for example 127.0.0.1:9464');
    return read;
  });

/** Where the service answers. */
export function addressOf({ address, config }: Where): HostPort {
  if (address !== undefined) return address;
  if (config === DEFAULT_CONFIG && !hasDefaultConfig()) return DEFAULT_ADDRESS;
  // Its warnings are for those who start it.
  const loaded = loadConfig(config, process.env);
  if (loaded.kind === 'bad') {
    const problems = loaded.problems.map((problem) => `  ${problem}`).join('\n');
    throw new UserError(
      `the configuration cannot be read (--address host:port asks without it):\n${problems}`,
    );
  }
  return reachedAt(loaded.config.service.metrics);
}

export interface Answer {
  readonly report: StatusReport;
  /** With members that this version does not know. */
  readonly document: unknown;
}

/** @throws UserError that says why there is no status. */
export async function askStatus(
  address: HostPort,
  query: StatusQuery,
  timeoutMs: number = TIMEOUT_MS,
): Promise<Answer> {
  const where = hostPortText(address);
  const signal = AbortSignal.timeout(timeoutMs);
  let status: number;
  let text: string;
  try {
    const response = await fetch(`http://${where}${statusPath(query)}`, { signal, redirect: 'manual' });
    status = response.status;
    text = await bodyOf(response, where);
  } catch (error) {
    if (error instanceof UserError) throw error;
    if (signal.aborted)
      throw new UserError(`${where} (service.metrics) does not answer within ${timeoutMs / 1_000} s`);
    throw new UserError(
      `no service answers on ${where} (service.metrics): is it running? (${reasonOf(error)})`,
    );
  }
  return readAnswer(where, status, text);
}

/** As text, up to a bound. */
async function bodyOf(response: Response, where: string): Promise<string> {
  const decoder = new TextDecoder();
  let [text, bytes] = ['', 0];
  for await (const part of response.body ?? []) {
    bytes += part.byteLength;
    if (bytes > MOST_BYTES)
      throw new UserError(`${where} answers with more than ${MOST_BYTES} bytes: no status`);
    text += decoder.decode(part, { stream: true });
  }
  return text + decoder.decode();
}

function reasonOf(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined;
  if (cause instanceof Error && 'code' in cause && typeof cause.code === 'string') return cause.code;
  // Without the stack, which is fetch’s own.
  return messageOf(cause ?? error);
}

/** @throws UserError where it is no status of a version that this one knows. */
function readAnswer(where: string, status: number, text: string): Answer {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    document = undefined;
  }
  const { error, version } = (typeof document === 'object' && document !== null ? document : {}) as {
    readonly error?: unknown;
    readonly version?: unknown;
  };
  if (status === 404) {
    throw new UserError(
      `what answers on ${where} has no status: it is an older Fairlane, or no service.metrics`,
    );
  }
  if (status !== 200) {
    const said = typeof error === 'string' ? `: ${error.slice(0, 300)}` : '';
    throw new UserError(`${where} (service.metrics) answers with ${status}${said}`);
  }
  if (document === undefined)
    throw new UserError(`what answers on ${where} is no Fairlane: its status is not JSON`);
  if (typeof version === 'number' && version !== STATUS_VERSION) {
    throw new UserError(
      `the service on ${where} has version ${version} of the status, this command knows ${STATUS_VERSION}: use the service’s own fairlane`,
    );
  }
  const read = statusSchema.safeParse(document);
  if (read.success) return { report: read.data, document };
  const [issue] = read.error.issues;
  const at = issue === undefined ? '' : ` (${issue.path.join('.')}: ${issue.message})`;
  throw new UserError(`what answers on ${where} is no status of Fairlane’s${at}`);
}
