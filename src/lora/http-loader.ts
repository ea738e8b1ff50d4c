/**
 * Loads and unloads LoRA adapters, and asks engines which they have: one thing at a time for each endpoint, so that what an
 * engine lists is never older than what it was told last.
 *
 * An engine's own list decides: a load that was refused and is listed is loaded ("already loaded"), an unload that was refused
 * and is not listed is done.
 */
import type { EndpointConfig, LoraAdapterConfig } from '../config/config.ts';
import type { EngineKind } from '../domain/engine-kinds.ts';
import type { EngineDriver } from '../engine/driver.ts';
import { DRIVERS } from '../engine/drivers.ts';
import { Followed } from '../engine/followed.ts';
import { askText, whyNoAnswer } from '../engine/http-probe.ts';
import { refusalText } from '../engine/probe-problems.ts';

interface AdapterTimes {
  /** Between two questions of what an endpoint has. */
  readonly listEveryMs: number;
  readonly listTimeoutMs: number;
  readonly loadTimeoutMs: number;
  readonly unloadTimeoutMs: number;
}

const DEFAULT_ADAPTER_TIMES: AdapterTimes = {
  listEveryMs: 5_000,
  listTimeoutMs: 5_000,
  loadTimeoutMs: 60_000,
  unloadTimeoutMs: 15_000,
};

export interface AdapterMonitorOptions {
  readonly endpoints: readonly EndpointConfig[];
  /** Undefined: it is not known, or the endpoint is not healthy. */
  readonly engineOf: (url: string) => EngineKind | undefined;
  readonly times?: AdapterTimes;
  /** The load has not been given up since it was ordered: the engine may have been away. */
  readonly isWanted: (url: string, adapter: string) => boolean;
  readonly onListed: (endpoint: EndpointConfig, adapters: readonly string[]) => void;
  readonly onLoaded: (endpoint: EndpointConfig, adapter: string) => void;
  readonly onFailed: (endpoint: EndpointConfig, adapter: string, detail: string) => void;
  readonly onUnloaded: (endpoint: EndpointConfig, adapter: string) => void;
  /** What stays although it was to be unloaded. */
  readonly onKept: (endpoint: EndpointConfig, adapter: string, detail: string) => void;
  /** What is to be unloaded; asked at every question of what an endpoint has. */
  readonly surplus: () => readonly { readonly endpoint: string; readonly adapter: string }[];
}

/** A list with more names is no engine's: the rest is not looked at. */
const MAX_LISTED = 4_096;
const MAX_NAME = 256;
const MAX_DETAIL = 200;
/** However often it is asked to: between two questions of one endpoint. */
const ASK_GAP_MS = 200;
const UNKNOWN_ENGINE = 'it is not known which engine it is, or the pool has several kinds';
const NO_PAGE = 'it has no such page';

type Call = ReturnType<NonNullable<EngineDriver['lora']['load']>>;
type CallResult =
  | { readonly kind: 'done' }
  /** The engine has no such page. */
  | { readonly kind: 'absent' }
  | { readonly kind: 'refused'; readonly detail: string };

/** Gives what an engine says of its failure, made safe for a log line. */
function saidBy(body: string): {
  readonly message: string;
  readonly isError: boolean;
  readonly failed: boolean;
} {
  let json: unknown;
  try {
    json = JSON.parse(body);
  } catch {
    return { message: '', isError: false, failed: false };
  }
  if (typeof json !== 'object' || json === null) return { message: '', isError: false, failed: false };
  const { error, error_message: own, success } = json as Readonly<Record<string, unknown>>;
  const inner = typeof error === 'object' && error !== null ? error : {};
  const text = (inner as { readonly message?: unknown }).message ?? own;
  const message =
    typeof text === 'string' ? text.slice(0, 4 * MAX_DETAIL).replace(/[\p{C}\p{Zl}\p{Zp}]+/gu, ' ') : '';
  return {
    message: message.slice(0, MAX_DETAIL),
    isError: typeof text === 'string',
    failed: success === false,
  };
}

