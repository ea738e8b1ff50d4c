/** The simulated engine as an HTTP server: `fairlane simulate`, the tests and the benchmarks. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { hostPortText } from '../domain/host-port.ts';
import { createEngine } from './engine.ts';
import { HttpAnswer } from './http-answer.ts';
import type { Fault } from './http-faults.ts';
import { type AdapterSettings, createSimulatedAdapters, type SimulatedAdapters } from './lora-adapters.ts';
import { readRequest, SIMULATED_ROUTES, type SimulatedRoute } from './openai-requests.ts';
import { isOtherRoute, otherAnswer } from './other-routes.ts';
import type { EngineProfile } from './profile.ts';
import type { Engine, EngineGauges } from './step.ts';
import { StoredResponses } from './stored-responses.ts';
import { metricsPage } from './vllm-metrics.ts';

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
  /** As `vllm serve --api-key`: what begins with /v1 wants it. Absent: nothing does. */
  readonly apiKey?: string;
  /** Before every path, for example `/llm`. Absent: none. */
  readonly prefix?: string;
  /** PEM. With `ca` a client must show a certificate of that authority. Absent: plain HTTP. */
  readonly tls?: { readonly cert: string; readonly key: string; readonly ca?: string };
  /** Honours setFault and remembers requests. */
  readonly faults?: boolean;
}

const MAX_BODY_BYTES = 32 * 1024 * 1024;
const REMEMBERED_REQUESTS = 100;
const ADAPTER_PATHS = { '/v1/load_lora_adapter': 'load', '/v1/unload_lora_adapter': 'unload' } as const;

async function readBody(request: IncomingMessage): Promise<string | undefined> {
  return (await readBytes(request))?.toString('utf8');
}

function readBytes(request: IncomingMessage): Promise<Buffer<ArrayBuffer> | undefined> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    let size = 0;
    request.on('data', (part: Buffer) => {
      size += part.length;
      if (size <= MAX_BODY_BYTES) parts.push(part);
    });
    request.on('end', () => resolve(size > MAX_BODY_BYTES ? undefined : Buffer.concat(parts)));
    request.on('error', reject);
  });
}

class HttpSimulator implements Simulator {
  readonly #options: SimulatorOptions;
  readonly #profile: EngineProfile;
  readonly #server: Server;
  /** Kept after the end: its address is where nobody answers then. */
  #port = 0;
  readonly #adapters: SimulatedAdapters;
  #fault: Fault | undefined;
  readonly #seen: SeenRequest[] = [];
  readonly #stored = new StoredResponses();

  // The engine, and the answers that it is making.
  readonly #engine: Engine;
  #stepTimer: NodeJS.Timeout | undefined;
  #isClosed = false;
  readonly #running = new Map<string, HttpAnswer>();
  #nextId = 1;

  // What it counts, and says.
  #started = 0;
  #finished = 0;
  #aborted = 0;
  readonly #tokens = { prompt: 0, generation: 0 };
  /**
   * As vLLM says it: at the end of its last planning. What arrived since then is not among those that wait.
   */
  #said: EngineGauges;

  constructor(options: SimulatorOptions) {
    const { profile } = options;
    this.#options = options;
    // What fits into no KV cache is refused as too long, not waited for.
    const maxModelLen = Math.min(profile.maxModelLen, profile.kvBlocks * profile.blockTokens);
    this.#profile = { ...profile, maxModelLen };
    this.#engine = createEngine(this.#profile);
    this.#said = this.#engine.gauges();
    this.#adapters = createSimulatedAdapters(options.adapters ?? { max: 0, loadMs: 0 }, options.models);
    const { tls } = options;
    const onRequest = (request: IncomingMessage, response: ServerResponse): void =>
      this.#onRequest(request, response);
    this.#server =
      tls === undefined
        ? createServer(onRequest)
        : createTlsServer({ ...tls, requestCert: tls.ca !== undefined }, onRequest);
    this.#server.keepAliveTimeout = 60_000;
  }

  get url(): string {
    const host = this.#host();
    const { tls, prefix = '' } = this.#options;
    const scheme = tls === undefined ? 'http' : 'https';
    return `${scheme}://${hostPortText({ host, port: this.#port })}${prefix}`;
  }

  get port(): number {
    return this.#port;
  }

