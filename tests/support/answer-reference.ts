/**
 * What an answer says of usage, by a reader that is plain and slow: it has the whole text, and lets JSON.parse read it.
 * What meters say is compared with it. The rule of docs/explanation/usage-shapes.md is written here a second time.
 */
import type { EngineRoute } from '../../src/domain/routes.ts';

export interface Said {
  readonly usage:
    | {
        readonly promptTokens: number;
        readonly completionTokens: number;
        readonly cachedTokens: number;
        readonly cacheCreationTokens?: number;
        readonly reasoningTokens?: number;
      }
    | undefined;
  readonly early: boolean;
  readonly odd: boolean;
  readonly error: boolean;
  readonly done: boolean;
  /** Events with content. */
  readonly tokens: number;
  /**
   * An event behind the first content has a choice, or is called a delta, but no text: half a character, or nothing. Meters
   * take it for a token, without a look at its text; so tokens, and what goes by them, are not known here.
   */
  readonly doubtful: boolean;
  /** Several choices have finished: their tokens are at least the events. */
  readonly several: boolean;
  /** Events that have only usage. */
  readonly usageOnly: number;
}

// oxlint-disable-next-line typescript/no-explicit-any -- it reads whatever comes, without a check of ours.
type Any = any;

const LARGEST = 2_147_483_647;
const isCount = (x: Any): boolean => Number.isInteger(x) && x >= 0 && x <= LARGEST;
const isRecord = (x: Any): boolean => typeof x === 'object' && x !== null && !Array.isArray(x);
const said = (x: Any): boolean => x !== undefined && x !== null;
const full = (x: Any): boolean =>
  typeof x === 'string' || Array.isArray(x) ? x.length > 0 : typeof x === 'object' && x !== null;
const get = (x: Any, ...path: string[]): Any =>
  path.reduce(
    (at: Any, key) => (isRecord(at) ? (Object.hasOwn(at, key) ? at[key] : undefined) : undefined),
    x,
  );

interface Counted {
  prompt: number;
  completion: number;
  cached: number;
  created: number;
  reasoning: number;
}

/** Of one event or body. */
function counted(event: Any): { counts?: Counted; odd: boolean } {
  const usage = get(event, 'usage') ?? get(event, 'response', 'usage') ?? get(event, 'message', 'usage');
  const timings = get(event, 'timings');
  if (!said(usage)) {
    const [n, cached, predicted] = [timings?.prompt_n, timings?.cache_n ?? 0, timings?.predicted_n];
    if (!isRecord(timings) || ![n, cached, predicted].every(isCount) || n + cached > LARGEST) {
      return { odd: isRecord(timings) && [n, cached, predicted].every(isCount) };
    }
    return {
      counts: { prompt: n + cached, completion: predicted, cached, created: 0, reasoning: 0 },
      odd: false,
    };
  }
  if (!isRecord(usage)) return { odd: true };
  let prompt: Any;
  let cached: Any;
  let reasoning: Any;
  let completion: Any;
  let created = 0;
  if (said(usage.prompt_tokens) || said(usage.completion_tokens)) {
    prompt = usage.prompt_tokens ?? 0;
    completion = usage.completion_tokens ?? 0;
    cached = get(usage, 'prompt_tokens_details', 'cached_tokens') ?? get(timings, 'cache_n') ?? 0;
    reasoning = get(usage, 'completion_tokens_details', 'reasoning_tokens') ?? usage.reasoning_tokens ?? 0;
  } else if (said(usage.input_tokens) || said(usage.output_tokens)) {
    const read = usage.cache_read_input_tokens ?? 0;
    created = usage.cache_creation_input_tokens ?? 0;
    const plain = usage.input_tokens ?? 0;
    if (![read, created, plain].every(isCount)) return { odd: true };
    prompt = plain + read + created;
    completion = usage.output_tokens ?? 0;
    cached = get(usage, 'input_tokens_details', 'cached_tokens') ?? read;
    reasoning = get(usage, 'output_tokens_details', 'reasoning_tokens') ?? 0;
  } else return { odd: Object.values(usage).some(said) };
  if (!isCount(prompt) || !isCount(completion)) return { odd: true };
  const choices = get(event, 'choices');
  const reported = completion;
  if (
    Array.isArray(choices) &&
    choices.length > 1 &&
    isRecord(timings) &&
    timings.predicted_n === completion
  ) {
    completion = Math.min(LARGEST, completion * choices.length);
  }
  return {
    counts: {
      prompt,
      completion,
      cached: isCount(cached) ? Math.min(cached, prompt) : 0,
      created,
      reasoning: isCount(reasoning) ? Math.min(reasoning, reported) : 0,
    },
    odd: !isCount(cached) || !isCount(reasoning),
  };
}