/** One endpoint: tells its engine one thing after another. */
class EndpointLoader {
  readonly endpoint: EndpointConfig;
  readonly #options: AdapterMonitorOptions;
  readonly #times: AdapterTimes;
  readonly #ending = new AbortController();
  readonly #stopping = this.#ending.signal;

  /** What the engine has been told and asked, one after another. */
  #jobs: Promise<void> = Promise.resolve();
  /** Loads and unloads that are not done. */
  #changes = 0;

  // Asking what it has.
  #isAsking = false;
  #askedMs = Number.NEGATIVE_INFINITY;
  #askTimer: NodeJS.Timeout | undefined;

  constructor(endpoint: EndpointConfig, options: AdapterMonitorOptions, times: AdapterTimes) {
    this.endpoint = endpoint;
    this.#options = options;
    this.#times = times;
  }

  load(adapter: LoraAdapterConfig, evict: string | undefined): void {
    this.#change(() => this.#evictAndLoad(adapter, evict));
  }

  unload(adapter: string): void {
    this.#change(async () => {
      const detail = await this.#unloadNow(adapter);
      if (detail !== undefined && !this.#stopping.aborted) {
        this.#options.onKept(this.endpoint, adapter, detail);
      }
    });
  }

  /** Asks what it has when its turn comes. */
  list(): void {
    if (this.#isAsking) return;
    this.#isAsking = true;
    this.#askedMs = performance.now();
    this.#then(async () => {
      this.#isAsking = false;
      const engine = this.#engine();
      if (engine === undefined) return;
      const listed = await this.#listNow(engine);
      // What has been decided meanwhile is newer than the answer.
      if (listed !== undefined && this.#changes === 0 && !this.#stopping.aborted) {
        this.#options.onListed(this.endpoint, listed);
      }
    });
  }

  /** Asks soon what it has, however often it is called. */
  listSoon(): void {
    if (this.#askTimer !== undefined) return;
    const waitMs = Math.max(0, this.#askedMs + ASK_GAP_MS - performance.now());
    this.#askTimer = setTimeout(() => {
      this.#askTimer = undefined;
      this.list();
    }, waitMs).unref();
  }

  stop(): void {
    clearTimeout(this.#askTimer);
    this.#ending.abort();
  }

  #engine(): EngineDriver | undefined {
    const kind = this.#options.engineOf(this.endpoint.url);
    return kind === undefined ? undefined : DRIVERS[kind];
  }

  #then(job: () => Promise<void>): void {
    // What a callback throws is a fault of the service, not of this endpoint's next job.
    this.#jobs = this.#jobs.then(() => (this.#stopping.aborted ? undefined : job())).catch(() => undefined);
  }

  #change(job: () => Promise<void>): void {
    this.#changes += 1;
    this.#then(async () => {
      try {
        await job();
      } finally {
        this.#changes -= 1;
      }
    });
  }

  async #evictAndLoad(adapter: LoraAdapterConfig, evict: string | undefined): Promise<void> {
    const { endpoint } = this;
    const options = this.#options;
    if (!options.isWanted(endpoint.url, adapter.name)) return;
    const kept = evict === undefined ? undefined : await this.#unloadNow(evict);
    if (this.#stopping.aborted) return;
    const detail =
      kept === undefined ? await this.#loadNow(adapter) : `${evict} could not be unloaded for it: ${kept}`;
    if (this.#stopping.aborted) return;
    if (detail === undefined) options.onLoaded(endpoint, adapter.name);
    else {
      options.onFailed(endpoint, adapter.name, detail);
      // It may have what it was thought to have lost.
      this.list();
    }
  }

  /** @returns why it is still there. */
  async #unloadNow(adapter: string): Promise<string | undefined> {
    const engine = this.#engine();
    const call = engine?.lora.unload?.(adapter);
    if (engine === undefined || call === undefined) return UNKNOWN_ENGINE;
    const result = await this.#call(call, this.#times.unloadTimeoutMs);
    if (result.kind !== 'done') {
      const listed = await this.#listNow(engine);
      if (listed === undefined || listed.includes(adapter)) {
        return result.kind === 'absent' ? (engine.lora.needs ?? NO_PAGE) : result.detail;
      }
    }
    if (!this.#stopping.aborted) this.#options.onUnloaded(this.endpoint, adapter);
    return undefined;
  }

  /** @returns why it is not there. */
  async #loadNow({ name, path = '' }: LoraAdapterConfig): Promise<string | undefined> {
    const engine = this.#engine();
    if (engine === undefined) return UNKNOWN_ENGINE;
    const call = engine.lora.load?.(name, path);
    if (call === undefined) return `${engine.title} loads no adapters while it runs`;
    const result = await this.#call(call, this.#times.loadTimeoutMs);
    if (result.kind === 'done') return undefined;
    if (result.kind === 'absent') return engine.lora.needs ?? NO_PAGE;
    return (await this.#listNow(engine))?.includes(name) === true ? undefined : result.detail;
  }

  async #call(call: Call, timeoutMs: number): Promise<CallResult> {
    try {
      const { status, body } = await askText(this.endpoint, call.path, timeoutMs, call.json, this.#stopping);
      const said = saidBy(body);
      if (status >= 200 && status < 300 && !said.failed) return { kind: 'done' };
      // An adapter that is not found is a 404 too, with an error of the engine's.
      if ((status === 404 && !said.isError) || status === 405) return { kind: 'absent' };
      const why = refusalText({ status, body }, call.path, this.endpoint);
      const detail = why ?? `${status}${said.message === '' ? '' : `: ${said.message}`}`;
      return { kind: 'refused', detail };
    } catch (error) {
      return { kind: 'refused', detail: await whyNoAnswer(error, this.endpoint) };
    }
  }

  /** Undefined without an answer that is a list of models. */
  async #listNow({ lora }: EngineDriver): Promise<readonly string[] | undefined> {
    const { listTimeoutMs } = this.#times;
    try {
      const asked = askText(this.endpoint, '/v1/models', listTimeoutMs, undefined, this.#stopping);
      const { status, body } = await asked;
      if (status !== 200) return undefined;
      const models: unknown = JSON.parse(body);
      if (!Array.isArray((models as { readonly data?: unknown } | null)?.data)) return undefined;
      return lora
        .listed(models)
        .slice(0, MAX_LISTED)
        .filter((name) => name.length <= MAX_NAME);
    } catch {
      return undefined;
    }
  }
}

