/** Meters a JSON response as it passes, in bounded memory: what it says is found wherever in it that stands. */
import type { Mutable } from '../domain/mutable.ts';
import { type EngineRoute, meteredOf, unitOf } from '../domain/routes.ts';
import { amountOf } from './amount.ts';
import { AnswerScan } from './answer-scan.ts';
import { BODY } from './answer-shapes.ts';
import { type Amount, type MeterResult, NO_ITL, type ResponseMeter } from './response-meter.ts';
import { bufferOf, parse } from './sse-text.ts';
import { type Fields, isErrorShape, isObject, type UsageReport, usageReport } from './usage.ts';

/** Older engines say of what they rank how many tokens it was, and no more; of what is heard the usage may be seconds. */
function promptReport(route: EngineRoute, { usage }: Fields): UsageReport | undefined {
  if (!isObject(usage)) return undefined;
  if (usage['type'] === 'duration') return { usage: undefined, odd: false };
  const isTotalAlone =
    meteredOf(route) === 'prompt' && isTold(usage['total_tokens']) && !isTold(usage['prompt_tokens']);
  return isTotalAlone ? usageReport({ usage: { prompt_tokens: usage['total_tokens'] } }) : undefined;
}

const isTold = (value: unknown): boolean => value !== undefined && value !== null;

/** A body up to this size is kept and parsed whole: that is quicker. */
const WHOLE_BYTES = 32 * 1024;
const EMPTY = Buffer.alloc(0);

class BodyMeter implements ResponseMeter {
  private readonly route: EngineRoute;
  private readonly isRead: boolean;
  private bytes = 0;
  private firstTokenMs = 0;
  private lastTokenMs = 0;

  // Until the end: the body, or what reads it as it passes once it is too large.
  private kept: Buffer = EMPTY;
  private keptBytes = 0;
  private scan: AnswerScan | undefined = undefined;

  // From the end on
  private hasEnded = false;
  private errorFrame = false;
  private report: UsageReport = { usage: undefined, odd: false };
  private amount: Amount | undefined = undefined;

  constructor(route: EngineRoute, isRead: boolean) {
    this.route = route;
    this.isRead = isRead;
  }

  push(chunk: Uint8Array, nowMs: number): undefined {
    if (chunk.length === 0) return undefined;
    if (this.bytes === 0) this.firstTokenMs = nowMs;
    this.lastTokenMs = nowMs;
    this.bytes += chunk.length;
    if (!this.isRead) return undefined;
    if (this.bytes <= WHOLE_BYTES) this.keep(chunk);
    else this.pass(bufferOf(chunk, 0, chunk.length));
    return undefined;
  }

  end(): undefined {
    if (this.hasEnded) return undefined;
    this.hasEnded = true;
    if (!this.isRead) return undefined;
    const answer = this.answer();
    this.kept = EMPTY;
    this.scan = undefined;
    if (!isObject(answer)) return undefined;
    this.errorFrame = isErrorShape(answer);
    this.report = promptReport(this.route, answer) ?? usageReport(answer);
    this.amount = amountOf(unitOf(this.route), answer);
    return undefined;
  }

  /** Only its end says that a body is complete. */
  finished(): boolean {
    return false;
  }

  tokenEvents(): number {
    return 0;
  }

  contentBytes(): number {
    return this.bytes;
  }

  result(): MeterResult {
    const { bytes, report, amount } = this;
    const usage =
      report.usage !== undefined && meteredOf(this.route) === 'prompt'
        ? { ...report.usage, completionTokens: 0 }
        : report.usage;
    const result: Mutable<MeterResult> = {
      tokenEvents: 0,
      finished: this.hasEnded,
      errorFrame: this.errorFrame,
      itl: NO_ITL,
      bytes,
    };
    if (amount !== undefined) result.amount = amount;
    if (bytes === 0) return result;
    result.firstTokenMs = this.firstTokenMs;
    result.lastTokenMs = this.lastTokenMs;
    if (usage !== undefined) result.usage = usage;
    if (report.odd) result.oddUsage = true;
    return result;
  }

  private answer(): unknown {
    if (this.scan !== undefined) return this.scan.value();
    const text = this.kept.subarray(0, this.keptBytes);
    const parsed = parse(text.toString('utf8'));
    if (parsed !== undefined) return parsed;
    // It takes what JSON.parse does not, so that size makes no difference.
    const scan = new AnswerScan(BODY);
    scan.push(text);
    return scan.value();
  }

  private pass(chunk: Buffer): void {
    if (this.scan === undefined) {
      this.scan = new AnswerScan(BODY);
      this.scan.push(this.kept.subarray(0, this.keptBytes));
      this.kept = EMPTY;
    }
    this.scan.push(chunk);
  }

  private keep(chunk: Uint8Array): void {
    const { kept, keptBytes } = this;
    const size = keptBytes + chunk.length;
    if (size > kept.length) {
      const larger = Buffer.allocUnsafe(
        Math.max(2048, Math.min(WHOLE_BYTES, 2 ** Math.ceil(Math.log2(size)))),
      );
      larger.set(kept.subarray(0, keptBytes));
      this.kept = larger;
    }
    this.kept.set(chunk, keptBytes);
    this.keptBytes = size;
  }
}

/**
 * @param route that the response answers; a list of embeddings reports no output.
 * @param isRead false: it is no JSON, and only its bytes count.
 */
export const createBodyMeter = (route: EngineRoute, isRead = true): ResponseMeter =>
  new BodyMeter(route, isRead);
