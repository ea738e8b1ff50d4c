/** Reads what an answer says of itself, whatever its form: SSE or JSON, plain or compressed. */
import { createBodyMeter } from '../openai/body-meter.ts';
import { createEncodedMeter } from '../openai/encoded-meter.ts';
import type { ParsedRequest } from '../openai/request.ts';
import { createStreamMeter } from '../openai/stream-meter.ts';
import type { Usage } from '../openai/usage.ts';
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

export interface AnswerMeter {
  /** Gives the bytes to send instead, or undefined to send the chunk as it came. */
  push(chunk: Uint8Array, endOfStream: boolean, nowMs: number): Uint8Array | undefined;
  /** Stream events with content so far; 0 for an answer in one piece. */
  tokens(): number;
  /** Bytes of text in those events; of an answer in one piece, all of it. */
  contentBytes(): number;
  /** The engine has said that the answer is complete, even if the stream goes on. */
  finished(): boolean;
  /** What stands in while the engine has not reported usage. */
  reading(predictedPromptTokens: number, estimatedOutput: number): AnswerReading;
}

/** The engine may have read the prompt and more, and nothing of the answer was seen. */
export function unseenReading(predictedPromptTokens: number, estimatedOutput: number): AnswerReading {
  return {
    usage: { promptTokens: predictedPromptTokens, completionTokens: estimatedOutput, cachedTokens: 0 },
    source: 'estimate',
    errorFrame: false,
  };
}

export function createAnswerMeter(request: ParsedRequest, head: ResponseHead): AnswerMeter {
  const streamed = head.contentType === 'text/event-stream';
  const inner = streamed
    ? createStreamMeter({ route: request.route, removeUsageChunk: request.stream && !request.wantsUsage })
    : createBodyMeter(request.route);
  const meter =
    head.contentEncoding === '' || head.contentEncoding === 'identity'
      ? inner
      : createEncodedMeter(inner, head.contentEncoding);

  return {
    push(chunk, endOfStream, nowMs) {
      const now = meter.push(chunk, nowMs);
      if (!endOfStream) return now;
      const rest = meter.end();
      if (rest === undefined || rest.length === 0) return now;
      return Buffer.concat([now ?? chunk, rest]);
    },
    tokens: () => meter.tokenEvents(),
    finished: () => meter.finished(),
    contentBytes: () => meter.contentBytes(),
    reading(predictedPromptTokens, estimatedOutput) {
      const { usage: reported, isUsageEarly, firstTokenMs, itl, errorFrame } = meter.result();
      const isWhole = reported !== undefined && isUsageEarly !== true;
      return {
        usage: isWhole
          ? reported
          : {
              promptTokens: reported?.promptTokens ?? predictedPromptTokens,
              completionTokens: Math.max(reported?.completionTokens ?? 0, estimatedOutput),
              cachedTokens: reported?.cachedTokens ?? 0,
            },
        source: isWhole ? 'engine' : 'estimate',
        ...(streamed && firstTokenMs !== undefined && { firstTokenMs }),
        ...(itl.count > 0 && { itl: { meanMs: itl.sumMs / itl.count, maxMs: itl.maxMs } }),
        errorFrame,
      };
    },
  };
}
