/** Tracing over reloads and the end: every span is exported, or counted. */
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { Tracing } from '../../../src/service/tracing.ts';
import type { SpanResult } from '../../../src/telemetry/span-of.ts';
import type { RequestTrace } from '../../../src/usage/request-trace.ts';
import { eventually } from '../../support/eventually.ts';
import { RECORD } from '../../support/metrics.ts';
import { Stalls } from '../../support/stalls.ts';

const TENANT_HISTOGRAMS = 'off';
const LAST_MS = 2_000;
/** Of a record that was sent to an engine. */
const SPANS = 3;

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

async function collector(how: 'take' | 'hang') {
  const bodies: Buffer[] = [];
  const server = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('error', () => undefined);
    request.on('end', () => {
      bodies.push(Buffer.concat(parts));
      if (how === 'take') response.end();
    });
  });
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/traces`;
  return { otlp: { url, headers: {}, sample: 1 }, bodies };
}

function start(otlp?: Awaited<ReturnType<typeof collector>>['otlp']) {
  const counts: Record<SpanResult, number> = { exported: 0, failed: 0, dropped: 0 };
  const tracing = new Tracing(
    { tenantHistograms: TENANT_HISTOGRAMS, ...(otlp !== undefined && { otlp }) },
    (result, spans) => void (counts[result] += spans),
  );
  const begin = (): RequestTrace | undefined => tracing.begin({ header: () => '' });
  const request = (): void => {
    const trace = begin();
    if (trace === undefined) throw new Error('it is off');
    tracing.ended(RECORD, { ...trace, sentAfterMs: 1 });
  };
  return { tracing, counts, begin, request };
}

describe('tracing', () => {
  it('is off until a reload wants it, and after one that does not', async () => {
    const { otlp, bodies } = await collector('take');
    const { tracing, counts, begin, request } = start();
    expect(begin()).toBeUndefined();
    tracing.reconfigure({ otlp });
    request();
    tracing.reconfigure({});
    expect(begin()).toBeUndefined();
    await eventually(
      () => counts.exported,
      (exported) => exported === SPANS,
    );
    expect(bodies).toHaveLength(1);
    tracing.reconfigure({ otlp });
    request();
    await tracing.close();
    expect(counts).toEqual({ exported: 2 * SPANS, failed: 0, dropped: 0 });
  });

  it('waits at its end for what a reload has left to be sent', async () => {
    const { otlp } = await collector('take');
    const { tracing, counts, request } = start(otlp);
    for (let i = 0; i < 3; i += 1) {
      request();
      tracing.reconfigure({});
      tracing.reconfigure({ otlp });
    }
    tracing.reconfigure({});
    await tracing.close();
    expect(counts).toEqual({ exported: 3 * SPANS, failed: 0, dropped: 0 });
  });

  it('ends within a bound with collectors that hang, and counts every span', async () => {
    const { otlp } = await collector('hang');
    const { tracing, counts, request } = start(otlp);
    request();
    tracing.reconfigure({});
    tracing.reconfigure({ otlp });
    for (let i = 0; i < 1_000; i += 1) request();
    const stalls = new Stalls();
    const began = performance.now();
    await tracing.close();
    expect(stalls.sinceMs(began)).toBeLessThan(2 * LAST_MS);
    stalls.close();
    expect(counts.exported).toBe(0);
    expect(counts.failed + counts.dropped).toBe(1_001 * SPANS);
  });

  it('takes another endpoint from the next export on', async () => {
    const [first, second] = [await collector('take'), await collector('take')];
    const { tracing, counts, request } = start(first.otlp);
    request();
    tracing.reconfigure({ otlp: second.otlp });
    await tracing.close();
    expect([first.bodies.length, second.bodies.length]).toEqual([0, 1]);
    expect(counts).toEqual({ exported: SPANS, failed: 0, dropped: 0 });
  });

  it('counts the spans of requests that outlive it', async () => {
    const { otlp } = await collector('take');
    const { tracing, counts, begin } = start(otlp);
    const trace = begin();
    await tracing.close();
    if (trace === undefined) throw new Error('it is off');
    tracing.ended(RECORD, { ...trace, sentAfterMs: 1 });
    expect(counts).toEqual({ exported: 0, failed: 0, dropped: SPANS });
  });

  it('draws ids that no two requests share', async () => {
    const { otlp } = await collector('take');
    const { tracing, begin } = start(otlp);
    const traces = Array.from({ length: 2_000 }, () => begin());
    const ids = traces.flatMap((trace) => [trace?.traceId, trace?.spanId, trace?.engineSpanId]);
    expect(new Set(ids).size).toBe(3 * 2_000);
    for (const trace of traces.slice(0, 200)) {
      expect(trace?.traceId).toMatch(/^[0-9a-f]{32}$/);
      expect(trace?.spanId).toMatch(/^[0-9a-f]{16}$/);
      expect(trace?.engineSpanId).toMatch(/^[0-9a-f]{16}$/);
    }
    await tracing.close();
  });

  it('says which service exports, its version and which process', async () => {
    const { otlp, bodies } = await collector('take');
    const { tracing, request } = start(otlp);
    tracing.built({ version: '1.2.3-of-a-test' });
    request();
    await tracing.close();
    const body = Buffer.concat(bodies);
    for (const text of ['service.name', 'service.instance.id', 'service.version', '1.2.3-of-a-test']) {
      expect(body.includes(text)).toBe(true);
    }
  });
});
