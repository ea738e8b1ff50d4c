import type { Usage } from './usage.ts';

/** What is counted beside tokens. */
export interface Amount {
  readonly audioSeconds?: number;
  readonly images?: number;
}

/** What a response told of itself, whatever its form. Times are on the clock of `push`. */
export interface MeterResult {
  /** Arrival of the first content: in a stream the first event with text, elsewhere the first byte. */
  readonly firstTokenMs?: number;
  readonly lastTokenMs?: number;
  /** Stream events that carried content: about one for each output token. 0 for other responses. */
  readonly tokenEvents: number;
  readonly usage?: Usage;
  /**
   * The usage is older than the last content (in an Anthropic stream that of `message_start`): it has the prompt, and
   * not what was written since.
   */
  readonly isUsageEarly?: true;
  /**
   * Something stood where usage belongs, or in it, that no count can be: text, a fraction, a negative or impossible number, a list.
   * It is not in `usage`, which may be there all the same: from another event, or without a part (cached, reasoning).
   */
  readonly oddUsage?: true;
  /** Absent: the route has none, or the answer does not say. */
  readonly amount?: Amount;
  /** The engine said that the answer is complete. */
  readonly finished: boolean;
  /** The engine reported an error inside a successful response, whatever came after. */
  readonly errorFrame: boolean;
  /** Times between one content event and the next. */
  readonly itl: { readonly count: number; readonly sumMs: number; readonly maxMs: number };
  /** Bytes of the response, decoded where that was possible. */
  readonly bytes: number;
}

export interface ResponseMeter {
  /**
   * Takes the next bytes of the response, in order. Gives undefined when they go on unchanged, else the bytes to send
   * in their place (maybe none). May keep a reference to the chunk: nobody may write to it afterwards.
   */
  push(chunk: Uint8Array, nowMs: number): Uint8Array | undefined;
  /** The response came to its own end: gives bytes held back, if any. Not called when it was cut off. */
  end(): Uint8Array | undefined;
  /** The engine has said that the answer is complete. Cheap: asked after every chunk. */
  finished(): boolean;
  /** Stream events with content so far. Cheap: asked after every chunk. */
  tokenEvents(): number;
  /** Bytes of text in those events; of another response, its bytes. Cheap likewise. */
  contentBytes(): number;
  /** What is known so far. May parse: asked once. */
  result(): MeterResult;
}

export const NO_ITL: MeterResult['itl'] = { count: 0, sumMs: 0, maxMs: 0 };
