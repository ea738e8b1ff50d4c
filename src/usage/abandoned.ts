/**
 * What a request has used whose end was not seen: its engine's own count never came. Pure arithmetic.
 *
 * Each source sees a part only. Events miss tokens that come several at once; bytes of text miss what is not shown
 * (reasoning, an answer in one piece); time misses nothing that an engine computed, and knows least exactly. The
 * largest counts; what is inferred is never more than the request could get, and events are what they are.
 */
/** No engine decodes faster. */
const FASTEST_MS = 2;

export interface Abandoned {
  /** Events with content. */
  readonly events: number;
  /** Tokens of the text that went by. */
  readonly contentTokens: number;
  /** From the engine getting it to its first event with content, or to now where none came. */
  readonly unseenMs: number;
  /** Of that, what reading the prompt was thought to take. */
  readonly prefillMs: number;
  /** From its first event to now, and to its last. */
  readonly seenMs: number;
  readonly streamedMs: number;
  /** Of one output, on its endpoint. */
  readonly msPerToken: number;
  /** Choices, each of which has its own next token. */
  readonly outputs: number;
  /** Most tokens of all outputs together. */
  readonly most: number;
}

/** A prompt may wait in its engine, or take longer than was thought: so many times that is no time of output yet. */
const PREFILL_PATIENCE = 2;
/** With fewer events a stream's own pace is not known. */
const LEAST_EVENTS = 8;

/** Output tokens: a whole number from `events` to the larger of those and `most`. */
export function abandonedTokens(seen: Abandoned): number {
  const { events, contentTokens, outputs, most } = seen;
  const msPerToken = Math.max(FASTEST_MS, seen.msPerToken);
  const hidden = Math.max(0, seen.unseenMs - PREFILL_PATIENCE * seen.prefillMs) / msPerToken;
  const own = events < LEAST_EVENTS ? msPerToken : (seen.streamedMs * outputs) / (events - 1);
  const shown = seen.seenMs / Math.max(FASTEST_MS, own);
  const computed = Math.floor(hidden + shown) * outputs;
  return Math.max(events, Math.floor(Math.min(Math.max(0, most), Math.max(contentTokens, computed))));
}

/** A stream without a cap on its output is thought to have at most so many times the tokens that are usual. */
const UNCAPPED_OUTPUT = 8;
/** And not fewer than this: what is usual may be next to nothing. */
const LEAST_UNCAPPED = 1_024;

/**
 * Most output tokens that a request is charged without its engine's own count.
 *
 * @param cap of all outputs together, where there is one. @param usual predicted for all of them.
 */
export const mostOutput = (cap: number | undefined, usual: number, outputs: number): number =>
  cap ?? Math.max(UNCAPPED_OUTPUT * usual, LEAST_UNCAPPED * outputs);

/** A figure of an endpoint: its bounds, and what it is while nothing is known of the engine. */
interface Scale {
  readonly initial: number;
  readonly least: number;
  readonly most: number;
}

/** What large models on one server need. */
const PER_TOKEN: Scale = { initial: 25, least: FASTEST_MS, most: 200 };
const PER_PROMPT_TOKEN: Scale = { initial: 0.25, least: 0.01, most: 2 };
/** A sample moves the figure by this part; up by less, so that clients who read slowly do not make hang-ups cheap. */
const STEP_DOWN = 0.06;
const STEP_UP = 0.02;
/** Below this a stream is too short to tell. */
const LEAST_TOKENS = 8;
/** A shorter prompt takes a step too. */
const LEAST_PROMPT_TOKENS = 64;

/** About the lower quarter of what samples show. None of them moves it by more than a step, whatever it says. */
function nextFigure(known: number | undefined, sample: number, { initial, least, most }: Scale): number {
  const shown = Math.min(most, Math.max(least, sample));
  if (known === undefined) return Math.sqrt(Math.min(shown, 4 * initial) * initial);
  return shown < known ? Math.max(shown, known * (1 - STEP_DOWN)) : Math.min(shown, known * (1 + STEP_UP));
}

/** How fast each endpoint writes and reads. By address. */
export class Paces {
  readonly #perToken = new Map<string, number>();
  readonly #perPromptToken = new Map<string, number>();

  msPerToken(address: string): number {
    return this.#perToken.get(address) ?? PER_TOKEN.initial;
  }

  /** @param tokens to compute before its first one, with those of others. */
  prefillMs(address: string, tokens: number): number {
    return (
      (this.#perPromptToken.get(address) ?? PER_PROMPT_TOKEN.initial) * Math.max(LEAST_PROMPT_TOKENS, tokens)
    );
  }

  /** @param ms from the first token of a stream to its last. @param tokens of one output in that time. */
  streamed(address: string, ms: number, tokens: number): void {
    if (!(tokens >= LEAST_TOKENS) || !(ms >= 0) || !Number.isFinite(ms + tokens)) return;
    this.#perToken.set(address, nextFigure(this.#perToken.get(address), ms / tokens, PER_TOKEN));
  }

  /** @param ms until the first token was seen. Those of engines that hide their reasoning are far too long. */
  firstToken(address: string, ms: number, tokens: number): void {
    if (!(ms >= 0) || !(tokens >= 0) || !Number.isFinite(ms + tokens)) return;
    const sample = ms / Math.max(LEAST_PROMPT_TOKENS, tokens);
    this.#perPromptToken.set(
      address,
      nextFigure(this.#perPromptToken.get(address), sample, PER_PROMPT_TOKEN),
    );
  }

  /** Endpoints that are not there any more are forgotten. */
  keep(addresses: ReadonlySet<string>): void {
    for (const figures of [this.#perToken, this.#perPromptToken]) {
      for (const address of figures.keys()) if (!addresses.has(address)) figures.delete(address);
    }
  }
}
