/** The simulated engine as an HTTP server: `fairlane simulate`, the tests and the benchmarks. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import { createEngine, type EngineGauges } from './engine.ts';
import { type AdapterSettings, createSimulatedAdapters } from './lora-adapters.ts';
import {
  type Job,
  jsonAnswer,
  readRequest,
  SIMULATED_ROUTES,
  type SimulatedRoute,
  type StreamWriter,
  streamWriter,
} from './openai-front.ts';
import type { EngineProfile } from './profile.ts';

/** What an engine can do wrong. For tests; the program never sets one. */
type Fault =
  | {
      readonly kind: 'status';
      readonly status: number;
      readonly body?: string;
      readonly headers?: Readonly<Record<string, string>>;
    }
  | { readonly kind: 'hang' }
  | { readonly kind: 'garbage' }
  | { readonly kind: 'die-mid-stream'; readonly afterTokens: number }
  | { readonly kind: 'slow-headers'; readonly ms: number }
  | { readonly kind: 'gzip' }
  | { readonly kind: 'unhealthy' }
  | { readonly kind: 'error-frame' }
  | { readonly kind: 'no-usage' }
  | { readonly kind: 'split'; readonly bytes: number }
  | { readonly kind: 'trailers' }
  /** Of /metrics. */
  | { readonly kind: 'gauges'; readonly are: 'absent' | 'zero' | 'frozen' };

interface SeenRequest {
  readonly path: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: unknown;
}

export interface Simulator {
  readonly url: string;
  readonly port: number;
  gauges(): EngineGauges;
  stats(): { readonly started: number; readonly finished: number; readonly aborted: number };
  /** LoRA adapters: loaded now, and what has been done; `most` were loaded at one time. */
  adapters(): {
    readonly loaded: readonly string[];
    readonly loads: number;
    readonly unloads: number;
    readonly most: number;
  };
  /** The last requests, with `faults: true` only. */
  requests(): readonly SeenRequest[];
  setFault(fault: Fault | undefined): void;
  close(): Promise<void>;
}

export interface SimulatorOptions {
  readonly profile: EngineProfile;
  readonly models: readonly string[];
  readonly host?: string;
  /** LoRA adapters may be loaded; absent: as an engine that was not started for it. */
  readonly adapters?: AdapterSettings;
  /** 0 or absent: any free one. */
  readonly port?: number;
  /** Honours setFault and remembers requests. */
  readonly faults?: boolean;
}

const MAX_BODY_BYTES = 32 * 1024 * 1024;
const REMEMBERED_REQUESTS = 100;
const ADAPTER_PATHS = { '/v1/load_lora_adapter': 'load', '/v1/unload_lora_adapter': 'unload' } as const;

interface Running {
  readonly id: string;
  readonly job: Job;
  readonly response: ServerResponse;
  readonly writer: StreamWriter;
  readonly write: (text: string) => void;
  readonly fault: Fault | undefined;
  readonly createdS: number;
  choicesLeft: number;
  tokens: number;
  cachedTokens: number;
  begun: boolean;
}

function readBody(request: IncomingMessage): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    let size = 0;
    request.on('data', (part: Buffer) => {
      size += part.length;
      if (size <= MAX_BODY_BYTES) parts.push(part);
    });
    request.on('end', () =>
      resolve(size > MAX_BODY_BYTES ? undefined : Buffer.concat(parts).toString('utf8')),
    );
    request.on('error', reject);
  });
}

