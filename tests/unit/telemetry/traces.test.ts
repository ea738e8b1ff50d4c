/** Traces of requests: their context, their spans, and collectors of every kind. */
import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import { type AddressInfo, createServer as createNetServer } from 'node:net';
import fc from 'fast-check';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { type ExportState, OtlpExporter } from '../../../src/telemetry/otlp-exporter.ts';
import { resourceOf } from '../../../src/telemetry/otlp-spans.ts';
import { type SpanFacts, type SpanResult, spansOf } from '../../../src/telemetry/span-of.ts';
import { beginTrace, sentHeaders, traceParentOf } from '../../../src/usage/request-trace.ts';
import type { UsageRecord } from '../../../src/usage/usage-record.ts';
import { cpuMs } from '../../support/cpu-time.ts';
import { eventually } from '../../support/eventually.ts';
import { chatHead, createWorld } from '../../support/lifecycle.ts';
import { startCollector } from '../../support/otlp-collector.ts';

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const PARENT = '00f067aa0ba902b7';
const DIGITS = 'a'.repeat(32) + 'b'.repeat(16) + 'c'.repeat(16);

const RECORD: UsageRecord = {
  requestId: 'r',
  endedMs: 1_800_000_001_000,
  tenant: 'a',
  keyId: 'k1',
  route: 'chat.completions',
  model: 'm',
  pool: 'main',
  endpoint: 'http://10.0.0.1:8000',
  address: '10.0.0.1:8000',
  engine: 'vllm',
  stream: true,
  outcome: 'completed',
  status: 200,
  queueMs: 100,
  ttftMs: 400,
  durationMs: 1_000,
  promptTokens: 7,
  completionTokens: 3,
  cachedTokens: 0,
  usageSource: 'engine',
  quiet: false,
  stalled: false,
  droppedFields: [],
};

describe('traceparent', () => {
  it('is read as the specification has it', () => {
    const parent = { traceId: TRACE, parentId: PARENT, isSampled: true };
    expect(traceParentOf(`00-${TRACE}-${PARENT}-01`)).toEqual(parent);
    expect(traceParentOf(`00-${TRACE}-${PARENT}-00`)).toEqual({ ...parent, isSampled: false });
    expect(traceParentOf(`cc-${TRACE}-${PARENT}-01-more`)).toEqual(parent);
  });

  it.each([
    '',
    `ff-${TRACE}-${PARENT}-01`,
    `00-${TRACE}-${PARENT}-01-more`,
    `cc-${TRACE}-${PARENT}-01.more`,
    `00-${TRACE.toUpperCase()}-${PARENT}-01`,
    `00-${'0'.repeat(32)}-${PARENT}-01`,
    `00-${TRACE}-${'0'.repeat(16)}-01`,
    `00-${TRACE}-${PARENT}-1`,
    `00-${TRACE}-${PARENT}-01,00-${TRACE}-${PARENT}-01`,
    `cc-${TRACE}-${PARENT}-01-${'x'.repeat(1_000)}`,
  ])('is none: %s', (text) => {
    expect(traceParentOf(text)).toBeUndefined();
    expect(sentHeaders(beginTrace(text, 1, DIGITS, 0))).toEqual({
      set: [['traceparent', `00-${'a'.repeat(32)}-${'c'.repeat(16)}-01`]],
      remove: ['tracestate'],
    });
  });

  it('never raises the rate', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        fc.string(),
        (sample, drawn, text) => {
          for (const parent of [text, `00-${TRACE}-${PARENT}-01`, `00-${TRACE}-${PARENT}-ff`]) {
            expect(beginTrace(parent, sample, DIGITS, drawn).isSampled).toBe(drawn < sample);
          }
          expect(beginTrace(`00-${TRACE}-${PARENT}-00`, sample, DIGITS, drawn).isSampled).toBe(false);
        },
      ),
    );
  });
});

describe('a request', () => {
  it('is sent with its own span as the parent, and its record says the trace', () => {
    const world = createWorld();
    const trace = beginTrace(`00-${TRACE}-${PARENT}-01`, 1, DIGITS, 0);
    const ended: UsageRecord[] = [];
    Object.assign(world.context, { trace: () => trace, traced: (one: UsageRecord) => ended.push(one) });
    const { request, said } = world.open();
    request.headers(chatHead(), 0);
    request.body(Buffer.from('{"model":"small","messages":[{"role":"user","content":"x"}]}'), 5);
    expect(JSON.stringify(said)).toContain(`00-${TRACE}-${'c'.repeat(16)}-01`);
    request.streamEnded(20);
    expect(ended).toEqual(world.records);
    expect(ended[0]?.traceId).toBe(TRACE);
    expect(trace.sentAfterMs).toBe(5);
  });
});

