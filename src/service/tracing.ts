/** Traces of requests, while the configuration wants them. */
import { randomBytes } from 'node:crypto';
import type { LifecycleContext } from '../admission/lifecycle-context.ts';
import type { TelemetryConfig } from '../config/telemetry.ts';
import { OtlpExporter } from '../telemetry/otlp-exporter.ts';
import { type SpanResult, spansOf } from '../telemetry/span-of.ts';
import { beginTrace } from '../usage/request-trace.ts';

/** That the end gives to what still waits. */
const LAST_MS = 2_000;
const ALL_IDS_BYTES = 32;
const SPAN_ID_BYTES = 8;

export class Tracing {
  readonly #count: (result: SpanResult, spans: number) => void;
  #sample = 0;
  #exporter: OtlpExporter | undefined;

  constructor({ otlp }: TelemetryConfig, count: (result: SpanResult, spans: number) => void) {
    this.#count = count;
    this.reconfigure({ otlp });
  }

  /** What waits goes to where it goes from now on. */
  reconfigure({ otlp }: { readonly otlp?: TelemetryConfig['otlp'] | undefined }): void {
    if (otlp === undefined) {
      void this.close();
      return;
    }
    this.#sample = otlp.sample;
    if (this.#exporter === undefined) this.#exporter = new OtlpExporter(otlp, { count: this.#count });
    else this.#exporter.reconfigure(otlp);
  }

  readonly begin: NonNullable<LifecycleContext['trace']> = ({ header }) =>
    this.#exporter === undefined
      ? undefined
      : beginTrace(
          header('traceparent'),
          this.#sample,
          randomBytes(ALL_IDS_BYTES).toString('hex'),
          Math.random(),
        );

  readonly ended: NonNullable<LifecycleContext['traced']> = (record, trace) => {
    if (!trace.isSampled) return;
    const queueSpanId = randomBytes(SPAN_ID_BYTES).toString('hex');
    const spans = spansOf(record, trace, queueSpanId, Date.now());
    if (this.#exporter === undefined) this.#count('dropped', spans.length);
    else this.#exporter.add(spans);
  };

  /** Sends what waits, for a moment. */
  async close(): Promise<void> {
    const exporter = this.#exporter;
    this.#exporter = undefined;
    await exporter?.close(LAST_MS);
  }
}