  /** Rejects when the address is taken. */
  listen(): Promise<void> {
    const host = this.#host();
    const { port = 0 } = this.#options;
    return new Promise((resolve, reject) => {
      this.#server.once('error', (error: NodeJS.ErrnoException) => {
        reject(
          error.code === 'EADDRINUSE'
            ? new Error(`${host}:${port} is in use; choose another --port`)
            : new Error(`cannot listen on ${host}:${port}: ${error.message}`),
        );
      });
      this.#server.listen(port, host, () => {
        this.#port = (this.#server.address() as AddressInfo).port;
        resolve();
      });
    });
  }

  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#isClosed = true;
      clearTimeout(this.#stepTimer);
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }

  setFault(fault: Fault | undefined): void {
    if (this.#options.faults === true) this.#fault = fault;
  }

  gauges(): EngineGauges {
    return this.#engine.gauges();
  }

  stats(): ReturnType<Simulator['stats']> {
    return { started: this.#started, finished: this.#finished, aborted: this.#aborted };
  }

  adapters(): ReturnType<Simulator['adapters']> {
    return { loaded: this.#adapters.names(), ...this.#adapters.stats() };
  }

  requests(): readonly SeenRequest[] {
    return this.#seen;
  }

  #host(): string {
    return this.#options.host ?? '127.0.0.1';
  }

  #onRequest(request: IncomingMessage, response: ServerResponse): void {
    const { prefix = '', apiKey } = this.#options;
    const whole = request.url?.split('?', 1)[0] ?? '';
    const path = whole.startsWith(prefix) ? whole.slice(prefix.length) : '';
    const isLetIn = apiKey === undefined || request.headers.authorization === `Bearer ${apiKey}`;
    if (path.startsWith('/v1') && !isLetIn) {
      response.writeHead(401, { 'content-type': 'application/json' }).end('{"error":"Unauthorized"}');
      return;
    }
    const requestId = request.headers['x-request-id'];
    if (typeof requestId === 'string') response.setHeader('x-request-id', requestId);
    if (request.method === 'GET' && this.#answerGet(path, response)) return;
    if (request.method === 'POST' && this.#options.adapters !== undefined && path in ADAPTER_PATHS) {
      const what = ADAPTER_PATHS[path as keyof typeof ADAPTER_PATHS];
      this.#changeAdapters(what, request, response).catch(() => response.destroy());
    } else if (request.method === 'POST' && SIMULATED_ROUTES.includes(path)) {
      this.#serve(path as SimulatedRoute, request, response).catch(() => response.destroy());
    } else if (request.method === 'POST' && isOtherRoute(path)) {
      this.#answerOther(path, request, response).catch(() => response.destroy());
    } else if (this.#answerStored(path, request, response)) {
      request.resume();
    } else {
      response.writeHead(404, { 'content-type': 'application/json' }).end('{"detail":"Not Found"}');
    }
  }

  async #answerOther(path: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const bytes = (await readBytes(request)) ?? Buffer.alloc(0);
    const fault = this.#fault;
    this.#remember(path, request, bytes.toString('latin1'));
    if (fault?.kind === 'hang') return;
    const models = [...this.#options.models, ...this.#adapters.names()];
    const { status, type, body } =
      fault?.kind === 'status'
        ? { status: fault.status, type: 'application/json', body: fault.body ?? '{}' }
        : await otherAnswer(path, request.headers['content-type'] ?? '', bytes, models);
    response.writeHead(status, { 'content-type': type }).end(body);
  }

  /** @returns false for what asks for no stored response. */
  #answerStored(path: string, request: IncomingMessage, response: ServerResponse): boolean {
    const answer = this.#stored.answer(request.method ?? '', path);
    if (answer === undefined) return false;
    const fault = this.#fault;
    this.#remember(path, request, undefined);
    const { status, body = '{}' } = fault?.kind === 'status' ? fault : answer;
    if (fault?.kind !== 'hang') response.writeHead(status, { 'content-type': 'application/json' }).end(body);
    return true;
  }

  /** @returns false for a path that is not there. */
  #answerGet(path: string, response: ServerResponse): boolean {
    const fault = this.#fault;
    const gauges = fault?.kind === 'gauges' ? fault.are : undefined;
    if (path === '/health') {
      response.writeHead(fault?.kind === 'unhealthy' ? 503 : 200).end();
    } else if (path === '/metrics' && gauges !== 'absent') {
      const said = gauges === 'zero' ? { ...this.#said, running: 0, waiting: 0, kvUsage: 0 } : this.#said;
      const page = metricsPage(this.#options.models[0] ?? '', said, this.#tokens, this.#profile);
      response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4' }).end(page);
    } else if (path === '/v1/models') {
      const list = JSON.stringify({ object: 'list', data: this.#modelCards() });
      response.writeHead(200, { 'content-type': 'application/json' }).end(list);
    } else return false;
    return true;
  }

  /** Models, then adapters, whose parent is the first model. */
  #modelCards(): readonly object[] {
    const { models } = this.#options;
    const card = (id: string, parent: string | null): object => ({
      id,
      object: 'model',
      created: 0,
      owned_by: 'vllm',
      root: id,
      parent,
      max_model_len: parent === null ? this.#profile.maxModelLen : null,
    });
    return [
      ...models.map((model) => card(model, null)),
      ...this.#adapters.names().map((name) => card(name, models[0] ?? '')),
    ];
  }

  async #serve(route: SimulatedRoute, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const text = await readBody(request);
    const fault = this.#fault;
    this.#remember(route, request, text);
    const json = (status: number, body: string, headers: Readonly<Record<string, string>> = {}): void => {
      response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(body);
    };
    if (text === undefined) {
      return json(413, '{"error":{"message":"too large","type":"BadRequestError","code":413}}');
    }
    if (fault?.kind === 'hang') return undefined;
    if (fault?.kind === 'status') return json(fault.status, fault.body ?? '{}', fault.headers);
    if (fault?.kind === 'garbage') {
      return void response.writeHead(200).end('\u0000<garbage>{"usage":{"prompt_tokens":"many"}');
    }
    if (fault?.kind === 'slow-headers') await new Promise((resolve) => setTimeout(resolve, fault.ms));
    const models = [...this.#options.models, ...this.#adapters.names()];
    const read = readRequest(route, text, this.#profile, models, (id) => this.#stored.conversation(id));
    if (read.kind === 'error') return json(read.status, read.body);
    const answer = new HttpAnswer(String(this.#nextId), read.job, response, fault);
    this.#nextId += 1;
    this.#start(answer, response);
    return undefined;
  }

  /** With `faults: true` only. */
  #remember(path: string, { headers }: IncomingMessage, text: string | undefined): void {
    if (this.#options.faults !== true) return;
    let body: unknown = text;
    try {
      body = JSON.parse(text ?? '');
    } catch {
      // Remembered as it came.
    }
    this.#seen.push({ path, headers, body });
    if (this.#seen.length > REMEMBERED_REQUESTS) this.#seen.shift();
  }

  /** Gives an answer's sequences to the engine. A client that goes away aborts them. */
  #start(answer: HttpAnswer, response: ServerResponse): void {
    const { id, job } = answer;
    this.#running.set(id, answer);
    this.#started += 1;
    this.#tokens.prompt += job.promptTokens;
    response.on('close', () => {
      if (!this.#running.delete(id)) return;
      this.#aborted += 1;
      for (let choice = 0; choice < job.choices; choice += 1) this.#engine.abort(`${id}/${choice}`);
    });
    if (response.destroyed) {
      this.#running.delete(id);
      this.#aborted += 1;
      return;
    }
    answer.begin();
    for (let choice = 0; choice < job.choices; choice += 1) {
      this.#engine.add({
        id: `${id}/${choice}`,
        prefixHashes: job.prefixHashes,
        promptTokens: job.promptTokens,
        outputTokens: job.outputTokens,
        priority: job.priority,
      });
    }
    if (this.#stepTimer === undefined) this.#step();
  }

  /** One step after another. A step that the machine ran late is late: nothing is made up for. */
  #step(): void {
    this.#stepTimer = undefined;
    if (this.#isClosed) return;
    const plan = this.#engine.planStep();
    const areFrozen = this.#fault?.kind === 'gauges' && this.#fault.are === 'frozen';
    if (!areFrozen) this.#said = this.#engine.gauges();
    if (plan === undefined) return;
    this.#stepTimer = setTimeout(() => {
      for (const event of this.#engine.finishStep()) {
        this.#onToken(event.id, event.index, event.last, event.cachedTokens);
      }
      this.#step();
    }, plan.durationMs);
  }

  #onToken(sequence: string, index: number, last: boolean, cachedTokens: number): void {
    const [id = '', choice = '0'] = sequence.split('/');
    const answer = this.#running.get(id);
    if (answer === undefined) return;
    this.#tokens.generation += 1;
    if (!answer.token(Number(choice), index, last, cachedTokens)) return;
    this.#running.delete(id);
    this.#finished += 1;
    this.#stored.keep(id, answer.job, answer.createdS, answer.cachedTokens);
    answer.end();
  }

  async #changeAdapters(
    what: 'load' | 'unload',
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const text = (await readBody(request)) ?? '';
    const { status, body, afterMs, apply } =
      what === 'load' ? this.#adapters.load(text) : this.#adapters.unload(text);
    if (afterMs > 0) await new Promise((resolve) => setTimeout(resolve, afterMs));
    apply?.();
    response.writeHead(status, { ...(status !== 200 && { 'content-type': 'application/json' }) }).end(body);
  }
}

/** Starts an engine. Rejects when the address is taken. */
export async function startSimulator(options: SimulatorOptions): Promise<Simulator> {
  const simulator = new HttpSimulator(options);
  await simulator.listen();
  return simulator;
}
