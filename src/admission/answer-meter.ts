/** Reads what an answer says of itself, whatever its form: SSE or JSON, plain or compressed. */
import type { Mutable } from '../domain/mutable.ts';
import { meteredOf } from '../domain/routes.ts';
import { createBodyMeter } from '../openai/body-meter.ts';
import { createEncodedMeter } from '../openai/encoded-meter.ts';
import type { RequestFacts } from '../openai/parsed-request.ts';
import type { Amount, MeterResult, ResponseMeter } from '../openai/response-meter.ts';
import { createStreamMeter } from '../openai/stream-meter.ts';
import {
  type AnswerSeen,
  believe,
  type OddUsage,
  type TokenCounts,
  type UsageFacts,
  type UsageSource,
} from '../usage/believed-usage.ts';
import type { ResponseHead } from './edge.ts';

export interface AnswerReading {
  readonly usage: TokenCounts;
  /** `estimate`: of one half at least. `none`: nothing was computed. */
  readonly source: UsageSource | 'none';
  /** The half that is an estimate, where the other is the engine's own count. */
  readonly estimated?: 'prompt' | 'completion';
  /** What cannot be of what the engine reported. */
  readonly odd: readonly OddUsage[];
  /** Time of the first token, on the same clock as `push`. */
  readonly firstTokenMs?: number;
  /** Inter-token time; only with two tokens or more. */
  readonly itl?: { readonly meanMs: number; readonly maxMs: number };
  /** Part of the output, as the engine says; absent: it does not, or there was none. */
  readonly reasoningTokens?: number;
  /** What is counted beside tokens; absent: nothing, or the engine does not say. */
  readonly amount?: Amount;
  /** The engine reported an error inside a successful answer. */
  readonly errorFrame: boolean;
}

/** What stands in for what the engine does not say. */
export type UsageEstimate = Pick<TokenCounts, 'promptTokens' | 'completionTokens'>;

const NO_ANSWER: AnswerSeen = { events: 0, streamed: false, isFinal: false };
const NOTHING_USED: TokenCounts = { promptTokens: 0, completionTokens: 0, cachedTokens: 0 };
const NOTHING_ODD: readonly OddUsage[] = [];
const FREE: AnswerReading = { usage: NOTHING_USED, source: 'none', odd: NOTHING_ODD, errorFrame: false };

/** The engine may have read the prompt and more, and nothing of the answer was seen. */
export function unseenReading(facts: UsageFacts, estimate: UsageEstimate): AnswerReading {
  if (meteredOf(facts.route) === 'requests') return FREE;
  const { usage, odd } = believe(undefined, false, facts, NO_ANSWER, estimate);
  return { usage, source: 'estimate', odd, errorFrame: false };
}

/** Whether a successful answer is an error and nothing else. What an Anthropic stream begins with is no token. */
const isErrorAlone = ({ errorFrame, tokenEvents, usage, isUsageEarly }: MeterResult): boolean =>
  errorFrame && tokenEvents === 0 && (isUsageEarly === true || (usage?.completionTokens ?? 0) === 0);

/** Sound, images and subtitles say nothing of usage. */
const MAY_SAY_USAGE = /^$|json/;

function meterOf(
  request: RequestFacts,
  streamed: boolean,
  { contentType, contentEncoding }: ResponseHead,
): ResponseMeter {
  const isRead = meteredOf(request.route) !== 'reported' || MAY_SAY_USAGE.test(contentType);
  const inner = streamed
    ? createStreamMeter({ route: request.route, removeUsageChunk: request.stream && !request.wantsUsage })
    : createBodyMeter(request.route, isRead);
  return contentEncoding === '' || contentEncoding === 'identity'
    ? inner
    : createEncodedMeter(inner, contentEncoding);
}

export class AnswerMeter {
  private readonly meter: ResponseMeter;
  private readonly streamed: boolean;

  constructor(request: RequestFacts, head: ResponseHead) {
    this.streamed = head.contentType === 'text/event-stream';
    this.meter = meterOf(request, this.streamed, head);
  }

  /** Gives the bytes to send instead, or undefined to send the chunk as it came. */
  push(chunk: Uint8Array, endOfStream: boolean, nowMs: number): Uint8Array | undefined {
    const now = this.meter.push(chunk, nowMs);
    if (!endOfStream) return now;
    const rest = this.meter.end();
    if (rest === undefined || rest.length === 0) return now;
    return Buffer.concat([now ?? chunk, rest]);
  }

  /** Stream events with content so far; 0 for an answer in one piece. */
  tokens(): number {
    return this.meter.tokenEvents();
  }

  /** Bytes of text in those events; of an answer in one piece, all of it. */
  contentBytes(): number {
    return this.meter.contentBytes();
  }

  /** The engine has said that the answer is complete, even if the stream goes on. */
  finished(): boolean {
    return this.meter.finished();
  }

  /** What the answer took, as far as it has come. */
  reading(facts: UsageFacts, estimate: UsageEstimate): AnswerReading {
    const result = this.meter.result();
    const { firstTokenMs, itl, errorFrame, amount } = result;
    const reading = this.used(result, facts, estimate);
    if (this.streamed && firstTokenMs !== undefined) reading.firstTokenMs = firstTokenMs;
    if (itl.count > 0) reading.itl = { meanMs: itl.sumMs / itl.count, maxMs: itl.maxMs };
    if (amount !== undefined && !errorFrame) reading.amount = amount;
    const reasoningTokens = Math.min(result.usage?.reasoningTokens ?? 0, reading.usage.completionTokens);
    if (reasoningTokens > 0) reading.reasoningTokens = reasoningTokens;
    return reading;
  }

  private used(result: MeterResult, facts: UsageFacts, estimate: UsageEstimate): Mutable<AnswerReading> {
    const { errorFrame } = result;
    if (isErrorAlone(result) || meteredOf(facts.route) === 'requests')
      return { usage: NOTHING_USED, source: 'none', odd: NOTHING_ODD, errorFrame };
    const { usage: reported, isUsageEarly, oddUsage, tokenEvents } = result;
    const seen: AnswerSeen = { events: tokenEvents, streamed: this.streamed, isFinal: isUsageEarly !== true };
    const { usage, odd, promptSource, completionSource } = believe(
      reported,
      oddUsage === true,
      facts,
      seen,
      estimate,
    );
    if (promptSource === completionSource) return { usage, source: promptSource, odd, errorFrame };
    const estimated = promptSource === 'estimate' ? 'prompt' : 'completion';
    return { usage, source: 'estimate', odd, errorFrame, estimated };
  }
}
