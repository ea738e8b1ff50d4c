/** `telemetry`: what the service tells about itself, besides its log. */
import * as z from 'zod';
import { TENANT_HISTOGRAMS } from '../telemetry.ts';
import { must } from '../values.ts';
import { about, choice, section } from './dsl.ts';

const otlp = section(
  {
    endpoint: z
      .string({ error: must('an http:// or https:// URL') })
      .meta(
        about(
          'Base URL of an OpenTelemetry collector that takes OTLP over HTTP in protobuf, without credentials: `/v1/traces` is added. `http://` to another machine warns.',
          'URL',
        ),
      ),
    headers: z
      .record(z.string(), z.string({ error: must('env:NAME, file:PATH or a text') }), {
        error: must('a mapping of header names to values'),
      })
      .meta(
        about(
          'Headers that each export carries: by name `env:NAME` or `file:PATH` for a secret, or the value itself.',
          'names and values',
        ),
      )
      .prefault({}),
    sample: z
      .number({ error: must('a number from 0 to 1') })
      .min(0, { error: must('a number from 0 to 1') })
      .max(1, { error: must('a number from 0 to 1') })
      .meta(
        about(
          'Part of the requests that are traced. A client can lower it by a `traceparent` that is not sampled, and never raise it.',
          '0 to 1',
        ),
      )
      .prefault(1),
  },
  'Traces over OTLP. `OTEL_*` environment variables are not read. Default: nothing is traced.',
).optional();

export const telemetry = section(
  {
    tenantHistograms: choice(
      TENANT_HISTOGRAMS,
      'Whether metrics that are histograms tell tenants apart: `on`; `off`, all in one with an empty tenant; `auto`, on for up to 200 tenants.',
    ).prefault('auto'),
    otlp,
  },
  'Metrics and traces.',
).prefault({});
