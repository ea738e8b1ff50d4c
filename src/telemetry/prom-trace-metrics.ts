/** Metrics of traces: what became of spans. */
import { Counter, type Registry } from 'prom-client';
import type { SpanResult } from './span-of.ts';

export function traceMetrics(registry: Registry): (result: SpanResult, spans: number) => void {
  const spans = new Counter({
    name: 'fairlane_trace_spans_total',
    help: 'Spans of traced requests. result is exported, failed (the collector did not take them) or dropped (too many waited, or exporting ended).',
    labelNames: ['result'],
    registers: [registry],
  });
  return (result, count) => spans.inc({ result }, count);
}
