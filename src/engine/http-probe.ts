/** Asks an endpoint how it is, and which models it serves. */
import { setMaxListeners } from 'node:events';
import { Agent, type ClientRequest, type IncomingMessage, request } from 'node:http';
import { Agent as TlsAgent, request as tlsRequest } from 'node:https';
import { isIP, type LookupFunction } from 'node:net';
import { checkServerIdentity, connect, type PeerCertificate } from 'node:tls';
import type { EndpointConfig, EngineTls } from '../config/config.ts';
import { messageOf } from '../domain/text-of.ts';
import { type EngineHealth, type EngineSleep, type EngineState, stateByStatus } from './driver.ts';
import { failureText, refusalText, shown } from './probe-problems.ts';

export interface ProbeResult {
  readonly state: EngineState;
  /** False: nothing listens there, or it took too long. */
  readonly answered: boolean;
  /** Nothing listens there. */
  readonly refused: boolean;
  /** For the log: the status, or why there is none. */
  readonly detail: string;
  /** That names what mends it. */
  readonly isExplained?: true;
}

/** Metrics of an engine with many adapters are long. */
const MAX_ANSWER_BYTES = 4 * 1024 * 1024;

/** A connection per probe: one that is kept could stay open to a process that no longer takes new ones. */
const agent = new Agent({ keepAlive: false });
/** Nor a session of TLS: what an engine shows is looked at each time. */
const tlsAgent = new TlsAgent({ keepAlive: false, maxCachedSessions: 0 });

/** The names of a certificate are those of its list, as Envoy has it: its subject is none. */
function nameError(name: string, certificate: PeerCertificate): Error | undefined {
  if (certificate.subjectaltname === undefined) {
    const error = new Error('it has no list of names (subjectAltName)');
    return Object.assign(error, { code: 'ERR_TLS_CERT_ALTNAME_INVALID' });
  }
  return checkServerIdentity(name, certificate);
}

const tlsOptionsOf = ({ ca, identity, serverName, insecureSkipVerify }: EngineTls, host: string) => ({
  ...(ca !== undefined && { ca: ca.value }),
  ...(identity !== undefined && { cert: identity.cert, key: identity.value }),
  servername: isIP(serverName ?? host) > 0 ? '' : (serverName ?? host),
  rejectUnauthorized: insecureSkipVerify !== true,
  checkServerIdentity: (_: string, certificate: PeerCertificate) =>
    nameError(serverName ?? host, certificate),
});

/** The very address that requests go to. The name stays the one of `host` and of TLS. */
const standsFor =
  (address: string): LookupFunction =>
  (_host, { all }, done) => {
    const family = isIP(address);
    if (all === true) done(null, [{ address, family }]);
    else done(null, address, family);
  };

/** As the endpoint wants it, with its key, TLS and prefix. */
function requestTo(
  endpoint: EndpointConfig,
  path: string,
  options: { readonly method?: string; readonly headers?: Readonly<Record<string, string>> },
  onAnswer: (incoming: IncomingMessage) => void,
): ClientRequest {
  const { host, port, address, prefix = '', apiKey, tls } = endpoint;
  const whole = {
    host,
    port,
    ...(address !== undefined && { lookup: standsFor(address) }),
    path: prefix + path,
    ...options,
    headers: {
      ...options.headers,
      ...(apiKey !== undefined && { authorization: `Bearer ${apiKey.value}` }),
    },
  };
  if (tls === undefined) return request({ ...whole, agent }, onAnswer);
  return tlsRequest({ ...whole, ...tlsOptionsOf(tls, host), agent: tlsAgent }, onAnswer);
}

const TLS_LOOK_MS = 1_000;
/** How a server that speaks TLS ends a connection on which it was spoken to in plain HTTP. */
const MAY_SPEAK_TLS = /^(ECONNRESET|EPIPE|HPE_.*)$/;

/** Whether something there answers a TLS greeting. Never rejects. */
function answersTls({ host, port, address }: EndpointConfig): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: address ?? host, port, rejectUnauthorized: false }, () => end(true));
    const timer = setTimeout(() => end(false), TLS_LOOK_MS).unref();
    const end = (answers: boolean): void => {
      clearTimeout(timer);
      resolve(answers);
      socket.destroy();
    };
    socket.unref();
    socket.on('error', () => end(false));
  });
}

/** Which setting would get a question answered that was not; undefined: none that is known. Never rejects. */
async function remedyOf(error: unknown, endpoint: EndpointConfig): Promise<string | undefined> {
  const { code = '' } = error as NodeJS.ErrnoException;
  const looks = endpoint.tls === undefined && MAY_SPEAK_TLS.test(code);
  return failureText(error, endpoint, looks && (await answersTls(endpoint)));
}

/** Why a question was not answered, and what mends it. Never rejects. */
export const whyNoAnswer = async (error: unknown, endpoint: EndpointConfig): Promise<string> =>
  (await remedyOf(error, endpoint)) ?? shown(messageOf(error));

/**
 * GET, or POST of a JSON body, at the endpoint's prefix; rejects on timeout, on a connection failure and on an answer over 4 MiB.
 *
 * @param stopped ends the question and its connection. Neither this nor the timeout keeps the process alive.
 */
