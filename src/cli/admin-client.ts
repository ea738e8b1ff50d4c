/** The admin API of a running service, for commands: where it is and its token are in the configuration that it runs with. */
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import { dirname, isAbsolute, join } from 'node:path';
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls';
import { Option } from 'commander';
import { reachedAt } from '../config/addresses.ts';
import type { AdminConfig } from '../config/admin.ts';
import { lookUpSecret, SECRET_REFERENCE } from '../config/secrets.ts';
import { at } from '../config/written-data.ts';
import { hostPortText } from '../domain/host-port.ts';
import { configOption } from './arguments.ts';
import { loadOrThrow } from './loading.ts';
import { UserError } from './user-error.ts';

const TIMEOUT_MS = 15_000;
const MOST_BYTES = 64 * 1024 ** 2;

export interface AdminOptions {
  readonly config: string;
  readonly tokenFrom?: string;
}

export const adminOptions = (): readonly Option[] => [
  configOption('configuration (YAML) of the running service'),
  new Option(
    '--token-from <where>',
    'token of the admin API: env:NAME or file:PATH; default: admin.token of the configuration',
  ),
];

export interface AdminClient {
  /** The JSON of the answer. @throws UserError with what is wrong and what to do. */
  ask(method: string, path: string, body?: unknown): Promise<unknown>;
}

export function adminClient({ config: path, tokenFrom }: AdminOptions): AdminClient {
  // Of its secrets only the token is needed: the others may be of variables that are not set here.
  const { config, source } = loadOrThrow(path, process.env, { isUnresolved: true });
  const { admin } = config;
  if (admin === undefined) {
    throw new UserError(
      `${path} has no admin API: add "admin: { token: env:FAIRLANE_ADMIN_TOKEN }" (at least 32 characters, for example from openssl rand -hex 32), set the variable and restart the service`,
    );
  }
  const locate = (file: string): string => (isAbsolute(file) ? file : join(dirname(path), file));
  const token = tokenOf(tokenFrom ?? String(at(source.root, 'admin', 'token')), tokenFrom, locate);
  const cert = at(source.root, 'admin', 'tls', 'cert');
  const certificate = typeof cert === 'string' ? readFileSync(locate(cert), 'utf8') : undefined;
  const where = whereOf(admin, certificate);
  return {
    async ask(method, route, body) {
      const answer = await send(where, method, route, token, body);
      return answerOf(answer, where);
    },
  };
}

function tokenOf(reference: string, given: string | undefined, locate: (file: string) => string): string {
  const name = given === undefined ? 'admin.token' : '--token-from';
  // A token on a command line is in every list of processes.
  if (!SECRET_REFERENCE.test(reference)) throw new UserError(`${name}: must be env:NAME or file:PATH`);
  const looked = lookUpSecret(reference, {
    env: process.env,
    readFile: (file) => readFileSync(file, 'utf8'),
    locate: given === undefined ? locate : (file) => file,
  });
  if (looked.kind === 'ok') return looked.value;
  throw new UserError(
    `${name}: ${looked.problem}; or name another place with --token-from env:NAME or file:PATH`,
  );
}

interface Where {
  readonly host: string;
  readonly port: number;
  readonly shown: string;
  /** PEM; undefined: no TLS is spoken. */
  readonly certificate: string | undefined;
}

function whereOf({ address }: AdminConfig, certificate: string | undefined): Where {
  const reached = reachedAt(address);
  return { ...reached, shown: hostPortText(reached), certificate };
}

interface Answer {
  readonly status: number;
  readonly text: string;
}

async function send(
  where: Where,
  method: string,
  path: string,
  token: string,
  body: unknown,
): Promise<Answer> {
  const text = body === undefined ? undefined : JSON.stringify(body);
  const { host, port, shown, certificate } = where;
  const socket = certificate === undefined ? undefined : await trusted({ host, port }, certificate, shown);
  return await new Promise<Answer>((resolve, reject) => {
    const request: ClientRequest = httpRequest({
      host,
      port,
      method,
      path,
      ...(socket !== undefined && { createConnection: () => socket }),
      headers: {
        authorization: `Bearer ${token}`,
        ...(text !== undefined && {
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(text),
        }),
      },
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    request.once('error', () => reject(noAnswer(shown)));
    request.once('response', (response: IncomingMessage) => {
      textOf(response).then(
        (found) => resolve({ status: response.statusCode ?? 0, text: found }),
        () => reject(noAnswer(shown)),
      );
    });
    request.end(text);
  });
}

const noAnswer = (shown: string): UserError =>
  new UserError(
    `no service answers on ${shown} (admin.address); is it running, and was it restarted since admin was configured?`,
  );

async function textOf(response: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of response as AsyncIterable<Buffer>) {
    length += part.length;
    if (length > MOST_BYTES) throw new Error('the answer is too large');
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}

/** A connection to who shows the very certificate of the configuration: the token goes to nobody else. */
function trusted(to: ConnectionOptions, certificate: string, shown: string): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connectTls({ ...to, rejectUnauthorized: false });
    socket.once('error', () => reject(noAnswer(shown)));
    socket.once('secureConnect', () => {
      if (socket.getPeerX509Certificate()?.raw.equals(new X509Certificate(certificate).raw) === true) {
        resolve(socket);
        return;
      }
      socket.destroy();
      reject(new UserError(`what answers on ${shown} does not show the certificate in admin.tls.cert`));
    });
  });
}

function answerOf({ status, text }: Answer, { shown }: Where): unknown {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    throw new UserError(`what answers on ${shown} is no admin API of Fairlane: is it admin.address?`);
  }
  if (status < 400) return body;
  const [message, hint] = [at(body, 'error', 'message'), at(body, 'error', 'hint')];
  if (typeof message !== 'string') throw new UserError(`the admin API on ${shown} answered with ${status}`);
  throw new UserError(
    status === 401
      ? `${message}: is it the one that the service was started with?`
      : `${message}; ${String(hint)}`,
  );
}
