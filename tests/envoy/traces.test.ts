/** Traces through a real Envoy: their context from the client to the engine, and their spans at a collector. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Simulator, startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { chatBody, eventsOf, openStream, type SendOptions, send } from '../support/client.ts';
import { eventually } from '../support/eventually.ts';
import { type SeenSpan, startCollector, type TestCollector } from '../support/otlp-collector.ts';
import { KEYS, type Stack, startStack } from '../support/stack.ts';

const SECRET = 'a-secret-of-the-collector';
const PROMPT = 'the prompt that nobody else may read';
const LIMITED = 'key-of-the-limited-one';
const PARENT = '00f067aa0ba902b7';
const CLOSE_MS = 0.01;

let engine: Simulator;
let collector: TestCollector;
let stack: Stack;

beforeAll(async () => {
  const profile = parseProfile('test', { stepBaseMs: 10 });
  engine = await startSimulator({ profile, models: ['demo'], faults: true });
  collector = await startCollector();
  stack = await startStack({
    engines: [engine.url],
    change(config) {
      config['tenants']['limited'] = { keys: [LIMITED], limits: { requestsPerMinute: 1, requestBurst: 1 } };
      config['aliases'] = { best: 'demo' };
      config['telemetry'] = { otlp: { endpoint: collector.url, headers: { authorization: SECRET } } };
    },
  });
});
afterAll(async () => {
  await stack.close();
  await engine.close();
  await collector.close();
});

let traces = 0;
/** One that no other request here has. */
const newTrace = (): string => {
  traces += 1;
  return traces.toString(16).padStart(32, 'a');
};
const messages = [{ role: 'user', content: PROMPT }];
const chat = (fields: object = {}): string => chatBody({ messages, stream: true, ...fields });
const ask = (traceparent: string, options: SendOptions = {}) => {
  const { headers = {} } = options;
  return send(stack.url, { key: KEYS.quiet, body: chat(), ...options, headers: { ...headers, traceparent } });
};

/** Whole: the spans of a request are exported together. */
const spansOf = (trace: string): Promise<readonly SeenSpan[]> =>
  eventually(
    () => collector.spans().filter(({ traceId }) => traceId === trace),
    ({ length }) => length > 0,
  );
const byName = (spans: readonly SeenSpan[], kind: string): SeenSpan => {
  const [span, ...others] = spans.filter((one) => one.kind === `SPAN_KIND_${kind}`);
  if (span === undefined || others.length > 0) throw new Error(`not one ${kind}: ${JSON.stringify(spans)}`);
  return span;
};
const attributed = ({ headers }: Pick<ReturnType<Simulator['requests']>[number], 'headers'>) => {
  const [, traceId = '', spanId = '', flags = ''] = String(headers['traceparent']).split('-');
  return { traceId, spanId, flags };
};
const engineSaw = (trace: string) => {
  const seen = engine.requests().filter((request) => attributed(request).traceId === trace);
  expect(seen).toHaveLength(1);
  const [request] = seen;
  if (request === undefined) throw new Error('it did not come');
  return { ...attributed(request), headers: request.headers };
};

