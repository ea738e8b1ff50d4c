/** Meters a JSON response as it passes, in bounded memory: what it says is found wherever in it that stands. */
import type { EngineRoute } from '../domain/routes.ts';
import { AnswerScan } from './answer-scan.ts';
import { BODY } from './answer-shapes.ts';
import { type MeterResult, NO_ITL, type ResponseMeter } from './response-meter.ts';
import { isErrorShape, type UsageReport, usageReport } from './usage.ts';

class BodyMeter implements ResponseMeter {
  private readonly route: EngineRoute;
  private bytes = 0;
  private firstTokenMs = 0;
  private lastTokenMs = 0;

  private readonly scan = new AnswerScan(BODY);

  // From the end on
  private hasEnded = false;
  private errorFrame = false;
  private report: UsageReport = { usage: undefined, odd: false };

  constructor(route: EngineRoute) {
    this.route = route;
  }

  push(chunk: Uint8Array, nowMs: number): undefined {
    if (chunk.length === 0) return undefined;
    if (this.bytes === 0) this.firstTokenMs = nowMs;
    this.lastTokenMs = nowMs;
    this.bytes += chunk.length;
    this.scan.push(
      Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength),
    );
    return undefined;
  }

  end(): undefined {
    if (this.hasEnded) return undefined;
    this.hasEnded = true;
    const answer = this.scan.value();
    if (answer === undefined) return undefined;
    this.errorFrame = isErrorShape(answer);
    this.report = usageReport(answer);
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
    const { bytes, report } = this;
    const usage =
      report.usage !== undefined && this.route === 'embeddings'
        ? { ...report.usage, completionTokens: 0 }
        : report.usage;
    return {
      ...(bytes > 0 && { firstTokenMs: this.firstTokenMs, lastTokenMs: this.lastTokenMs }),
      tokenEvents: 0,
      ...(usage !== undefined && { usage }),
      ...(report.odd && { oddUsage: true as const }),
      finished: this.hasEnded,
      errorFrame: this.errorFrame,
      itl: NO_ITL,
      bytes,
    };
  }
}

/** @param route that the response answers; a list of embeddings reports no output. */
export const createBodyMeter = (route: EngineRoute): ResponseMeter => new BodyMeter(route);
