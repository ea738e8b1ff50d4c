/** Reads what an answer says of itself, whatever its form: SSE or JSON, plain or compressed. */
import { createBodyMeter } from '../openai/body-meter.ts';
import { createEncodedMeter } from '../openai/encoded-meter.ts';
import type { RequestFacts } from '../openai/request.ts';
import type { ResponseMeter } from '../openai/response-meter.ts';
import { createStreamMeter } from '../openai/stream-meter.ts';
import type { Usage } from '../openai/usage.ts';
import { isPossibleOutput } from '../usage/predictor.ts';
import type { ResponseHead } from './edge.ts';

export interface AnswerReading {
  readonly usage: Usage;
  readonly source: 'engine' | 'estimate';
  /** Time of the first token, on the same clock as `push`. */
  readonly firstTokenMs?: number;
  /** Inter-token time; only with two tokens or more. */
  readonly itl?: { readonly meanMs: number; readonly maxMs: number };
  /** The engine reported an error inside a successful answer. */
  readonly errorFrame: boolean;
}

/** The engine may have read the prompt and more, and nothing of the answer was seen. */
export function unseenReading(predictedPromptTokens: number, estimatedOutput: number): AnswerReading {
  return {
    usage: { promptTokens: predictedPromptTokens, completionTokens: estimatedOutput, cachedTokens: 0 },
    source: 'estimate',
    errorFrame: false,
  };
}

function meterOf(request: RequestFacts, streamed: boolean, contentEncoding: string): ResponseMeter {
  const inner = streamed
    ? createStreamMeter({ route: request.route, removeUsageChunk: request.stream && !request.wantsUsage })
    : createBodyMeter(request.route);
  return contentEncoding === '' || contentEncoding === 'identity'
    ? inner
    : createEncodedMeter(inner, contentEncoding);
}

export class AnswerMeter {
  private readonly meter: ResponseMeter;
  private readonly streamed: boolean;

  constructor(request: RequestFacts, { contentType, contentEncoding }: ResponseHead) {
    this.streamed = contentType === 'text/event-stream';
    this.meter = meterOf(request, this.streamed, contentEncoding);
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

  /**
   * What the answer took. The parameters stand in while the engine has not reported usage.
   *
   * @param outputLimit of all outputs: an engine's count of more than the request could get is none.
   */
  reading(
    predictedPromptTokens: number,
    estimatedOutput: number,
    outputLimit: number | undefined,
  ): AnswerReading {
    const { usage: reported, isUsageEarly, firstTokenMs, itl, errorFrame } = this.meter.result();
    const isWhole = reported !== undefined && isUsageEarly !== true;
    const usage = isWhole
      ? reported
      : {
          promptTokens: reported?.promptTokens ?? predictedPromptTokens,
          completionTokens: Math.max(reported?.completionTokens ?? 0, estimatedOutput),
          cachedTokens: reported?.cachedTokens ?? 0,
        };
    const isPossible = isPossibleOutput(usage.completionTokens, outputLimit);
    return {
      usage: isPossible ? usage : this.bounded(usage, outputLimit),
      source: isWhole && isPossible ? 'engine' : 'estimate',
      ...(this.streamed && firstTokenMs !== undefined && { firstTokenMs }),
      ...(itl.count > 0 && { itl: { meanMs: itl.sumMs / itl.count, maxMs: itl.maxMs } }),
      errorFrame,
    };
  }

  private bounded(usage: Usage, outputLimit: number | undefined): Usage {
    const seen = Math.max(outputLimit ?? 0, this.tokens());
    return { ...usage, completionTokens: Math.min(usage.completionTokens, seen) };
  }
}
