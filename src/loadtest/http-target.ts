/** What a target says of itself: its models, its gauges, and when it is idle. */
import { request as httpRequest } from 'node:http';
import { performance } from 'node:perf_hooks';
import type { EndpointConfig } from '../config/config.ts';
import { readGauges } from '../engine/gauges.ts';
import type { Gauges } from '../pool/concurrency-limit/concurrency-limit.ts';

const ASK_MS = 5_000;
const IDLE_POLL_MS = 200;
const MOST_IDLE_WAIT_MS = 30_000;
const MOST_TEXT_BYTES = 16 * 1024 ** 2;

interface Text {
  readonly status: number;
  readonly text: string;
}

function getText({ host, port }: EndpointConfig, path: string, key: string | undefined): Promise<Text> {
  return new Promise((resolve, reject) => {
    const outgoing = httpRequest(
      {
        host,
        port,
        path,
        agent: false,
        signal: AbortSignal.timeout(ASK_MS),
        headers: key === undefined ? {} : { authorization: `Bearer ${key}` },
      },
      (incoming) => {
        let text = '';
        incoming.setEncoding('utf8');
        incoming.on('data', (part: string) => {
          text += part;
          if (text.length > MOST_TEXT_BYTES) outgoing.destroy(new Error('the answer is too long'));
        });
        incoming.on('error', reject);
        incoming.on('end', () => resolve({ status: incoming.statusCode ?? 0, text }));
      },
    );
    outgoing.on('error', reject);
    outgoing.end();
  });
}

/** What a target answers to a key that asks for its models. @throws when nothing answers. */
export async function listedModels(
  endpoint: EndpointConfig,
  key: string | undefined,
): Promise<{ readonly status: number; readonly models: readonly string[] }> {
  let answer: Text;
  try {
    answer = await getText(endpoint, '/v1/models', key);
  } catch (error) {
    throw new Error(`nothing answers at ${endpoint.url} (${reasonOf(error)}); start the target first`, {
      cause: error,
    });
  }
  let models: readonly string[] = [];
  try {
    const { data } = JSON.parse(answer.text) as { data?: readonly { id?: unknown }[] };
    models = (data ?? []).map(({ id }) => id).filter((id) => typeof id === 'string');
  } catch {
    // As good as no model.
  }
  return { status: answer.status, models };
}

/** The first model that a target lists. @throws when nothing answers, or none is listed. */
export async function firstModel(endpoint: EndpointConfig, key: string | undefined): Promise<string> {
  const { status, models } = await listedModels(endpoint, key);
  const [first] = models;
  if (first !== undefined) return first;
  throw new Error(
    `${endpoint.url}/v1/models lists no model (status ${status}); name one in the scenario, model: NAME`,
  );
}

/** What the engine says of itself, if it does. */
export async function gaugesOf(endpoint: EndpointConfig): Promise<Gauges | undefined> {
  try {
    const { status, text } = await getText(endpoint, '/metrics', undefined);
    const read = readGauges(text);
    return status === 200 && read.kind === 'report' ? read.report.gauges : undefined;
  } catch {
    return undefined;
  }
}

/** Requests that were cut off may still run in the engine. */
export async function untilIdle(endpoint: EndpointConfig, signal: AbortSignal): Promise<void> {
  const deadlineMs = performance.now() + MOST_IDLE_WAIT_MS;
  while (performance.now() < deadlineMs && !signal.aborted) {
    const gauges = await gaugesOf(endpoint);
    if (gauges === undefined || gauges.running + gauges.waiting === 0) return;
    await new Promise((resolve) => setTimeout(resolve, IDLE_POLL_MS));
  }
}

/** What went wrong, in a word: the error's code, or its message. */
export const reasonOf = (error: unknown): string => {
  if (!(error instanceof Error)) return String(error);
  return 'code' in error && typeof error.code === 'string' ? error.code : error.message;
};