/** Starts an engine. Rejects when the address is taken. */
export async function startSimulator(options: SimulatorOptions): Promise<Simulator> {
  const { models } = options;
  const { kvBlocks, blockTokens } = options.profile;
  // What fits into no KV cache is refused as too long, not waited for.
  const maxModelLen = Math.min(options.profile.maxModelLen, kvBlocks * blockTokens);
  const profile: EngineProfile = { ...options.profile, maxModelLen };
  const engine = createEngine(profile);
  const adapters = createSimulatedAdapters(options.adapters ?? { max: 0, loadMs: 0 }, models);
  const running = new Map<string, Running>();
  const seen: SeenRequest[] = [];
  let fault: Fault | undefined;
  let nextId = 1;
  let started = 0;
  let finished = 0;
  let aborted = 0;
  let promptTokens = 0;
  let generationTokens = 0;
  /** As vLLM says it: at the end of its last planning. What arrived since then is not among those that wait. */
  let said = engine.gauges();
  const areGaugesFrozen = (): boolean => fault?.kind === 'gauges' && fault.are === 'frozen';
  let stepTimer: NodeJS.Timeout | undefined;
  let closed = false;

  /** One step after another. A step that the machine ran late is late: nothing is made up for. */
  const step = (): void => {
    stepTimer = undefined;
    if (closed) return;
    const plan = engine.planStep();
    if (!areGaugesFrozen()) said = engine.gauges();
    if (plan === undefined) return;
    stepTimer = setTimeout(() => {
      for (const event of engine.finishStep()) onToken(event.id, event.index, event.last, event.cachedTokens);
      step();
    }, plan.durationMs);
  };
  const wake = (): void => {
    if (stepTimer === undefined) step();
  };

  const finish = (one: Running): void => {
    running.delete(one.id);
    finished += 1;
    const { response, job } = one;
    if (one.fault?.kind === 'trailers') response.addTrailers({ 'x-engine': 'simulated' });
    if (job.stream) {
      one.write(one.fault?.kind === 'error-frame' ? 'data: [DONE]\n\n' : one.writer.end(one.cachedTokens));
      response.end();
      return;
    }
    const text = jsonAnswer(one.id, job, one.createdS, one.cachedTokens, one.fault?.kind !== 'no-usage');
    const bytes = one.fault?.kind === 'gzip' ? gzipSync(text) : Buffer.from(text);
    response.writeHead(200, {
      'content-type': 'application/json',
      ...(one.fault?.kind === 'gzip' && { 'content-encoding': 'gzip' }),
      ...(one.fault?.kind === 'trailers' ? { trailer: 'x-engine' } : { 'content-length': bytes.length }),
    });
    response.end(bytes);
  };

  const onToken = (sequence: string, index: number, last: boolean, cachedTokens: number): void => {
    const [id = '', choice = '0'] = sequence.split('/');
    const one = running.get(id);
    if (one === undefined) return;
    generationTokens += 1;
    one.cachedTokens = Math.max(one.cachedTokens, cachedTokens);
    one.tokens += 1;
    if (one.job.stream) {
      if (!one.begun) {
        one.begun = true;
        one.write(one.writer.start(one.cachedTokens));
      }
      if (one.fault?.kind === 'error-frame' && one.tokens === 2) {
        one.write(
          `data: ${JSON.stringify({ error: { message: 'the engine failed', type: 'InternalServerError', code: 500 } })}\n\n`,
        );
      }
      one.write(one.writer.token(Number(choice), index));
      if (one.fault?.kind === 'die-mid-stream' && one.tokens >= one.fault.afterTokens) {
        one.response.destroy();
        return;
      }
      if (last) one.write(one.writer.choiceEnd(Number(choice)));
    }
    if (!last) return;
    one.choicesLeft -= 1;
    if (one.choicesLeft === 0) finish(one);
  };

  /** How the bytes of a stream leave, by what is wrong with the engine. */
  const writerOf = (response: ServerResponse, broken: Fault | undefined): ((text: string) => void) => {
    if (broken?.kind === 'gzip') {
      return (text) => void response.write(gzipSync(text));
    }
    if (broken?.kind === 'split') {
      // Each piece is a write of its own, and a TCP segment of its own where the other side reads fast enough.
      let last = Promise.resolve();
      const end = response.end.bind(response);
      response.end = ((...args: []) => {
        void last.then(() => end(...args));
        return response;
      }) as typeof response.end;
      return (text) => {
        const bytes = Buffer.from(text);
        last = last.then(async () => {
          for (let at = 0; at < bytes.length && !response.destroyed; at += broken.bytes) {
            response.write(bytes.subarray(at, at + broken.bytes));
            await new Promise((resolve) => setImmediate(resolve));
          }
        });
      };
    }
    return (text) => void response.write(text);
  };

  const serve = async (
    route: SimulatedRoute,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> => {
    const text = await readBody(request);
    const broken = fault;
    if (options.faults === true) {
      let body: unknown = text;
      try {
        body = JSON.parse(text ?? '');
      } catch {
        // Remembered as it came.
      }
      seen.push({ path: route, headers: request.headers, body });
      if (seen.length > REMEMBERED_REQUESTS) seen.shift();
    }
    const json = (status: number, body: string, headers: Readonly<Record<string, string>> = {}): void => {
      response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(body);
    };
    if (text === undefined)
      return json(413, '{"error":{"message":"too large","type":"BadRequestError","code":413}}');
    if (broken?.kind === 'hang') return undefined;
    if (broken?.kind === 'status') return json(broken.status, broken.body ?? '{}', broken.headers);
    if (broken?.kind === 'garbage')
      return void response.writeHead(200).end('\u0000<garbage>{"usage":{"prompt_tokens":"many"}');
    if (broken?.kind === 'slow-headers') await new Promise((resolve) => setTimeout(resolve, broken.ms));
    const read = readRequest(route, text, profile, [...models, ...adapters.names()]);
    if (read.kind === 'error') return json(read.status, read.body);

    const { job } = read;
    const id = String(nextId);
    nextId += 1;
    const createdS = Math.floor(Date.now() / 1_000);
    const one: Running = {
      id,
      job,
      response,
      writer: streamWriter(id, job, createdS, broken?.kind !== 'no-usage'),
      write: writerOf(response, broken),
      fault: broken,
      createdS,
      choicesLeft: job.choices,
      tokens: 0,
      cachedTokens: 0,
      begun: false,
    };
    running.set(id, one);
    started += 1;
    promptTokens += job.promptTokens;
    response.on('close', () => {
      if (!running.delete(id)) return;
      aborted += 1;
      for (let choice = 0; choice < job.choices; choice += 1) engine.abort(`${id}/${choice}`);
    });
    if (response.destroyed) {
      running.delete(id);
      aborted += 1;
      return undefined;
    }
    if (job.stream) {
      response.writeHead(200, {
        'content-type': 'text/event-stream; charset=utf-8',
        ...(broken?.kind === 'gzip' && { 'content-encoding': 'gzip' }),
        ...(broken?.kind === 'trailers' && { trailer: 'x-engine' }),
      });
      response.flushHeaders();
    }
    for (let choice = 0; choice < job.choices; choice += 1) {
      engine.add({
        id: `${id}/${choice}`,
        prefixHashes: job.prefixHashes,
        promptTokens: job.promptTokens,
        outputTokens: job.outputTokens,
        priority: job.priority,
      });
    }
    wake();
    return undefined;
  };

  const changeAdapters = async (
    what: 'load' | 'unload',
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> => {
    const text = await readBody(request);
    const { status, body, afterMs, apply } = adapters[what](text ?? '');
    if (afterMs > 0) await new Promise((resolve) => setTimeout(resolve, afterMs));
    apply?.();
    response.writeHead(status, { ...(status !== 200 && { 'content-type': 'application/json' }) }).end(body);
  };

  const metrics = (): string => {
    const isZero = fault?.kind === 'gauges' && fault.are === 'zero';
    const gauges = isZero ? { ...said, running: 0, waiting: 0, kvUsage: 0 } : said;
    const label = `{model_name="${models[0] ?? ''}"}`;
    const series: readonly (readonly [string, string, number])[] = [
      ['vllm:num_requests_running', 'gauge', gauges.running],
      ['vllm:num_requests_waiting', 'gauge', gauges.waiting],
      ['vllm:kv_cache_usage_perc', 'gauge', gauges.kvUsage],
      ['vllm:prefix_cache_queries_total', 'counter', gauges.prefixQueries],
      ['vllm:prefix_cache_hits_total', 'counter', gauges.prefixHits],
      ['vllm:num_preemptions_total', 'counter', gauges.preemptions],
      ['vllm:prompt_tokens_total', 'counter', promptTokens],
      ['vllm:generation_tokens_total', 'counter', generationTokens],
    ];
    const lines = series.flatMap(([name, type, value]) => [
      `# TYPE ${name} ${type}`,
      `${name}${label} ${value}`,
    ]);
    lines.push(
      '# TYPE vllm:cache_config_info gauge',
      `vllm:cache_config_info{block_size="${profile.blockTokens}",num_gpu_blocks="${profile.kvBlocks}"} 1`,
    );
    return `${lines.join('\n')}\n`;
  };

  const server: Server = createServer((request, response) => {
    const path = request.url?.split('?', 1)[0] ?? '';
    const requestId = request.headers['x-request-id'];
    if (typeof requestId === 'string') response.setHeader('x-request-id', requestId);
    if (request.method === 'GET' && path === '/health') {
      response.writeHead(fault?.kind === 'unhealthy' ? 503 : 200).end();
    } else if (
      request.method === 'GET' &&
      path === '/metrics' &&
      !(fault?.kind === 'gauges' && fault.are === 'absent')
    ) {
      response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4' }).end(metrics());
    } else if (request.method === 'GET' && path === '/v1/models') {
      const card = (id: string, parent: string | null) => ({
        id,
        object: 'model',
        created: 0,
        owned_by: 'vllm',
        root: id,
        parent,
        max_model_len: parent === null ? profile.maxModelLen : null,
      });
      const data = [
        ...models.map((model) => card(model, null)),
        ...adapters.names().map((name) => card(name, models[0] ?? '')),
      ];
      response
        .writeHead(200, { 'content-type': 'application/json' })
        .end(JSON.stringify({ object: 'list', data }));
    } else if (options.adapters !== undefined && request.method === 'POST' && path in ADAPTER_PATHS) {
      const what = ADAPTER_PATHS[path as keyof typeof ADAPTER_PATHS];
      changeAdapters(what, request, response).catch(() => response.destroy());
    } else if (request.method === 'POST' && SIMULATED_ROUTES.includes(path)) {
      serve(path as SimulatedRoute, request, response).catch(() => response.destroy());
    } else {
      response.writeHead(404, { 'content-type': 'application/json' }).end('{"detail":"Not Found"}');
    }
  });
  server.keepAliveTimeout = 60_000;
  const host = options.host ?? '127.0.0.1';
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      reject(
        error.code === 'EADDRINUSE'
          ? new Error(`${host}:${options.port ?? 0} is in use; choose another --port`)
          : new Error(`cannot listen on ${host}:${options.port ?? 0}: ${error.message}`),
      );
    });
    server.listen(options.port ?? 0, host, resolve);
  });
  const { port } = server.address() as AddressInfo;

  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${port}`,
    port,
    gauges: () => engine.gauges(),
    stats: () => ({ started, finished, aborted }),
    adapters: () => ({ loaded: adapters.names(), ...adapters.stats() }),
    requests: () => seen,
    setFault(next) {
      if (options.faults === true) fault = next;
    },
    close: () =>
      new Promise((resolve) => {
        closed = true;
        clearTimeout(stepTimer);
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
