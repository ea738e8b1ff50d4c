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
import { askText } from '../engine/http-probe.ts';

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

export interface AdapterMonitor {
  /** Answered by onLoaded or onFailed, if it is still wanted when its turn comes. */
  load(url: string, adapter: LoraAdapterConfig, evict: string | undefined): void;
  /** Asks soon what the endpoint has. */
  ask(url: string): void;
  stop(): void;
}

/** A list with more names is no engine's: the rest is not looked at. */
const MAX_LISTED = 4_096;
const MAX_NAME = 256;
const MAX_DETAIL = 200;
/** However often it is asked to: between two questions of one endpoint. */
const ASK_GAP_MS = 200;
const KNOWN_NOTHING = 'it is not known which engine it is, or the pool has several kinds';

type Call = ReturnType<NonNullable<EngineDriver['lora']['load']>>;
type Told =
  | { readonly kind: 'done' }
  /** The engine has no such page. */
  | { readonly kind: 'absent' }
  | { readonly kind: 'refused'; readonly detail: string };

const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** What an engine says of its failure, made safe for a log line. */
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

export function startAdapterMonitor(options: AdapterMonitorOptions): AdapterMonitor {
  const { endpoints, engineOf, times = DEFAULT_ADAPTER_TIMES } = options;
  const stopping = new AbortController();
  const { signal } = stopping;

  const tell = async (endpoint: EndpointConfig, call: Call, timeoutMs: number): Promise<Told> => {
    try {
      const { status, body } = await askText(endpoint, call.path, timeoutMs, call.json, signal);
      const said = saidBy(body);
      if (status >= 200 && status < 300 && !said.failed) return { kind: 'done' };
      // An adapter that is not found is a 404 too, with an error of the engine's.
      if ((status === 404 && !said.isError) || status === 405) return { kind: 'absent' };
      return { kind: 'refused', detail: `${status}${said.message === '' ? '' : `: ${said.message}`}` };
    } catch (error) {
      return { kind: 'refused', detail: reasonOf(error) };
    }
  };

  /** Undefined without an answer that is a list of models. */
  const list = async (
    endpoint: EndpointConfig,
    { lora }: EngineDriver,
  ): Promise<readonly string[] | undefined> => {
    try {
      const { status, body } = await askText(endpoint, '/v1/models', times.listTimeoutMs, undefined, signal);
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
  };

  const watch = (endpoint: EndpointConfig) => {
    /** What the engine has been told and asked, one after another. */
    let last: Promise<void> = Promise.resolve();
    /** Loads and unloads that are not done. */
    let pending = 0;
    let askedMs = Number.NEGATIVE_INFINITY;
    let isAsking = false;
    let soon: NodeJS.Timeout | undefined;
    const engine = (): EngineDriver | undefined => {
      const kind = engineOf(endpoint.url);
      return kind === undefined ? undefined : DRIVERS[kind];
    };

    const then = (job: () => Promise<void>): void => {
      // What a callback throws is a fault of the service, not of this endpoint's next job.
      last = last.then(() => (signal.aborted ? undefined : job())).catch(() => undefined);
    };
    const change = (job: () => Promise<void>): void => {
      pending += 1;
      then(async () => {
        try {
          await job();
        } finally {
          pending -= 1;
        }
      });
    };

    /** @returns why it is still there. */
    const unloadNow = async (adapter: string): Promise<string | undefined> => {
      const known = engine();
      const call = known?.lora.unload?.(adapter);
      if (known === undefined || call === undefined) return KNOWN_NOTHING;
      const told = await tell(endpoint, call, times.unloadTimeoutMs);
      if (told.kind !== 'done') {
        const listed = await list(endpoint, known);
        if (listed === undefined || listed.includes(adapter)) {
          return told.kind === 'absent' ? (known.lora.needs ?? 'it has no such page') : told.detail;
        }
      }
      if (!signal.aborted) options.onUnloaded(endpoint, adapter);
      return undefined;
    };

    /** @returns why it is not there. */
    const loadNow = async ({ name, path = '' }: LoraAdapterConfig): Promise<string | undefined> => {
      const known = engine();
      if (known === undefined) return KNOWN_NOTHING;
      const call = known.lora.load?.(name, path);
      if (call === undefined) return `${known.title} loads no adapters while it runs`;
      const told = await tell(endpoint, call, times.loadTimeoutMs);
      if (told.kind === 'done') return undefined;
      if (told.kind === 'absent') return known.lora.needs ?? 'it has no such page';
      return (await list(endpoint, known))?.includes(name) === true ? undefined : told.detail;
    };

    const unload = (adapter: string): void =>
      change(async () => {
        const detail = await unloadNow(adapter);
        if (detail !== undefined && !signal.aborted) options.onKept(endpoint, adapter, detail);
      });

    const listNow = (): void => {
      if (isAsking) return;
      isAsking = true;
      askedMs = performance.now();
      then(async () => {
        isAsking = false;
        const known = engine();
        if (known === undefined) return;
        const listed = await list(endpoint, known);
        // What has been decided meanwhile is newer than the answer.
        if (listed !== undefined && pending === 0 && !signal.aborted) options.onListed(endpoint, listed);
      });
    };

    return {
      endpoint,
      unload,
      listNow,
      load: (adapter: LoraAdapterConfig, evict: string | undefined): void =>
        change(async () => {
          if (!options.isWanted(endpoint.url, adapter.name)) return;
          const kept = evict === undefined ? undefined : await unloadNow(evict);
          if (signal.aborted) return;
          const detail =
            kept === undefined ? await loadNow(adapter) : `${evict} could not be unloaded for it: ${kept}`;
          if (signal.aborted) return;
          if (detail === undefined) options.onLoaded(endpoint, adapter.name);
          else {
            options.onFailed(endpoint, adapter.name, detail);
            // It may have what it was thought to have lost.
            listNow();
          }
        }),
      ask(): void {
        if (soon !== undefined) return;
        const waitMs = Math.max(0, askedMs + ASK_GAP_MS - performance.now());
        soon = setTimeout(() => {
          soon = undefined;
          listNow();
        }, waitMs).unref();
      },
      stop: () => clearTimeout(soon),
    };
  };

  const watched = new Map(endpoints.map((endpoint) => [endpoint.url, watch(endpoint)]));
  const timer = setInterval(() => {
    for (const { endpoint, adapter } of options.surplus()) watched.get(endpoint)?.unload(adapter);
    for (const one of watched.values()) one.listNow();
  }, times.listEveryMs).unref();

  return {
    load: (url, adapter, evict) => watched.get(url)?.load(adapter, evict),
    ask: (url) => watched.get(url)?.ask(),
    stop() {
      clearInterval(timer);
      for (const one of watched.values()) one.stop();
      stopping.abort();
    },
  };
}