describe('spans', () => {
  it('have the times of the record, in order', () => {
    const trace = { ...beginTrace(`00-${TRACE}-${PARENT}-01`, 1, DIGITS, 0), sentAfterMs: 150 };
    const [server, queue, engine] = spansOf(RECORD, trace, 'd'.repeat(16), 0);
    const start = 1_800_000_000_000;
    expect(server).toMatchObject({ name: 'chat m', parentId: PARENT, startMs: start, endMs: start + 1_000 });
    expect(queue).toMatchObject({ parentId: 'b'.repeat(16), startMs: start + 50, endMs: start + 150 });
    expect(engine).toMatchObject({
      spanId: 'c'.repeat(16),
      parentId: 'b'.repeat(16),
      startMs: start + 150,
      events: [{ name: 'fairlane.first_token', atMs: start + 400 }],
      attributes: { 'server.address': '10.0.0.1', 'server.port': 8000, 'gen_ai.provider.name': 'vllm' },
    });
  });

  it('have what is known of the request, and no more', () => {
    const trace = { ...beginTrace('', 1, DIGITS, 0), sentAfterMs: 150 };
    const of = (record: Partial<UsageRecord>) => spansOf({ ...RECORD, ...record }, trace, 'd'.repeat(16), 0);
    const [server, queue, engine] = of({ modelAsked: 'best', lane: 'fast', retries: 2, ttftMs: 0 });
    expect([server?.name, queue?.name, engine?.name]).toEqual(['chat best', 'queue', 'chat best']);
    expect(server?.parentId).toBeUndefined();
    expect(server?.attributes).toEqual({
      'gen_ai.operation.name': 'chat',
      'gen_ai.request.model': 'best',
      'http.response.status_code': 200,
      'fairlane.request.id': 'r',
      'fairlane.tenant': 'a',
      'fairlane.key.id': 'k1',
      'fairlane.route': 'chat.completions',
      'fairlane.pool': 'main',
      'fairlane.lane': 'fast',
      'fairlane.outcome': 'completed',
      'fairlane.stream': true,
      'fairlane.queue.ms': 100,
      'fairlane.ttft.ms': 0,
    });
    expect(queue?.attributes).toEqual({ 'fairlane.pool': 'main', 'fairlane.lane': 'fast' });
    // Tokens stand in one span: a sum over spans counts them once.
    expect(engine?.attributes).toEqual({
      'gen_ai.operation.name': 'chat',
      'gen_ai.provider.name': 'vllm',
      'gen_ai.request.model': 'best',
      'gen_ai.response.model': 'm',
      'gen_ai.usage.input_tokens': 7,
      'gen_ai.usage.output_tokens': 3,
      'http.response.status_code': 200,
      'server.address': '10.0.0.1',
      'server.port': 8000,
      'fairlane.pool': 'main',
    });
    // A first token at once is one, and no token comes before the request was sent or in another year.
    const sentMs = 1_800_000_000_150;
    expect(engine?.events).toEqual([
      { name: 'fairlane.retries', atMs: sentMs, attributes: { 'fairlane.retries': 2 } },
      { name: 'fairlane.first_token', atMs: sentMs },
    ]);
    expect(of({ outcome: 'failed', reason: 'engine', status: 500 }).map(({ isError }) => isError)).toEqual([
      true,
      false,
      true,
    ]);
    const [, , unmetered] = of({ outcome: 'aborted', reason: 'before-first-token', usageSource: 'none' });
    expect(unmetered?.attributes).not.toHaveProperty(['gen_ai.usage.input_tokens']);
    expect(unmetered?.attributes).not.toHaveProperty(['gen_ai.response.model']);
    expect(of({ address: '[fd00::1]:8000' })[2]?.attributes).toMatchObject({
      'server.address': 'fd00::1',
      'server.port': 8000,
    });
  });

  it('lie within their parents, whatever the clocks say', () => {
    const ms = fc.double({ min: 0, max: 1e7, noNaN: true });
    fc.assert(
      fc.property(ms, ms, ms, ms, (durationMs, queueMs, ttftMs, sentAfterMs) => {
        const trace = { ...beginTrace('', 1, DIGITS, 0), sentAfterMs };
        const record = { ...RECORD, durationMs, queueMs, ttftMs };
        const [server, ...children] = spansOf(record, trace, 'd'.repeat(16), 0);
        if (server === undefined) throw new Error('no span');
        expect(children).toHaveLength(2);
        for (const { parentId, startMs, endMs, events } of children) {
          expect(parentId).toBe(server.spanId);
          const times = [server.startMs, startMs, ...events.map(({ atMs }) => atMs), endMs, server.endMs];
          expect([...times].sort((a, b) => a - b)).toEqual(times);
        }
      }),
    );
  });

  it('of a refusal are one, with its reason', () => {
    const { pool: _pool, ...rest } = RECORD;
    const refused: UsageRecord = {
      ...rest,
      outcome: 'refused',
      reason: 'rate_limited',
      status: 429,
      queueMs: 0,
    };
    const spans = spansOf(refused, beginTrace('', 1, DIGITS, 0), 'd'.repeat(16), 0);
    expect(spans).toHaveLength(1);
    expect(spans[0]).toMatchObject({ isError: false, attributes: { 'error.type': 'rate_limited' } });
  });
});

