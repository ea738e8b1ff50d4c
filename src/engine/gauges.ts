/**
 * What an engine says of itself in Prometheus text: requests in its batch and in its queue, the KV cache, its size. Names
 * are matched exactly: one engine's name is the beginning of another's.
 */
import type { Gauges } from '../queue/window.ts';

export type EngineKind = 'vllm' | 'sglang' | 'llamacpp' | 'tgi' | 'trtllm';

export interface EngineReport {
  readonly kind: EngineKind;
  readonly gauges: Gauges;
  /** Tokens that the KV cache holds, if it says. */
  readonly kvCapacityTokens: number | undefined;
}

export type GaugesResult =
  | { readonly kind: 'report'; readonly report: EngineReport }
  /** Why nothing can be made of it. */
  | { readonly kind: 'unusable'; readonly detail: string };

interface Names {
  readonly running: string;
  readonly waiting: string;
  /** The first that is there. */
  readonly kvUsage: readonly string[];
}

const ENGINES: Readonly<Record<EngineKind, Names>> = {
  vllm: {
    running: 'vllm:num_requests_running',
    waiting: 'vllm:num_requests_waiting',
    kvUsage: ['vllm:kv_cache_usage_perc', 'vllm:gpu_cache_usage_perc'],
  },
  sglang: {
    running: 'sglang:num_running_reqs',
    waiting: 'sglang:num_queue_reqs',
    kvUsage: ['sglang:token_usage'],
  },
  llamacpp: {
    running: 'llamacpp:requests_processing',
    waiting: 'llamacpp:requests_deferred',
    kvUsage: ['llamacpp:kv_cache_usage_ratio'],
  },
  tgi: { running: 'tgi_batch_current_size', waiting: 'tgi_queue_size', kvUsage: [] },
  trtllm: {
    running: 'trtllm_num_requests_running',
    waiting: 'trtllm_num_requests_waiting',
    kvUsage: ['trtllm_kv_cache_utilization'],
  },
};

const MAX_REQUESTS = 1_000_000;
const MAX_KV_TOKENS = 1e12;

interface Sample {
  readonly labels: string;
  readonly value: number;
}

/** `name{labels} value [timestamp]` → its parts; undefined for anything else. */
function readLine(line: string): (Sample & { readonly name: string }) | undefined {
  const match = /^([A-Za-z_:][A-Za-z0-9_:]*)(?:\{(.*)\})?[ \t]+(\S+)(?:[ \t]+-?\d+)?[ \t\r]*$/.exec(line);
  if (match === null) return undefined;
  const [, name = '', labels = '', text = ''] = match;
  return { name, labels, value: Number(text) };
}

const labelOf = (labels: string, name: string): string | undefined =>
  new RegExp(`(?:^|,)\\s*${name}="([^"\\\\]*)"`).exec(labels)?.[1];

/** SGLang with priority scheduling has a total and a series for each priority. */
const isPartOfTotal = (labels: string): boolean => (labelOf(labels, 'priority') ?? '') !== '';

const WANTED: ReadonlySet<string> = new Set([
  ...Object.values(ENGINES).flatMap(({ running, waiting, kvUsage }) => [running, waiting, ...kvUsage]),
  'vllm:cache_config_info',
  'sglang:cache_config_info',
  'sglang:max_total_num_tokens',
]);

/** Samples of the wanted names. A line of another name costs a look at its beginning. */
function collect(text: string): ReadonlyMap<string, readonly Sample[]> {
  const found = new Map<string, Sample[]>();
  for (let from = 0; from < text.length; ) {
    const newline = text.indexOf('\n', from);
    const end = newline < 0 ? text.length : newline;
    let nameEnd = from;
    while (nameEnd < end && !' {\t'.includes(text[nameEnd] ?? ' ')) nameEnd += 1;
    if (WANTED.has(text.slice(from, nameEnd))) {
      const sample = readLine(text.slice(from, end));
      if (sample !== undefined && !isPartOfTotal(sample.labels)) {
        const list = found.get(sample.name);
        if (list === undefined) found.set(sample.name, [sample]);
        else list.push(sample);
      }
    }
    from = end + 1;
  }
  return found;
}

/** Several series are several cores behind one endpoint: their requests add up. */
const sumOf = (samples: readonly Sample[]): number => samples.reduce((sum, { value }) => sum + value, 0);

const isCount = (value: number): boolean => Number.isInteger(value) && value >= 0 && value <= MAX_REQUESTS;

function capacityOf(samples: ReadonlyMap<string, readonly Sample[]>): number | undefined {
  const product = (name: string, size: string, count: string): number | undefined => {
    const list = samples.get(name);
    if (list === undefined) return undefined;
    return list.reduce(
      (sum, { labels }) => sum + Number(labelOf(labels, size)) * Number(labelOf(labels, count)),
      0,
    );
  };
  const total = samples.get('sglang:max_total_num_tokens');
  const tokens =
    product('vllm:cache_config_info', 'block_size', 'num_gpu_blocks') ??
    product('sglang:cache_config_info', 'page_size', 'num_pages') ??
    (total === undefined ? undefined : sumOf(total));
  return tokens !== undefined && tokens >= 1 && tokens <= MAX_KV_TOKENS ? tokens : undefined;
}

export function readGauges(text: string): GaugesResult {
  const samples = collect(text);
  for (const [kind, names] of Object.entries(ENGINES) as [EngineKind, Names][]) {
    const running = samples.get(names.running);
    const waiting = samples.get(names.waiting);
    if (running === undefined && waiting === undefined) continue;
    if (running === undefined || waiting === undefined) {
      const missing = running === undefined ? names.running : names.waiting;
      return { kind: 'unusable', detail: `${missing} is missing` };
    }
    const counts = { running: sumOf(running), waiting: sumOf(waiting) };
    for (const [name, value] of [
      [names.running, counts.running],
      [names.waiting, counts.waiting],
    ] as const) {
      if (!isCount(value)) return { kind: 'unusable', detail: `${name} is ${value}, no number of requests` };
    }
    const usage = names.kvUsage.map((name) => samples.get(name)).find((list) => list !== undefined);
    const kvUsage = usage === undefined ? Number.NaN : Math.max(...usage.map(({ value }) => value));
    return {
      kind: 'report',
      report: {
        kind,
        gauges: { ...counts, ...(kvUsage >= 0 && kvUsage <= 1 && { kvUsage }) },
        kvCapacityTokens: capacityOf(samples),
      },
    };
  }
  return {
    kind: 'unusable',
    detail: 'no metrics of a known engine (vLLM, SGLang, llama.cpp, TGI, TensorRT-LLM)',
  };
}