export function askText(
  endpoint: EndpointConfig,
  path: string,
  timeoutMs: number,
  json?: object,
  stopped?: AbortSignal,
): Promise<{ readonly status: number; readonly body: string }> {
  return new Promise((resolve, reject) => {
    const outgoing = requestTo(
      endpoint,
      path,
      json === undefined ? {} : { method: 'POST', headers: { 'content-type': 'application/json' } },
      (incoming) => {
        const parts: Buffer[] = [];
        let size = 0;
        incoming.on('data', (part: Buffer) => {
          size += part.length;
          if (size > MAX_ANSWER_BYTES) incoming.destroy(new Error('answer over 4 MiB'));
          else parts.push(part);
        });
        incoming.on('end', () =>
          resolve({ status: incoming.statusCode ?? 0, body: Buffer.concat(parts).toString('utf8') }),
        );
        incoming.on('error', reject);
      },
    );
    const giveUp = (reason: string): void => {
      const error = new Error(reason);
      reject(error);
      outgoing.destroy(error);
    };
    const timer = setTimeout(() => giveUp(`no answer in ${timeoutMs} ms`), timeoutMs).unref();
    const stop = (): void => giveUp('not asked any more');
    if (stopped !== undefined) {
      // A signal is for every endpoint of a pool. AbortSignal.any would remember each question for as long as it lives.
      setMaxListeners(0, stopped);
      stopped.addEventListener('abort', stop, { once: true });
    }
    outgoing.on('error', reject);
    outgoing.once('close', () => {
      clearTimeout(timer);
      stopped?.removeEventListener('abort', stop);
    });
    if (stopped?.aborted === true) stop();
    else outgoing.end(json === undefined ? undefined : JSON.stringify(json));
  });
}

/**
 * No answer within the time is dead, and so is a redirect, which is not followed: whatever answers there is no engine.
 *
 * @param health of the engine, if it is known.
 * @param wasHealthy it has been healthy since something began to listen there.
 */
export async function probeHealth(
  endpoint: EndpointConfig,
  path: string,
  timeoutMs: number,
  health?: EngineHealth,
  wasHealthy = false,
  stopped?: AbortSignal,
): Promise<ProbeResult> {
  try {
    const answer = await askText(endpoint, path, timeoutMs, undefined, stopped);
    const state =
      health === undefined ? stateByStatus(answer, wasHealthy) : health.stateOf(answer, wasHealthy);
    const detail = `GET ${path}: ${answer.status}${state === 'loading' ? ', loading' : ''}`;
    const refusal = state === 'dead' ? refusalText(answer, path, endpoint) : undefined;
    const told = { state, answered: true, refused: false };
    return refusal === undefined ? { ...told, detail } : { ...told, detail: refusal, isExplained: true };
  } catch (error) {
    const refused = (error as NodeJS.ErrnoException).code === 'ECONNREFUSED';
    const remedy = await remedyOf(error, endpoint);
    const detail = `GET ${path}: ${remedy ?? shown(messageOf(error))}`;
    const told = { state: 'dead', answered: false, refused, detail } as const;
    return remedy === undefined ? told : { ...told, isExplained: true };
  }
}

type AccessQuestion = readonly [path: string, json?: object];
const MODELS_QUESTION: AccessQuestion = ['/v1/models'];
/** Of nothing: an engine that lets us in says what is missing. llama.cpp and TGI list models to everybody. */
export const CHAT_QUESTION: AccessQuestion = ['/v1/chat/completions', {}];

/**
 * Whether the engine lets Fairlane in: its health often needs no key, and all else does.
 *
 * @returns what it says against that, and whether every request would get the same; undefined: nothing, or no answer.
 */
export async function askAccess(
  endpoint: EndpointConfig,
  timeoutMs: number,
  stopped?: AbortSignal,
  [path, json]: AccessQuestion = MODELS_QUESTION,
): Promise<{ readonly detail: string; readonly refusesAll: boolean } | undefined> {
  try {
    const answer = await askText(endpoint, path, timeoutMs, json, stopped);
    const detail = refusalText(answer, path, endpoint);
    return detail === undefined ? undefined : { detail, refusesAll: answer.status === 401 };
  } catch {
    return undefined;
  }
}

/** `cannot`: it has no such page. Undefined: no answer that says anything. */
export async function askAsleep(
  endpoint: EndpointConfig,
  sleep: EngineSleep,
  timeoutMs: number,
  stopped?: AbortSignal,
): Promise<'asleep' | 'awake' | 'cannot' | undefined> {
  try {
    const { status, body } = await askText(endpoint, sleep.path, timeoutMs, undefined, stopped);
    if (status === 404) return 'cannot';
    return status === 200 ? (sleep.isAsleep(JSON.parse(body)) ? 'asleep' : 'awake') : undefined;
  } catch {
    return undefined;
  }
}

/** The ids that `GET /v1/models` lists, or undefined when the answer is none. */
export async function askModels(
  endpoint: EndpointConfig,
  timeoutMs: number,
  stopped?: AbortSignal,
): Promise<readonly string[] | undefined> {
  try {
    const { status, body } = await askText(endpoint, '/v1/models', timeoutMs, undefined, stopped);
    if (status !== 200) return undefined;
    const answer: unknown = JSON.parse(body);
    const list = (answer as { readonly data?: unknown } | null)?.data;
    if (!Array.isArray(list)) return undefined;
    return list
      .map((entry: unknown) => (entry as { readonly id?: unknown } | null)?.id)
      .filter((id): id is string => typeof id === 'string' && /^[\x21-\x7e]{1,256}$/.test(id));
  } catch {
    return undefined;
  }
}