describe('a collector', () => {
  /** No busy machine keeps an answer for so long. */
  const PATIENCE_MS = 10_000;
  const servers: Server[] = [];
  afterEach(() => {
    for (const server of servers.splice(0)) {
      server.closeAllConnections();
      server.close();
    }
  });

  async function collector(listener: RequestListener) {
    const server = createServer(listener);
    servers.push(server);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/traces`;
  }

  function exporter(url: string, { gatherMs = 1_000, timeoutMs = PATIENCE_MS } = {}) {
    const counts: Record<SpanResult, number> = { exported: 0, failed: 0, dropped: 0 };
    const told: ExportState[] = [];
    const options = {
      count: (result: SpanResult, n: number) => void (counts[result] += n),
      tell: (state: ExportState) => void told.push(state),
      resource: () => resourceOf({ instanceId: 'i', version: '1.2.3' }),
      timeoutMs,
      gatherMs,
    };
    const made = new OtlpExporter({ url, headers: { 'x-key': 'v w' }, sample: 1 }, options);
    return { counts, told, made };
  }

  const spans = (): readonly SpanFacts[] =>
    spansOf(RECORD, { ...beginTrace('', 1, DIGITS, 0), sentAfterMs: 150 }, 'd'.repeat(16), 0);

  it('gets protobuf, with the headers', async () => {
    const bodies: Buffer[] = [];
    const url = await collector((request, response) => {
      expect(request.headers).toMatchObject({ 'content-type': 'application/x-protobuf', 'x-key': 'v w' });
      request.on('data', (part: Buffer) => bodies.push(part));
      request.on('end', () => response.end());
    });
    const { counts, made } = exporter(url);
    made.add(spans());
    await made.close(PATIENCE_MS);
    expect(counts).toEqual({ exported: 3, failed: 0, dropped: 0 });
    const body = Buffer.concat(bodies);
    expect(body.includes(Buffer.from('c'.repeat(16), 'hex'))).toBe(true);
    expect(body.includes('fairlane.first_token')).toBe(true);
  });

  it('gets each span once, encoded a few at a time while they come', async () => {
    const seen = await startCollector();
    const encoded: number[] = [];
    let added = 0;
    const count = vi.fn<(result: SpanResult, spans: number) => void>();
    const made = new OtlpExporter(
      { url: `${seen.url}/v1/traces`, headers: {}, sample: 1 },
      {
        count,
        resource: () => {
          encoded.push(added);
          return resourceOf({ instanceId: 'i' });
        },
      },
    );
    const ids = Array.from({ length: 340 }, (_, i) => i.toString(16).padStart(16, '0'));
    for (const id of ids) {
      added += 3;
      made.add(spans().map((span) => ({ ...span, spanId: id })));
    }
    // Two batches, and no request's end paid for one of them.
    expect(encoded.length).toBeGreaterThan(28);
    const pieces = encoded.map((at, i) => at - (encoded[i - 1] ?? 0));
    expect(Math.max(...pieces)).toBeLessThanOrEqual(34);
    await made.close(5_000);
    const got = seen.spans();
    await seen.close();
    expect(got.map(({ spanId }) => spanId).sort()).toEqual(ids.flatMap((id) => [id, id, id]));
    expect(new Set(got.map(({ resource }) => resource['service.instance.id']))).toEqual(new Set(['i']));
    expect(count.mock.calls.reduce((sum, [result, n]) => sum + (result === 'exported' ? n : 0), 0)).toBe(
      1_020,
    );
  });

  it.each([500, 429, 302, 404])('that answers %i costs spans, and those are counted', async (status) => {
    const { counts, made } = exporter(
      await collector((_request, response) => void response.writeHead(status).end()),
    );
    made.add(spans());
    await made.close(PATIENCE_MS);
    expect(counts).toEqual({ exported: 0, failed: 3, dropped: 0 });
  });

  it.each([
    [401, 'answered 401: see telemetry.otlp.headers'],
    [404, 'answered 404: is OTLP over HTTP at telemetry.otlp.endpoint, to which /v1/traces is added?'],
    [302, 'answered 302: redirects are not followed'],
    [500, 'answered 500'],
  ])('that answers %i is told of once, and once when it takes spans again', async (status, detail) => {
    let answer = status;
    const url = await collector((_request, response) => void response.writeHead(answer).end());
    const { counts, told, made } = exporter(url, { gatherMs: 1 });
    const sent = async (spansSoFar: number): Promise<void> => {
      made.add(spans());
      await eventually(
        () => counts.exported + counts.failed,
        (settled) => settled === spansSoFar,
      );
    };
    await sent(3);
    await sent(6);
    const collectorHost = new URL(url).host;
    expect(told).toEqual([{ collector: collectorHost, failing: true, detail }]);
    answer = 200;
    await sent(9);
    await sent(12);
    expect(told.slice(1)).toEqual([
      { collector: collectorHost, failing: false, detail: 'it takes spans again' },
    ]);
    await made.close(1_000);
  });

  it('that was left while it had an export is not taken for the next one', async () => {
    let fail: (() => void) | undefined;
    const left = await collector((_request, response) => {
      fail = () => response.writeHead(500).end();
    });
    const next = await collector((_request, response) => void response.writeHead(503).end());
    const { counts, told, made } = exporter(left, { gatherMs: 1 });
    made.add(spans());
    await eventually(
      () => fail,
      (asked) => asked !== undefined,
    );
    made.reconfigure({ url: next, headers: {}, sample: 1 });
    for (const failed of [3, 6]) {
      if (failed === 3) fail?.();
      else made.add(spans());
      await eventually(
        () => counts.failed,
        (count) => count === failed,
      );
    }
    expect(told).toEqual([{ collector: new URL(next).host, failing: true, detail: 'answered 503' }]);
    await made.close(PATIENCE_MS);
  });

  it('that is away, late or no HTTP is told of with what it is', async () => {
    const speaksOther = createNetServer((socket) => socket.end('\0\0\0\x04'));
    speaksOther.listen(0, '127.0.0.1');
    await once(speaksOther, 'listening');
    const { port } = speaksOther.address() as AddressInfo;
    for (const [url, detail, timeoutMs] of [
      ['http://127.0.0.1:1/v1/traces', 'ECONNREFUSED', PATIENCE_MS],
      [await collector(() => undefined), 'no answer within 200 ms', 200],
      [`http://127.0.0.1:${port}/v1/traces`, 'OTLP over gRPC', PATIENCE_MS],
    ] as const) {
      const { told, made } = exporter(url, { timeoutMs });
      made.add(spans());
      await made.close(2 * PATIENCE_MS);
      expect(told).toMatchObject([{ failing: true, detail: expect.stringContaining(detail) }]);
    }
    speaksOther.close();
  });

  it('that takes a part of them says how many it did not', async () => {
    // partial_success { rejected_spans: 2 }, then of more spans than there were, of -1, and what is no answer at all.
    for (const [answer, failed] of [
      [[0x0a, 0x02, 0x08, 0x02], 2],
      [[0x0a, 0x03, 0x08, 0xe8, 0x07], 3],
      [[0x0a, 0x0b, 0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], 3],
      [[0xff, 0xff, 0xff], 0],
    ] as const) {
      const { counts, made } = exporter(
        await collector((_request, response) => void response.end(Buffer.from(answer))),
      );
      made.add(spans());
      await made.close(PATIENCE_MS);
      expect(counts).toEqual({ exported: 3 - failed, failed, dropped: 0 });
    }
  });

  it('that answers without end has taken them', async () => {
    const url = await collector((_request, response) => {
      const more = (): void => {
        while (!response.destroyed && response.write(Buffer.alloc(16_384)));
        if (!response.destroyed) response.once('drain', more);
      };
      more();
    });
    const { counts, made } = exporter(url);
    made.add(spans());
    await made.close(PATIENCE_MS);
    expect(counts).toEqual({ exported: 3, failed: 0, dropped: 0 });
  });

  it('that is away or hangs costs a bounded queue of them', async () => {
    const hanging = exporter(await collector(() => undefined));
    const began = cpuMs();
    for (let i = 0; i < 1_000; i += 1) hanging.made.add(spans());
    expect(cpuMs() - began).toBeLessThan(1_000);
    await hanging.made.close(50);
    const { exported, failed, dropped } = hanging.counts;
    expect(exported).toBe(0);
    expect(failed + dropped).toBe(3_000);
    const away = exporter('http://127.0.0.1:1/v1/traces');
    away.made.add(spans());
    await away.made.close(PATIENCE_MS);
    expect(away.counts).toEqual({ exported: 0, failed: 3, dropped: 0 });
  });
});
