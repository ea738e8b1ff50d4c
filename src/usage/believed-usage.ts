/**
 * What is believed of the usage that an engine reports: the rule, for every answer of every API. Pure arithmetic.
 *
 * A report is believed when it is possible, each half for itself: the prompt by what was sent, the output by what was
 * allowed and seen. The other half is estimated, and it is said what was odd. Nothing is learned from such an answer.
 * docs/reference/metering.md has the table for users.
 */
import { type EngineRoute, meteredOf } from '../domain/routes.ts';

export interface TokenCounts {
  /** Whole prompt, cached part included. */
  readonly promptTokens: number;
  readonly completionTokens: number;
  readonly cachedTokens: number;
}

/** What can be odd of a report. Labels of a metric. */
export const ODD_USAGE = [
  'not-a-number',
  'zero-prompt',
  'prompt-too-large',
  'cached-too-large',
  'zero-completion',
  'completion-too-small',
  'completion-too-large',
] as const;
export type OddUsage = (typeof ODD_USAGE)[number];

/** What is known of a request without its engine. */
export interface UsageFacts {
  readonly route: EngineRoute;
  /** Of the whole body: what stands around the text of a message is about what a template puts there. */
  readonly bodyBytes: number;
  /** Of what becomes prompt, media by their price. */
  readonly promptBytes: number;
  readonly hasMedia: boolean;
  /** Tokens of a stored conversation that it goes on with; `unknown`: it may, with any. */
  readonly storedTokens: number | 'unknown';
  /** Choices times prompts. */
  readonly outputs: number;
  /** Texts that are computed each with another one; absent: it has none. */
  readonly pairs?: number;
  /** Most tokens of all outputs together; undefined: no cap. */
  readonly outputLimit: number | undefined;
  /** A cap of nothing may have been asked for, of an engine that gives a token all the same, or none. */
  readonly mayBeEmpty?: boolean;
  /** What the engine says that a prompt and an output have room for, together; undefined: it does not say. */
  readonly contextTokens: number | undefined;
}

export interface AnswerSeen {
  /** Stream events with content; 0 for an answer in one piece. */
  readonly events: number;
  readonly streamed: boolean;
  /** The report is that of the whole answer: it came to its end, and the report after what it counts. */
  readonly isFinal: boolean;
}

export type UsageSource = 'engine' | 'estimate';

export interface BelievedUsage {
  readonly usage: TokenCounts;
  readonly promptSource: UsageSource;
  readonly completionSource: UsageSource;
  readonly odd: readonly OddUsage[];
}

/** No request is larger, whoever says so. */
export const MAX_TOKENS = 1e7;
/** A byte is one token at most. Templates, tools' descriptions and defaults come with it: so many tokens more. */
export const TEMPLATE_TOKENS = 2_048;
/** A medium may take so many times its price, in tokens: prompt bytes are four a token. */
const MEDIA_SLACK = 4;
/** Engines stop at the cap, or a step after it, each output by itself. */
const CAP_SLACK = 16;
/** A token may come in several events (tool calls); in more than these it cannot. */
const EVENTS_PER_TOKEN = 8;

const NO_ODDITY: readonly OddUsage[] = [];

const withOddity = (odd: readonly OddUsage[], more: OddUsage): readonly OddUsage[] =>
  odd.includes(more) ? odd : [...odd, more];

/** Only a list of texts or prompts, or a file that engines take in pieces, is more than one prompt. */
const promptsOf = ({ route, outputs, bodyBytes }: UsageFacts): number => {
  if (meteredOf(route) !== 'tokens') return bodyBytes;
  return route === 'completions' ? outputs : 1;
};

/** Most prompt tokens that a request can have. */
export function mostPrompt(facts: UsageFacts): number {
  const { bodyBytes, promptBytes, hasMedia, storedTokens, contextTokens, pairs = 1 } = facts;
  // What stands in several pairs is sent once.
  const plain = pairs > 1 ? Math.max(bodyBytes, promptBytes) : bodyBytes;
  const sent = hasMedia ? Math.min(plain + promptBytes, MEDIA_SLACK * promptBytes) : plain;
  const stored = storedTokens === 'unknown' ? MAX_TOKENS : storedTokens;
  const room = contextTokens === undefined ? MAX_TOKENS : contextTokens * promptsOf(facts);
  return Math.min(sent + TEMPLATE_TOKENS * pairs + stored, room, MAX_TOKENS);
}

