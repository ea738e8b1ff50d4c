/** Asks an endpoint how it is, and which models it serves. */
import { setMaxListeners } from 'node:events';
import { Agent, request } from 'node:http';
import { isIP, type LookupFunction } from 'node:net';
import type { EndpointConfig } from '../config/config.ts';
import { type EngineHealth, type EngineSleep, type EngineState, stateByStatus } from './driver.ts';

export interface ProbeResult {
  readonly state: EngineState;
  /** False: nothing listens there, or it took too long. */
  readonly answered: boolean;
  /** Nothing listens there. */
  readonly refused: boolean;
  /** For the log: the status, or why there is none. */
  readonly detail: string;
}

/** Metrics of an engine with many adapters are long. */
const MAX_ANSWER_BYTES = 4 * 1024 * 1024;

/** A connection per probe: one that is kept could stay open to a process that no longer takes new ones. */
const agent = new Agent({ keepAlive: false });

/** The very address that requests go to. The name stays the one of `host` and of TLS. */
const standsFor =
  (address: string): LookupFunction =>
  (_host, { all }, done) => {
    const family = isIP(address);
    if (all === true) done(null, [{ address, family }]);
    else done(null, address, family);
  };

/**
 * GET, or POST of a JSON body; rejects on timeout, on a connection failure and on an answer over 4 MiB.
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
    const outgoing = request(
      {
        host: endpoint.host,
        port: endpoint.port,
        ...(endpoint.address !== undefined && { lookup: standsFor(endpoint.address) }),
        path,
        agent,
        ...(json !== undefined && { method: 'POST', headers: { 'content-type': 'application/json' } }),
      },
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

const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

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
    return { state, answered: true, refused: false, detail };
  } catch (error) {
    const refused = (error as NodeJS.ErrnoException).code === 'ECONNREFUSED';
    return { state: 'dead', answered: false, refused, detail: `GET ${path}: ${reasonOf(error)}` };
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