const larger = (a: Counted | undefined, b: Counted): Counted =>
  a === undefined
    ? b
    : {
        prompt: Math.max(a.prompt, b.prompt),
        completion: Math.max(a.completion, b.completion),
        cached: Math.max(a.cached, b.cached),
        created: Math.max(a.created, b.created),
        reasoning: Math.max(a.reasoning, b.reasoning),
      };

const summed = (all: readonly Counted[]): Counted | undefined =>
  all.length === 0
    ? undefined
    : {
        ...all.reduce((a, b) => larger(a, b)),
        completion: all.reduce((sum, one) => sum + one.completion, 0),
        reasoning: all.reduce((sum, one) => sum + one.reasoning, 0),
      };

function usageOfCounts(counts: Counted | undefined): Said['usage'] {
  return (
    counts && {
      promptTokens: counts.prompt,
      completionTokens: counts.completion,
      cachedTokens: counts.cached,
      ...(counts.created > 0 && { cacheCreationTokens: counts.created }),
      ...(counts.reasoning > 0 && { reasoningTokens: counts.reasoning }),
    }
  );
}

const isError = (event: Any): boolean =>
  said(get(event, 'error')) ||
  get(event, 'object') === 'error' ||
  ['error', 'response.failed'].includes(get(event, 'type'));