describe('a request', () => {
  it('has spans with the times of its record, and the engine is a child of its own span', async () => {
    const trace = newTrace();
    const answer = await ask(`00-${trace}-${PARENT}-01`, {
      body: chat({ model: 'best', max_tokens: 8, ignore_eos: true, stream_options: { include_usage: true } }),
      headers: { tracestate: 'vendor=1' },
    });
    expect(answer.status).toBe(200);
    const spans = await spansOf(trace);
    expect(spans).toHaveLength(3);
    const [server, queue, client] = [
      byName(spans, 'SERVER'),
      byName(spans, 'INTERNAL'),
      byName(spans, 'CLIENT'),
    ];
    expect(server.parentId).toBe(PARENT);
    expect([queue.parentId, client.parentId]).toEqual([server.spanId, server.spanId]);
    expect(engineSaw(trace)).toMatchObject({ spanId: client.spanId, flags: '01' });
    expect(engineSaw(trace).headers).toMatchObject({ tracestate: 'vendor=1' });
    expect([server.name, queue.name, client.name]).toEqual(['chat best', 'queue', 'chat best']);
    expect(spans.map(({ isError }) => isError)).toEqual([false, false, false]);

    const record = await stack.record(({ traceId }) => traceId === trace);
    const { endedMs = 0, durationMs = 0, ttftMs = 0, queueMs = 0 } = record;
    const [token] = client.events;
    if (token === undefined) throw new Error('no event of the first token');
    expect(token.name).toBe('fairlane.first_token');
    expect(Math.abs(server.endMs - endedMs)).toBeLessThan(CLOSE_MS);
    expect(Math.abs(server.endMs - server.startMs - durationMs)).toBeLessThan(CLOSE_MS);
    expect(Math.abs(token.atMs - server.startMs - ttftMs)).toBeLessThan(CLOSE_MS);
    expect(Math.abs(queue.endMs - queue.startMs - queueMs)).toBeLessThan(CLOSE_MS);
    const times = [
      server.startMs,
      queue.startMs,
      queue.endMs,
      client.startMs,
      token.atMs,
      client.endMs,
      server.endMs,
    ];
    expect([...times].sort((a, b) => a - b)).toEqual(times);

    expect(client.attributes).toMatchObject({
      'gen_ai.operation.name': 'chat',
      'gen_ai.provider.name': 'vllm',
      'gen_ai.request.model': 'best',
      'gen_ai.response.model': 'demo',
      'gen_ai.usage.output_tokens': 8,
      'http.response.status_code': 200,
      'server.address': '127.0.0.1',
      'server.port': engine.port,
    });
    expect(server.attributes).toMatchObject({
      'fairlane.tenant': 'quiet',
      'fairlane.record.id': record.id,
      'fairlane.outcome': 'completed',
    });
    expect(server.resource).toMatchObject({ 'service.name': 'fairlane', 'service.version': '0.0.0' });
    expect(server.resource['service.instance.id']).toMatch(/^[0-9a-f-]{36}$/);
  });

  it('without a context, or with one that is wrong, begins a trace', async () => {
    for (const wrong of [undefined, 'nonsense', `00-${'0'.repeat(32)}-${PARENT}-01`]) {
      const id = `begins ${wrong}`;
      await send(stack.url, {
        key: KEYS.quiet,
        body: chat(),
        headers: {
          'x-client-request-id': id,
          tracestate: 'vendor=1',
          ...(wrong !== undefined && { traceparent: wrong }),
        },
      });
      const { traceId = '' } = await stack.record(({ clientRequestId }) => clientRequestId === id);
      const spans = await spansOf(traceId);
      expect(byName(spans, 'SERVER').parentId).toBe('');
      const seen = engineSaw(traceId);
      expect(seen).toMatchObject({ spanId: byName(spans, 'CLIENT').spanId, flags: '01' });
      // It belongs to a context that is not passed on.
      expect(seen.headers['tracestate']).toBeUndefined();
    }
  });

  it('with two contexts has the first, and its engine gets one', async () => {
    const [first, second] = [newTrace(), newTrace()];
    // As two lines of the head.
    const both = [`00-${first}-${PARENT}-01`, `00-${second}-${PARENT}-01`] as unknown as string;
    await ask(both);
    expect(engineSaw(first).headers['traceparent']).toBe(
      `00-${first}-${byName(await spansOf(first), 'CLIENT').spanId}-01`,
    );
  });

  it('that its client does not sample is not exported, and its engine does not sample it either', async () => {
    const [quiet, loud] = [newTrace(), newTrace()];
    await ask(`00-${quiet}-${PARENT}-00`);
    await ask(`00-${loud}-${PARENT}-01`);
    await spansOf(loud);
    expect(collector.spans().filter(({ traceId }) => traceId === quiet)).toEqual([]);
    expect(engineSaw(quiet).flags).toBe('00');
  });

  it('that is refused has one span, which is no error of the service', async () => {
    const trace = newTrace();
    await send(stack.url, { key: LIMITED, body: chat() });
    const { status } = await ask(`00-${trace}-${PARENT}-01`, { key: LIMITED });
    expect(status).toBe(429);
    const spans = await spansOf(trace);
    expect(spans).toHaveLength(1);
    expect(spans[0]).toMatchObject({
      kind: 'SPAN_KIND_SERVER',
      parentId: PARENT,
      isError: false,
      attributes: { 'error.type': 'requests_per_minute', 'http.response.status_code': 429 },
    });
  });

  it('whose client hangs up ends there, with what it had so far', async () => {
    const trace = newTrace();
    const stream = await openStream(stack.url, {
      key: KEYS.quiet,
      body: chat({ max_tokens: 2_000, ignore_eos: true }),
      headers: { traceparent: `00-${trace}-${PARENT}-01` },
    });
    await eventually(stream.text, (text) => eventsOf(text).length > 3);
    stream.hangUp();
    const spans = await spansOf(trace);
    const { endedMs = 0 } = await stack.record(({ traceId }) => traceId === trace);
    const client = byName(spans, 'CLIENT');
    expect(client.attributes).toMatchObject({ 'error.type': 'streaming' });
    expect(client.attributes['gen_ai.response.model']).toBeUndefined();
    expect(client.events).toHaveLength(1);
    expect(Math.abs(client.endMs - endedMs)).toBeLessThan(CLOSE_MS);
    expect(byName(spans, 'SERVER').attributes).toMatchObject({ 'fairlane.outcome': 'aborted' });
  });

  it('for a stored response has them too', async () => {
    const made = await ask(`00-${newTrace()}-${PARENT}-01`, {
      path: '/v1/responses',
      body: JSON.stringify({ model: 'demo', input: PROMPT, max_output_tokens: 4 }),
    });
    expect(made.status).toBe(200);
    const trace = newTrace();
    const { status } = await ask(`00-${trace}-${PARENT}-01`, {
      method: 'GET',
      path: `/v1/responses/${made.json.id}`,
      body: undefined,
    });
    expect(status).toBe(200);
    const spans = await spansOf(trace);
    const client = byName(spans, 'CLIENT');
    expect(client.name).toBe('responses.retrieve');
    expect(client.parentId).toBe(byName(spans, 'SERVER').spanId);
    expect(engineSaw(trace)).toMatchObject({ spanId: client.spanId, flags: '01' });
  });
});