/** Most tokens that may be reported of outputs with a cap. @param cap of all of them together. */
export const mostOfCap = (cap: number, outputs = 1): number => cap + CAP_SLACK + outputs - 1;

/** Most tokens of all outputs of a request together. */
export function mostCompletion({ route, outputs, outputLimit, contextTokens }: UsageFacts): number {
  const metered = meteredOf(route);
  if (metered === 'prompt' || metered === 'requests') return 0;
  const room = contextTokens === undefined ? MAX_TOKENS : Math.min(MAX_TOKENS, contextTokens * outputs);
  return outputLimit === undefined || metered === 'reported'
    ? room
    : Math.min(mostOfCap(outputLimit, outputs), room);
}

const isCount = (tokens: number): boolean => Number.isInteger(tokens) && tokens >= 0;

function oddPrompt({ promptTokens, cachedTokens }: TokenCounts, facts: UsageFacts): OddUsage | undefined {
  if (!isCount(promptTokens) || !isCount(cachedTokens)) return 'not-a-number';
  if (promptTokens > mostPrompt(facts)) return 'prompt-too-large';
  return promptTokens === 0 && facts.promptBytes > 0 ? 'zero-prompt' : undefined;
}

function oddCompletion(tokens: number, facts: UsageFacts, seen: AnswerSeen): OddUsage | undefined {
  if (!isCount(tokens)) return 'not-a-number';
  if (tokens > mostCompletion(facts)) return 'completion-too-large';
  if (!seen.isFinal || meteredOf(facts.route) !== 'tokens') return undefined;
  if (tokens === 0) {
    // In one piece nobody sees how much it is, but an engine that answers has computed a token: the last.
    const isEmpty = seen.streamed ? seen.events === 0 : facts.outputLimit === 0 || facts.mayBeEmpty === true;
    return isEmpty ? undefined : 'zero-completion';
  }
  return seen.events > EVENTS_PER_TOKEN * tokens ? 'completion-too-small' : undefined;
}

/**
 * What an answer has used.
 *
 * @param reported undefined: nothing. @param hasNonsense numbers that are none were reported.
 * @param estimate of what is not believed; its output is no less than the events that were seen.
 */
export function believe(
  reported: TokenCounts | undefined,
  hasNonsense: boolean,
  facts: UsageFacts,
  seen: AnswerSeen,
  estimate: Pick<TokenCounts, 'promptTokens' | 'completionTokens'>,
): BelievedUsage {
  const ofPrompt = reported && oddPrompt(reported, facts);
  const ofCompletion = reported && oddCompletion(reported.completionTokens, facts, seen);
  const isPromptBelieved = reported !== undefined && ofPrompt === undefined;
  const isCompletionPossible = reported !== undefined && ofCompletion === undefined;
  const isCompletionBelieved = isCompletionPossible && seen.isFinal;

  const promptTokens = isPromptBelieved
    ? reported.promptTokens
    : Math.min(estimate.promptTokens, mostPrompt(facts));
  // The last token of a prompt is computed, whatever is cached of it.
  const mostCached = Math.max(0, promptTokens - 1);
  const cachedTokens = isPromptBelieved ? Math.min(reported.cachedTokens, mostCached) : 0;
  const isCachedOdd = isPromptBelieved && reported.cachedTokens > mostCached;

  // What the client got was computed, whatever was allowed.
  const most = Math.max(mostCompletion(facts), meteredOf(facts.route) === 'prompt' ? 0 : seen.events);
  const estimated = Math.min(estimate.completionTokens, most);
  const counted = isCompletionPossible ? reported.completionTokens : 0;
  const completionTokens = isCompletionBelieved ? counted : Math.max(counted, estimated);

  let odd = NO_ODDITY;
  if (hasNonsense) odd = withOddity(odd, 'not-a-number');
  if (ofPrompt !== undefined) odd = withOddity(odd, ofPrompt);
  if (isCachedOdd) odd = withOddity(odd, 'cached-too-large');
  if (ofCompletion !== undefined) odd = withOddity(odd, ofCompletion);
  return {
    usage: { promptTokens, completionTokens, cachedTokens },
    promptSource: isPromptBelieved ? 'engine' : 'estimate',
    completionSource: isCompletionBelieved ? 'engine' : 'estimate',
    odd,
  };
}
