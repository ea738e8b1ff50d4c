/** A collector of the tests' own: OTLP over HTTP, decoded by definitions of the official field numbers. */
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import * as protoLoader from '@grpc/proto-loader';

type Value = string | number | boolean;
type Attributes = Readonly<Record<string, Value>>;

export interface SeenSpan {
  /** Hexadecimal, as the other ids. */
  readonly traceId: string;
  readonly spanId: string;
  /** Empty: it has none. */
  readonly parentId: string;
  readonly name: string;
  readonly kind: string;
  /** Unix milliseconds, to the microsecond. */
  readonly startMs: number;
  readonly endMs: number;
  readonly isError: boolean;
  readonly flags: number;
  readonly attributes: Attributes;
  readonly events: readonly { readonly name: string; readonly atMs: number }[];
  readonly resource: Attributes;
}

export interface TestCollector {
  /** Base URL. */
  readonly url: string;
  readonly spans: () => readonly SeenSpan[];
  /** All that was exported, as it came. */
  readonly raw: () => Buffer;
  /** `hang`: it reads, and never answers. */
  behave(how: 'take' | 'hang'): void;
  /** Exports that it has not answered. */
  readonly hanging: () => number;
  close(): Promise<void>;
}

interface Written {
  readonly key: string;
  readonly value: { readonly value: string } & Readonly<Record<string, string | number | boolean>>;
}
interface WrittenSpan {
  readonly trace_id: Buffer;
  readonly span_id: Buffer;
  readonly parent_span_id: Buffer;
  readonly name: string;
  readonly kind: string;
  readonly start_time_unix_nano: string;
  readonly end_time_unix_nano: string;
  readonly attributes: readonly Written[];
  readonly events: readonly { readonly time_unix_nano: string; readonly name: string }[];
  readonly status: { readonly code: string };
  readonly flags: number;
}
interface WrittenRequest {
  readonly resource_spans: readonly {
    readonly resource: { readonly attributes: readonly Written[] };
    readonly scope_spans: readonly { readonly spans: readonly WrittenSpan[] }[];
  }[];
}

const loaded = protoLoader.loadSync('trace.proto', {
  includeDirs: [fileURLToPath(new URL('../fixtures/otlp', import.meta.url))],
  keepCase: true,
  longs: String,
  enums: String,
  oneofs: true,
  defaults: true,
  arrays: true,
});
const { requestDeserialize } = (
  loaded['otlp.TraceService'] as unknown as {
    readonly Export: { readonly requestDeserialize: (bytes: Buffer) => unknown };
  }
).Export;

/** Nanoseconds do not fit a number. */
const msOf = (nanos: string): number => Number(BigInt(nanos) / 1_000n) / 1_000;

const attributesOf = (written: readonly Written[]): Attributes =>
  Object.fromEntries(
    written.map(({ key, value }) => {
      const of = value[value.value];
      if (of === undefined) throw new Error(`${key} has no value`);
      return [key, value.value === 'int_value' ? Number(of) : of];
    }),
  );

function spansIn(bytes: Buffer): readonly SeenSpan[] {
  const { resource_spans: all } = requestDeserialize(bytes) as WrittenRequest;
  return all.flatMap(({ resource, scope_spans: scopes }) =>
    scopes.flatMap(({ spans }) =>
      spans.map((span) => ({
        traceId: span.trace_id.toString('hex'),
        spanId: span.span_id.toString('hex'),
        parentId: span.parent_span_id.toString('hex'),
        name: span.name,
        kind: span.kind,
        startMs: msOf(span.start_time_unix_nano),
        endMs: msOf(span.end_time_unix_nano),
        isError: span.status.code === 'STATUS_CODE_ERROR',
        flags: span.flags,
        attributes: attributesOf(span.attributes),
        events: span.events.map(({ name, time_unix_nano: at }) => ({ name, atMs: msOf(at) })),
        resource: attributesOf(resource.attributes),
      })),
    ),
  );
}

export async function startCollector(): Promise<TestCollector> {
  const bodies: Buffer[] = [];
  const unanswered = new Set<ServerResponse>();
  let mode: 'take' | 'hang' = 'take';
  const server = createServer((request, response) => {
    const parts: Buffer[] = [];
    unanswered.add(response);
    response.on('close', () => unanswered.delete(response));
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('error', () => undefined);
    request.on('end', () => {
      if (request.url !== '/v1/traces') response.writeHead(404).end();
      if (mode === 'hang' || request.url !== '/v1/traces') return;
      bodies.push(Buffer.concat(parts));
      response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    spans: () => bodies.flatMap(spansIn),
    raw: () => Buffer.concat(bodies),
    behave(how) {
      mode = how;
    },
    hanging: () => unanswered.size,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