it('no prompt, completion, key or secret is in what was exported', async () => {
  const trace = newTrace();
  const { text } = await ask(`00-${trace}-${PARENT}-01`, { body: chat({ stream: false, max_tokens: 40 }) });
  await spansOf(trace);
  const completion: string = JSON.parse(text).choices[0].message.content;
  expect(completion.length).toBeGreaterThan(20);
  const raw = collector.raw();
  expect(raw.includes('chat demo')).toBe(true);
  for (const secret of [PROMPT, completion.slice(0, 20), KEYS.quiet, LIMITED, SECRET]) {
    expect(raw.includes(secret)).toBe(false);
    expect(stack.logText()).not.toContain(secret);
  }
});

it('a sample of 0 exports nothing, and tells engines so, whatever clients say', async () => {
  const counted = () => stack.metric('fairlane_trace_spans_total', { result: 'exported' });
  // Of the last request before this; the service counts them when the collector has answered.
  const before = await eventually(counted, (count) => count === collector.spans().length);
  const { config } = stack;
  const otlp = config.telemetry.otlp;
  if (otlp === undefined) throw new Error('no traces');
  await stack
    .service()
    .reload({ ...config, telemetry: { ...config.telemetry, otlp: { ...otlp, sample: 0 } } }, []);
  const trace = newTrace();
  await ask(`00-${trace}-${PARENT}-01`);
  expect(engineSaw(trace).flags).toBe('00');
  await stack.record(({ traceId }) => traceId === trace);
  expect(await counted()).toBe(before);
  expect(await stack.metric('fairlane_trace_spans_total')).toBe(before);

  // Without a collector the client's context is the engine's, as it came.
  const { otlp: _otlp, ...off } = config.telemetry;
  await stack.service().reload({ ...config, telemetry: off }, []);
  const own = newTrace();
  await ask(`00-${own}-${PARENT}-01`);
  expect(engineSaw(own)).toMatchObject({ spanId: PARENT, flags: '01' });
});