export class AdapterMonitor {
  readonly #options: AdapterMonitorOptions;
  readonly #times: AdapterTimes;
  readonly #loaders = new Followed<EndpointLoader>();
  readonly #timer: NodeJS.Timeout;

  constructor(options: AdapterMonitorOptions) {
    const { endpoints, times = DEFAULT_ADAPTER_TIMES } = options;
    this.#options = options;
    this.#times = times;
    this.follow(endpoints);
    this.#timer = setInterval(() => {
      for (const { endpoint, adapter } of options.surplus()) this.#loaders.get(endpoint)?.unload(adapter);
      for (const loader of this.#loaders.jobs()) loader.list();
    }, times.listEveryMs).unref();
  }

  /** Its endpoints are others now; those that stay go on with what they were told. */
  follow(endpoints: readonly EndpointConfig[]): void {
    this.#loaders.follow(endpoints, (one) => new EndpointLoader(one, this.#options, this.#times));
  }

  /** Answered by onLoaded or onFailed, if it is still wanted when its turn comes. */
  load(url: string, adapter: LoraAdapterConfig, evict: string | undefined): void {
    this.#loaders.get(url)?.load(adapter, evict);
  }

  /** Asks soon what the endpoint has. */
  ask(url: string): void {
    this.#loaders.get(url)?.listSoon();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#loaders.stop();
  }
}

export const startAdapterMonitor = (options: AdapterMonitorOptions): AdapterMonitor =>
  new AdapterMonitor(options);
