/**
 * Metrics by the names, buckets and attributes of OpenTelemetry's conventions for generative AI, beside ours: of answers, and of no
 * tenant. Models are those that exist and those that the configuration names: what a client asked for, and what answered.
 *
 * https://github.com/open-telemetry/semantic-conventions/blob/main/docs/gen-ai/gen-ai-metrics.md ("model server metrics")
 */
import { Histogram, type Registry } from 'prom-client';
import type { UsageRecord } from '../usage/usage-record.ts';
import { errorTypeOf, operationOf } from './span-of.ts';

const DURATION = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
const FIRST_TOKEN = [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10];
const PER_TOKEN = [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5];
const LABELS = [
  'gen_ai_operation_name',
  'gen_ai_provider_name',
  'gen_ai_request_model',
  'gen_ai_response_model',
];

export function genAiMetrics(registry: Registry): (record: UsageRecord) => void {
  const registers = [registry];
  const duration = new Histogram({
    name: 'gen_ai_server_request_duration_seconds',
    help: 'From the arrival of a request to the end of its answer, of requests that were sent to an engine. error_type is empty where it completed, gen_ai_response_model where it did not.',
    labelNames: [...LABELS, 'error_type'],
    buckets: DURATION,
    registers,
  });
  const firstToken = new Histogram({
    name: 'gen_ai_server_time_to_first_token_seconds',
    help: 'From the arrival of a request to the first token of its streamed answer, where that completed.',
    labelNames: LABELS,
    buckets: FIRST_TOKEN,
    registers,
  });
  const perToken = new Histogram({
    name: 'gen_ai_server_time_per_output_token_seconds',
    help: 'Time from the first token of a streamed answer to its end for each token after the first one, where that completed.',
    labelNames: LABELS,
    buckets: PER_TOKEN,
    registers,
  });
  return (record) => {
    if (record.pool === undefined) return;
    const { model = '', outcome, durationMs, ttftMs } = record;
    const isCompleted = outcome === 'completed';
    const labels = {
      gen_ai_operation_name: operationOf(record.route),
      gen_ai_provider_name: record.engine ?? '',
      gen_ai_request_model: record.modelAsked ?? model,
      gen_ai_response_model: isCompleted ? model : '',
    };
    duration.observe({ ...labels, error_type: errorTypeOf(record) ?? '' }, durationMs / 1_000);
    if (!isCompleted || ttftMs === undefined) return;
    firstToken.observe(labels, ttftMs / 1_000);
    const later = record.completionTokens - 1;
    if (later > 0) perToken.observe(labels, (durationMs - ttftMs) / later / 1_000);
  };
}
