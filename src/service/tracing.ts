/** Traces of requests, while the configuration wants them. */
import { randomFillSync, randomUUID } from 'node:crypto';
import type { LifecycleContext } from '../admission/lifecycle-context.ts';
import type { TelemetryConfig } from '../config/telemetry.ts';
import type { BuildInfo } from '../domain/build-info.ts';
import { type ExportState, OtlpExporter } from '../telemetry/otlp-exporter.ts';
import { resourceOf } from '../telemetry/otlp-spans.ts';
import { type SpanResult, spansOf } from '../telemetry/span-of.ts';
import { beginTrace } from '../usage/request-trace.ts';

/** That the end, also of exporting alone, gives to what still waits. */
const LAST_MS = 2_000;
const ALL_IDS_BYTES = 32;
const SPAN_ID_BYTES = 8;
/** Taken of the system at a time: a call for each id costs more than the id. */
const RANDOM_BYTES = 4_096;

type TracesEvent = ExportState & { readonly kind: 'traces' };

export class Tracing {
  readonly #count: (result: SpanResult, spans: number) => void;
  readonly #tell: (event: TracesEvent) => void;
  readonly #instanceId = randomUUID();
  #resource = resourceOf({ instanceId: this.#instanceId });
  #sample = 0;
  #exporter: OtlpExporter | undefined;
  /** Of exporters that a reload has ended. */
  readonly #ending = new Set<Promise<void>>();
  readonly #random = Buffer.alloc(RANDOM_BYTES);
  #randomAt = RANDOM_BYTES;

  constructor(
    { otlp }: TelemetryConfig,
    count: (result: SpanResult, spans: number) => void,
    tell: (event: TracesEvent) => void = () => undefined,
  ) {
    this.#count = count;
    this.#tell = tell;
    this.reconfigure({ otlp });
  }

  /** Says which Fairlane this is. */
  built({ version }: BuildInfo): void {
    this.#resource = resourceOf({ instanceId: this.#instanceId, version });
  }

  /** What waits goes to where it goes from now on; without such a place, once more to where it went. */
  reconfigure({ otlp }: { readonly otlp?: TelemetryConfig['otlp'] | undefined }): void {
    if (otlp === undefined) {
      this.#endExporter();
      return;
    }
    this.#sample = otlp.sample;
    if (this.#exporter !== undefined) this.#exporter.reconfigure(otlp);
    else
      this.#exporter = new OtlpExporter(otlp, {
        count: this.#count,
        tell: (state) => this.#tell({ kind: 'traces', ...state }),
        resource: () => this.#resource,
      });
  }

  readonly begin: NonNullable<LifecycleContext['trace']> = ({ header }) =>
    this.#exporter === undefined
      ? undefined
      : beginTrace(header('traceparent'), this.#sample, this.#digits(ALL_IDS_BYTES), Math.random());

  readonly ended: NonNullable<LifecycleContext['traced']> = (record, trace) => {
    if (!trace.isSampled) return;
    const spans = spansOf(record, trace, this.#digits(SPAN_ID_BYTES), Date.now());
    if (this.#exporter === undefined) this.#count('dropped', spans.length);
    else this.#exporter.add(spans);
  };

  /** Sends what waits, for a moment; also what a reload has left to be sent. */
  async close(): Promise<void> {
    this.#endExporter();
    await Promise.all(this.#ending);
  }

  #endExporter(): void {
    const exporter = this.#exporter;
    if (exporter === undefined) return;
    this.#exporter = undefined;
    const ending = exporter.close(LAST_MS).finally(() => this.#ending.delete(ending));
    this.#ending.add(ending);
  }

  /** Random hexadecimal digits, two for each byte. */
  #digits(bytes: number): string {
    if (this.#randomAt + bytes > RANDOM_BYTES) {
      randomFillSync(this.#random);
      this.#randomAt = 0;
    }
    const from = this.#randomAt;
    this.#randomAt += bytes;
    return this.#random.toString('hex', from, this.#randomAt);
  }
}