function parsed(text: string): Any {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const withoutBom = (bytes: Buffer): string => bytes.toString('utf8').replace(/^\uFEFF/, '');

export function bodySays(bytes: Buffer, route: EngineRoute): Said {
  const body = parsed(withoutBom(bytes));
  const nothing = {
    usage: undefined,
    early: false,
    odd: false,
    error: false,
    done: true,
    tokens: 0,
    doubtful: false,
    several: false,
    usageOnly: 0,
  };
  if (!isRecord(body)) return nothing;
  const { usage: written } = body;
  // Older engines say only the total of what writes nothing.
  const isTotalAlone =
    route === 'embeddings' && isRecord(written) && said(written.total_tokens) && !said(written.prompt_tokens);
  const { counts, odd } = counted(isTotalAlone ? { usage: { prompt_tokens: written.total_tokens } } : body);
  const usage = usageOfCounts(counts && route === 'embeddings' ? { ...counts, completion: 0 } : counts);
  return { ...nothing, usage, odd, error: isError(body) };
}

/** The texts of all events, in their order: the JSON of an event that is spread over lines as one. */
export function eventTexts(bytes: Buffer): { readonly texts: readonly string[]; readonly error: boolean } {
  const lines = withoutBom(bytes).split(/\r\n|\n|\r/);
  const texts: string[] = [];
  let event: string[] = [];
  let error = false;
  for (const line of [...lines, '']) {
    if (line.startsWith('error:') || /^event: ?error$/.test(line)) error = true;
    if (line === 'data' || line.startsWith('data:')) event.push(line.slice(5).replace(/^ /, ''));
    if (line !== '') continue;
    const joined = event.join('\n');
    if (parsed(joined) === undefined) texts.push(...event);
    else texts.push(joined);
    event = [];
  }
  return { texts, error };
}

export function streamSays(bytes: Buffer, route: EngineRoute): Said {
  const { texts, error: errorLine } = eventTexts(bytes);
  const isTyped = route === 'responses' || route === 'messages';
  let error = errorLine;
  let odd = false;
  let early = isTyped;
  let done = false;
  let tokens = 0;
  let tokensAtUsage = 0;
  let usageOnly = 0;
  let doubtful = false;
  let latest: Counted | undefined;
  const ofChoice = new Map<number, Counted>();
  const totals: Counted[] = [];
  const finished = new Set<number>();
  for (const text of texts) {
    if (text.trimEnd() === '[DONE]') done = true;
    const event = parsed(text);
    if (!isRecord(event)) continue;
    if (isError(event)) error = true;
    const report = counted(event);
    if (report.odd) odd = true;
    let has: boolean;
    if (isTyped) {
      const { type, delta } = event;
      if (report.counts !== undefined) {
        latest = larger(latest, report.counts);
        const usage = get(event, 'usage') ?? get(event, 'response', 'usage');
        const isFirst = [
          'message_start',
          'response.created',
          'response.queued',
          'response.in_progress',
        ].includes(type);
        if (!isFirst && said(get(usage, 'output_tokens') ?? get(usage, 'completion_tokens'))) early = false;
      }
      if (['message_stop', 'response.completed', 'response.incomplete'].includes(type)) done = true;
      has =
        type === 'content_block_delta'
          ? isRecord(delta) && deltaIsFull(delta)
          : typeof type === 'string' && type.endsWith('.delta') && full(delta);
    } else {
      const choices = Array.isArray(event.choices) ? event.choices : [];
      has = choices.some(
        (choice: Any) => full(get(choice, 'text')) || deltaIsFull(get(choice, 'delta') ?? {}),
      );
      for (const choice of choices) {
        const reason = get(choice, 'finish_reason');
        const index = get(choice, 'index');
        if (typeof reason === 'string' && reason !== '') finished.add(typeof index === 'number' ? index : 0);
      }
      if (report.counts !== undefined) {
        const index = get(choices[0], 'index');
        if (choices.length === 0) totals.push(report.counts);
        else ofChoice.set(typeof index === 'number' ? index : 0, report.counts);
      }
      const hasMore = [event.delta, event.message, event.text, event.content].some(full);
      const isNone = !said(event.choices) || (Array.isArray(event.choices) && event.choices.length === 0);
      if (isNone && isRecord(event.usage) && !isError(event) && !hasMore) usageOnly += 1;
    }
    const isDelta = isTyped
      ? String(event.type).endsWith('delta') && event.type !== 'message_delta'
      : event.choices?.length > 0;
    if (tokens > 0 && isDelta && !has) doubtful = true;
    if (has) tokens += 1;
    if (report.counts !== undefined) tokensAtUsage = tokens;
  }
  if (!isTyped) {
    const isOfEach = finished.size > 1 && totals.length === finished.size;
    latest = (isOfEach ? summed(totals) : totals.at(-1)) ?? summed([...ofChoice.values()]);
    // So far only: an engine that counts in each event has not said the last of them.
    if (totals.length === 0 && [...ofChoice.keys()].some((index) => !finished.has(index))) early = true;
    if (latest !== undefined && finished.size > 1) {
      latest = { ...latest, completion: Math.max(latest.completion, tokens) };
    }
    done ||= finished.size > 0;
  }
  const usage = usageOfCounts(latest);
  return {
    usage,
    early: usage !== undefined && (early || tokensAtUsage < tokens),
    odd,
    error,
    done,
    tokens,
    doubtful,
    several: finished.size > 1,
    usageOnly,
  };
}

const deltaIsFull = (delta: Any): boolean =>
  isRecord(delta) &&
  Object.entries(delta).some(([key, value]) => key !== 'role' && key !== 'type' && full(value));
