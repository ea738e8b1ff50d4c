/**
 * An open-loop load generator: requests go to a real target at the times that were computed beforehand, whatever became of
 * the earlier ones. Times to first token count from those times, so a generator or a target that is late is seen.
 */
import { Agent, type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import { performance } from 'node:perf_hooks';
import type { EndpointConfig } from '../config/config.ts';
import { readGauges } from '../engine/gauges.ts';
import { createStreamMeter } from '../openai/stream-meter.ts';
import type { Gauges } from '../pool/concurrency-limit/concurrency-limit.ts';
import {
  type HttpArmName,
  lateness,
  type Measured,
  type Schedule,
  saturationOf,
  type TargetName,
  targetOf,
} from './compare.ts';
import { createRandom, type Request, type TenantLoad } from './load.ts';
import { createQuantiles, type Quantiles, type RequestOutcome } from './outcome.ts';
import type { Scenario } from './scenario.ts';

const SCRAPE_MS = 1_000;
const PROGRESS_MS = 2_000;
/** A request whose answer stands still for so long has failed. */
const SILENCE_MS = 300_000;
const ASK_MS = 5_000;
const IDLE_POLL_MS = 200;
const MOST_IDLE_WAIT_MS = 30_000;
const MOST_TEXT_BYTES = 16 * 1024 ** 2;
const MOST_REASONS = 3;

/** Of three letters each: with a blank four bytes, and one token for most tokenizers. */
const WORDS = (
  'the and for are but not you all any can had her was one our out day get has him his how man new now old see two way who ' +
  'boy did its let put say she too use dad mom car run cat dog sun red big sea sky top box cup eat far few hot ice job key law map net'
).split(' ');

const hashOf = (text: string): number => {
  let hash = 2_166_136_261;
  for (let i = 0; i < text.length; i += 1) hash = Math.imul(hash ^ text.charCodeAt(i), 16_777_619);
  return hash >>> 0;
};
const wordsOf = (seed: string, count: number): readonly string[] => {
  const random = createRandom(hashOf(seed));
  return Array.from({ length: count }, () => WORDS[Math.floor(random() * WORDS.length)] ?? 'the');
};

/**
 * A prompt of about so many tokens: the tenant's prefix, and words of its own. They begin with the request's number, so that
 * no two requests of a run share more than the prefix; `run` differs between runs, so that no run finds another's cache.
 */
export function promptOf({ id, promptTokens }: Request, tenant: TenantLoad, run: string, at: number): string {
  const shared = Math.min(tenant.sharedPrefix, promptTokens);
  const own = [...wordsOf(`${run}/${id}`, promptTokens - shared)];
  for (let i = 0, left = at; i < own.length && left > 0; i += 1, left = Math.floor(left / WORDS.length)) {
    own[i] = WORDS[left % WORDS.length] ?? 'the';
  }
  return [...wordsOf(`${run}/${tenant.name}`, shared), ...own].join(' ');
}

export interface Progress {
  readonly arm: string;
  readonly atMs: number;
  readonly sent: number;
  readonly inFlight: number;
  readonly completed: number;
  readonly refused: number;
  readonly failed: number;
}

interface HttpArm {
  readonly arm: HttpArmName;
  readonly endpoint: EndpointConfig;
  readonly requests: readonly Request[];
  /** One bucket in the client for all that are not quiet, as large as a second of it. */
  readonly bucketPerSecond?: number;
}

interface HttpLoadOptions {
  /** With their keys. */
  readonly tenants: readonly TenantLoad[];
  readonly durationMs: number;
  readonly ignoreEos: boolean;
  readonly model: string;
  /** Different in every run. */
  readonly run: string;
  readonly signal: AbortSignal;
  readonly onProgress?: (progress: Progress) => void;
  readonly silenceMs?: number;
}

export interface HttpMeasured extends Measured {
  readonly interrupted: boolean;
}

interface InFlight {
  readonly request: Request;
  readonly tenant: TenantLoad;
  outgoing: ClientRequest | undefined;
  firstTokenMs: number | undefined;
  lastTokenMs: number;
  /** Events with content, and those of them within the arrivals' time. */
  events: number;
  eventsInTime: number;
}

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

/** The first model that a target lists. @throws when nothing answers, or none is listed. */
async function firstModel(endpoint: EndpointConfig, key: string | undefined): Promise<string> {
  let answer: Text;
  try {
    answer = await getText(endpoint, '/v1/models', key);
  } catch (error) {
    throw new Error(`nothing answers at ${endpoint.url} (${reasonOf(error)}); start the target first`, {
      cause: error,
    });
  }
  let id: unknown;
  try {
    const { data } = JSON.parse(answer.text) as { data?: readonly { id?: unknown }[] };
    id = data?.[0]?.id;
  } catch {
    // As good as no model.
  }
  if (typeof id === 'string') return id;
  throw new Error(
    `${endpoint.url}/v1/models lists no model (status ${answer.status}); name one in the scenario, model: NAME`,
  );
}

/** What the engine says of itself, if it does. */
async function gaugesOf(endpoint: EndpointConfig): Promise<Gauges | undefined> {
  try {
    const { status, text } = await getText(endpoint, '/metrics', undefined);
    const read = readGauges(text);
    return status === 200 && read.kind === 'report' ? read.report.gauges : undefined;
  } catch {
    return undefined;
  }
}

/** Requests that were cut off may still run in the engine. */
async function untilIdle(endpoint: EndpointConfig, signal: AbortSignal): Promise<void> {
  const deadlineMs = performance.now() + MOST_IDLE_WAIT_MS;
  while (performance.now() < deadlineMs && !signal.aborted) {
    const gauges = await gaugesOf(endpoint);
    if (gauges === undefined || gauges.running + gauges.waiting === 0) return;
    await new Promise((resolve) => setTimeout(resolve, IDLE_POLL_MS));
  }
}

const reasonOf = (error: unknown): string => {
  if (!(error instanceof Error)) return String(error);
  return 'code' in error && typeof error.code === 'string' ? error.code : error.message;
};

/** One arm: its requests in their time, then the end of the last answer. */
async function runHttpArm(arm: HttpArm, options: HttpLoadOptions): Promise<HttpMeasured> {
  const { endpoint, requests, bucketPerSecond } = arm;
  const { durationMs, signal, ignoreEos, model, silenceMs = SILENCE_MS } = options;
  const run = `${options.run}/${arm.arm}`;
  const tenants = new Map(options.tenants.map((tenant) => [tenant.name, tenant]));
  const agent = new Agent({ keepAlive: true, maxSockets: Number.POSITIVE_INFINITY });
  const outcomes: RequestOutcome[] = [];
  const itl = new Map<string, Quantiles>(options.tenants.map(({ name }) => [name, createQuantiles()]));
  const inFlight = new Set<InFlight>();
  const lateMs: number[] = [];
  const waiting: number[] = [];
  const reasons = new Map<string, number>();
  const counts = { completed: 0, refused: 0, failed: 0 };
  const burst = Math.max(1, bucketPerSecond ?? 0);
  let level = burst;
  let levelMs = 0;
  let usefulTokens = 0;
  let next = 0;
  let cutMs: number | undefined;
  let timer: NodeJS.Timeout | undefined;
  let done: () => void = () => undefined;
  const ended = new Promise<void>((resolve) => {
    done = resolve;
  });
  const startedMs = performance.now();
  const now = (): number => performance.now() - startedMs;
  const isOver = (): boolean => next >= requests.length && inFlight.size === 0;

  const settle = (
    one: InFlight,
    outcome: Partial<RequestOutcome> & Pick<RequestOutcome, 'outcome'>,
  ): void => {
    if (!inFlight.delete(one)) return;
    const { request, firstTokenMs, events, eventsInTime, lastTokenMs } = one;
    counts[outcome.outcome] += 1;
    const whole: RequestOutcome = {
      tenant: request.tenant,
      atMs: request.atMs,
      promptTokens: request.promptTokens,
      outputTokens: events,
      endedMs: now(),
      ...(firstTokenMs !== undefined && { firstTokenMs }),
      ...outcome,
    };
    const gaps = Math.max(whole.outputTokens, events) - 1;
    outcomes.push({
      ...whole,
      ...(firstTokenMs !== undefined && gaps > 0 && { itlMs: (lastTokenMs - firstTokenMs) / gaps }),
    });
    if (whole.outcome === 'completed' && firstTokenMs !== undefined && firstTokenMs <= durationMs) {
      usefulTokens += whole.promptTokens + (whole.outputTokens * eventsInTime) / events;
    }
    if (isOver()) done();
  };
  const fail = (one: InFlight, reason: string): void => {
    if (!inFlight.has(one)) return;
    reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
    settle(one, { outcome: 'failed' });
  };

  const onAnswer = (one: InFlight, incoming: IncomingMessage): void => {
    const { statusCode = 0 } = incoming;
    incoming.on('error', (error) => fail(one, reasonOf(error)));
    if (statusCode !== 200) {
      incoming.resume();
      incoming.on('close', () => {
        if (statusCode === 429 || statusCode === 503) settle(one, { outcome: 'refused' });
        else fail(one, `status ${statusCode}`);
      });
      return;
    }
    const meter = createStreamMeter({ route: 'chat.completions', removeUsageChunk: false });
    const seen = (atMs: number): void => {
      for (; one.events < meter.tokenEvents(); one.events += 1) {
        if (one.firstTokenMs === undefined) one.firstTokenMs = atMs;
        else itl.get(one.tenant.name)?.add(atMs - one.lastTokenMs);
        one.lastTokenMs = atMs;
        if (atMs <= durationMs) one.eventsInTime += 1;
      }
    };
    incoming.on('data', (chunk: Buffer) => {
      const atMs = now();
      meter.push(chunk, atMs);
      seen(atMs);
    });
    incoming.on('close', () => {
      if (!incoming.complete) return fail(one, 'the stream was cut off');
      meter.end();
      seen(now());
      const { usage, finished, errorFrame } = meter.result();
      if (errorFrame) return fail(one, 'an error in the stream');
      if (!finished) return fail(one, 'no end of the stream');
      return settle(one, {
        outcome: 'completed',
        ...(usage !== undefined && {
          promptTokens: usage.promptTokens,
          outputTokens: usage.completionTokens,
        }),
      });
    });
  };

  const bodyOf = (request: Request, tenant: TenantLoad, at: number): Buffer =>
    Buffer.from(
      JSON.stringify({
        model,
        messages: [{ role: 'user', content: promptOf(request, tenant, run, at) }],
        stream: true,
        stream_options: { include_usage: true },
        max_tokens: request.outputTokens,
        ...(ignoreEos && { ignore_eos: true, min_tokens: request.outputTokens }),
      }),
    );

  const send = (one: InFlight, body: Buffer, again: boolean): void => {
    const { key } = one.tenant;
    const outgoing = httpRequest(
      {
        host: endpoint.host,
        port: endpoint.port,
        path: '/v1/chat/completions',
        method: 'POST',
        agent,
        headers: {
          ...(key !== undefined && { authorization: `Bearer ${key}` }),
          'content-type': 'application/json',
          'content-length': body.length,
        },
      },
      (incoming) => onAnswer(one, incoming),
    );
    one.outgoing = outgoing;
    outgoing.setTimeout(silenceMs, () => {
      fail(one, 'no answer in time');
      outgoing.destroy();
    });
    outgoing.on('error', (error) => {
      // The server closed an idle connection just as it was used again: no failure of the target's.
      const raced = !again && outgoing.reusedSocket && reasonOf(error) === 'ECONNRESET' && one.events === 0;
      if (raced && inFlight.has(one)) send(one, body, true);
      else fail(one, reasonOf(error));
    });
    outgoing.end(body);
  };

  const passesBucket = ({ atMs }: Request): boolean => {
    if (bucketPerSecond === undefined) return true;
    level = Math.min(burst, level + ((atMs - levelMs) * bucketPerSecond) / 1_000);
    levelMs = atMs;
    if (level < 1) return false;
    level -= 1;
    return true;
  };

  /** Built before its time, so that a long prompt makes no request late. */
  let ready: Buffer | undefined;
  const sendDue = (): void => {
    for (
      let request = requests[next];
      request !== undefined && request.atMs <= now();
      request = requests[next]
    ) {
      const tenant = tenants.get(request.tenant);
      if (tenant === undefined) throw new Error(`a request of ${request.tenant}, which is no tenant`);
      const one: InFlight = {
        request,
        tenant,
        outgoing: undefined,
        firstTokenMs: undefined,
        lastTokenMs: 0,
        events: 0,
        eventsInTime: 0,
      };
      const body = ready ?? bodyOf(request, tenant, next);
      ready = undefined;
      next += 1;
      inFlight.add(one);
      if (!tenant.quiet && !passesBucket(request)) {
        settle(one, { outcome: 'refused' });
        continue;
      }
      send(one, body, false);
      lateMs.push(now() - request.atMs);
    }
    const upcoming = requests[next];
    if (upcoming === undefined) return;
    const tenant = tenants.get(upcoming.tenant);
    if (tenant !== undefined) ready ??= bodyOf(upcoming, tenant, next);
    timer = setTimeout(sendDue, Math.max(0, upcoming.atMs - now()));
  };

  const scrape = async (): Promise<void> => {
    if (now() > durationMs) return;
    const gauges = await gaugesOf(endpoint);
    if (gauges !== undefined) waiting.push(gauges.waiting);
  };
  // In front of the engine Fairlane keeps the engine's own queue short, so that one says nothing there.
  const scrapes = targetOf(arm.arm) === 'fairlane' ? undefined : setInterval(() => void scrape(), SCRAPE_MS);
  const progress = setInterval(() => {
    options.onProgress?.({ arm: arm.arm, atMs: now(), sent: next, inFlight: inFlight.size, ...counts });
  }, PROGRESS_MS);
  const cut = (): void => {
    cutMs = now();
    done();
  };
  signal.addEventListener('abort', cut);
  if (signal.aborted) cut();
  else sendDue();
  if (isOver()) done();
  await ended;
  signal.removeEventListener('abort', cut);
  clearTimeout(timer);
  clearInterval(scrapes);
  clearInterval(progress);

  const left = [...inFlight];
  inFlight.clear();
  for (const one of left) {
    one.outgoing?.destroy();
    // It was not thrown away, the run was.
    if (one.firstTokenMs !== undefined) usefulTokens += one.request.promptTokens + one.eventsInTime;
  }
  agent.destroy();
  const interrupted = cutMs !== undefined;
  return {
    interrupted,
    saturated: saturationOf(waiting),
    outcome: {
      arm: arm.arm,
      durationMs: Math.max(1, Math.min(durationMs, cutMs ?? durationMs)),
      requests: outcomes,
      itl,
      usefulTokens,
      notes: [
        ...(interrupted
          ? [
              `Ended early, after ${(now() / 1_000).toFixed(1)} s of ${durationMs / 1_000} s: ${requests.length - next} requests were not sent, ${left.length} had no end and are left out.`,
            ]
          : []),
        ...[...reasons]
          .sort(([, a], [, b]) => b - a)
          .slice(0, MOST_REASONS)
          .map(([reason, count]) => `${count} failed: ${reason}.`),
        ...lateness(lateMs),
      ],
    },
  };
}

export interface HttpComparisonOptions {
  readonly scenario: Scenario;
  readonly schedule: Schedule;
  readonly arms: readonly HttpArmName[];
  readonly endpoints: ReadonlyMap<TargetName, EndpointConfig>;
  /** By tenant. */
  readonly keys: ReadonlyMap<string, string>;
  readonly run: string;
  readonly signal: AbortSignal;
  readonly onProgress?: (progress: Progress) => void;
  readonly onArm?: (measured: HttpMeasured) => void;
}

/**
 * One arm after the other, each with the same arrivals; the next begins when the last answer of the one before has ended.
 *
 * @throws when a target does not answer before anything was sent.
 */
export async function runHttpArms({
  scenario,
  schedule,
  arms,
  endpoints,
  keys,
  run,
  signal,
  onProgress,
  onArm,
}: HttpComparisonOptions): Promise<readonly HttpMeasured[]> {
  const tenants = scenario.tenants.map((tenant): TenantLoad => {
    const key = keys.get(tenant.name);
    return key === undefined ? tenant : { ...tenant, key };
  });
  const quiet = new Set(tenants.filter((tenant) => tenant.quiet).map(({ name }) => name));
  const models = new Map<string, string>();
  for (const endpoint of new Set(arms.map((arm) => endpoints.get(targetOf(arm))))) {
    if (endpoint === undefined) throw new Error('an arm has no target');
    models.set(endpoint.url, scenario.model ?? (await firstModel(endpoint, [...keys.values()][0])));
  }
  const all: HttpMeasured[] = [];
  for (const arm of arms) {
    const endpoint = endpoints.get(targetOf(arm));
    if (endpoint === undefined || signal.aborted) break;
    const measured = await runHttpArm(
      {
        arm,
        endpoint,
        requests:
          arm === 'solo' ? schedule.requests.filter(({ tenant }) => quiet.has(tenant)) : schedule.requests,
        ...(arm === 'request-bucket' &&
          schedule.bucketPerSecond !== undefined && { bucketPerSecond: schedule.bucketPerSecond }),
      },
      {
        tenants,
        durationMs: scenario.durationMs,
        ignoreEos: scenario.ignoreEos,
        model: models.get(endpoint.url) ?? '',
        run,
        signal,
        ...(onProgress !== undefined && { onProgress }),
      },
    );
    all.push(measured);
    onArm?.(measured);
    await untilIdle(endpoint, signal);
  }
  return all;
}
