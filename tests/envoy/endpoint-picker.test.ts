/** A real Envoy configured as a gateway of the Gateway API Inference Extension, and Fairlane as its endpoint picker. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import * as grpc from '@grpc/grpc-js';
import * as protoLoader from '@grpc/proto-loader';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RunningEnvoy, startEnvoy } from '../../src/envoy/process-envoy.ts';
import { type Simulator, startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { type Answer, chatBody, send } from '../support/client.ts';
import { envoyForTests } from '../support/envoy.ts';
import { eventually } from '../support/eventually.ts';
import { gateway } from '../support/gateway.ts';
import { freePorts } from '../support/ports.ts';
import { type Http2Part, sendHttp1, sendHttp2 } from '../support/raw-http.ts';
import { type CliProcess, runCli } from '../support/serve.ts';
import { configYaml } from '../support/stack.ts';
import { zstdOfOneByte, zstdStored } from '../support/zstd.ts';

let engines: readonly Simulator[];
let picker: CliProcess;
let envoy: RunningEnvoy;
let folder: string;
let api = 0;
let metrics = 0;
let pickerPort = 0;

beforeAll(async () => {
  engines = await Promise.all(
    [0, 1, 2].map(() =>
      startSimulator({
        profile: parseProfile('test', {}),
        models: ['demo'],
        adapters: { max: 2, loadMs: 20 },
        faults: true,
      }),
    ),
  );
  folder = mkdtempSync(join(tmpdir(), 'fairlane-picker-'));
  const [apiPort = 0, admin = 0, metricsPort = 0, port = 0, unused = 0] = await freePorts(5);
  api = apiPort;
  metrics = metricsPort;
  pickerPort = port;
  const path = join(folder, 'fairlane.yaml');
  writeFileSync(
    path,
    configYaml(
      engines.map(({ url }) => url),
      { api: unused, admin, metrics },
      join(folder, 'run'),
      (config) => {
        config['mode'] = 'endpoint-picker';
        config['picker'] = { tenant: 'others' };
        config['service']['address'] = `127.0.0.1:${port}`;
        config['pools']['main']['concurrencyLimit'] = 2;
        config['pools']['main']['adaptersPerEndpoint'] = 2;
        config['adapters'] = { tone: { base: 'demo', path: '/adapters/tone', tenants: ['team'] } };
        config['routes'] = { voices: { path: '/v1/voices', method: 'GET', body: 'none', model: 'demo' } };
        config['tenants'] = {
          others: {},
          once: { limits: { requestsPerMinute: 1, requestBurst: 1 } },
          team: {},
          hasty: { limits: { requestsPerMinute: 1, requestBurst: 1 } },
        };
      },
    ),
  );
  picker = runCli(['serve', '--config', path]);
  await picker.until('serving ext_proc');
  const second = `127.0.0.1:${engines[1]?.port}`;
  envoy = await startEnvoy({
    envoy: await envoyForTests(),
    bootstrap: gateway({
      api,
      admin,
      picker: pickerPort,
      engines: engines.map((engine) => engine.port),
      subsets: {
        second: [second],
        'second-as-text': ` ${second} , 10.9.9.9:1`,
        'another-port': ['127.0.0.1:1'],
        none: [],
        number: 7,
        'odd-list': [1, null, second, { a: 'b' }],
      },
    }),
    directory: folder,
    admin: { host: '127.0.0.1', port: admin },
    concurrency: 1,
    onLog: () => undefined,
  });
});
afterAll(async () => {
  picker.child.kill('SIGTERM');
  await picker.exited;
  await envoy.stop(500);
  for (const engine of engines) await engine.close();
  rmSync(folder, { recursive: true, force: true });
});

const ask = (
  fields: object = {},
  { subset, tenant }: { subset?: string; tenant?: string } = {},
): Promise<Answer> =>
  send(`http://127.0.0.1:${api}`, {
    headers: {
      ...(tenant !== undefined && { 'x-gateway-inference-fairness-id': tenant }),
      ...(subset !== undefined && { 'x-subset': subset }),
    },
    body: chatBody(fields),
  });
const get = (path: string, subset: string): Promise<Answer> =>
  send(`http://127.0.0.1:${api}`, { method: 'GET', path, headers: { 'x-subset': subset } });
/** Requests that each engine has had. */
const served = (): readonly number[] => engines.map((engine) => engine.stats().started);
async function servedBy(run: () => Promise<unknown>): Promise<readonly number[]> {
  const before = served();
  await run();
  return served().map((count, i) => count - (before[i] ?? 0));
}

describe('an endpoint picker behind a gateway', () => {
  it('sends requests to its endpoints, and streams their answers through', async () => {
    const answer = await ask({ max_tokens: 4 }, { tenant: 'team' });
    expect(answer.status).toBe(200);
    expect(answer.json.usage.completion_tokens).toBe(4);
    const stream = await ask({ max_tokens: 20, stream: true }, { tenant: 'team' });
    expect(stream.text.endsWith('data: [DONE]\n\n')).toBe(true);
    expect(stream.text).not.toContain('"usage":{');
    const long = await ask({ messages: [{ role: 'user', content: 'x'.repeat(100_000) }], max_tokens: 1 });
    expect(long.status).toBe(200);
  });

  it('meters them for the tenant that the gateway names, or the one for all others', async () => {
    await ask({ max_tokens: 3 }, { tenant: 'nobody we know' });
    const log = await eventually(
      () => picker.stdout(),
      (text) => /"tenant":"team".*"completionTokens":20/.test(text) && /"tenant":"others"/.test(text),
    );
    // By the gateway's own word.
    expect(log).toMatch(
      new RegExp(`"tenant":"team".*"address":"127.0.0.1:(${engines.map(({ port }) => port).join('|')})"`),
    );
  });

  it('stays within the subset that the gateway hints at, port and all', async () => {
    const run = async (subset: string): Promise<readonly number[]> =>
      servedBy(async () => {
        for (let i = 0; i < 4; i += 1) {
          expect((await ask({ max_tokens: 1 }, { subset })).status).toBe(200);
        }
      });
    expect(await run('second')).toEqual([0, 4, 0]);
    expect(await run('second-as-text')).toEqual([0, 4, 0]);
    expect(await run('odd-list')).toEqual([0, 4, 0]);
  });

  it.each(['another-port', 'none', 'number'])('answers 503 when the subset is %s', async (name) => {
    const answer = await ask({}, { subset: name });
    expect(answer.status).toBe(503);
    expect(answer.json.error.code).toBe('no_healthy_endpoint');
    expect((await get('/health', name)).status).toBe(503);
  });

  it('routes a request without a body within the subset', async () => {
    const routed = await servedBy(async () => {
      const answer = await get('/metrics', 'second');
      expect(answer.status).toBe(200);
      expect(answer.text).toContain('vllm:');
    });
    expect(routed[0]).toBe(0);
  });

  it('answers for models itself, whatever the subset', async () => {
    const list = await get('/v1/models?x=1', 'none');
    expect(list.status).toBe(200);
    expect(list.json.data.map(({ id }: { id: string }) => id)).toContain('demo');
    expect(await get('/v1/models/demo', 'none')).toMatchObject({ status: 200, json: { id: 'demo' } });
    expect((await get('/v1/models/nothing', 'none')).status).toBe(404);
  });

  it('counts what the configuration adds, though it has no body', async () => {
    const voices = (): Promise<Answer> =>
      send(`http://127.0.0.1:${api}`, {
        method: 'GET',
        path: '/v1/voices',
        headers: { 'x-gateway-inference-fairness-id': 'once' },
      });
    expect((await voices()).status).not.toBe(429);
    expect((await voices()).status).toBe(429);
  });

  it.each(['/tokenize', '/v2/rerank', '/v1/audio/transcriptions', '/v1/responses/compact'])(
    'lets no engine see %s without a body',
    async (path) => {
      const answer = await send(`http://127.0.0.1:${api}`, {
        method: 'POST',
        path,
        headers: { 'x-subset': 'none' },
      });
      expect(answer.status).toBeGreaterThanOrEqual(400);
      expect(answer.status).toBeLessThan(500);
      expect(answer.json.error.type).toBe('invalid_request_error');
    },
  );

  it('goes where the picker says, whatever a client names', async () => {
    const first = `127.0.0.1:${engines[0]?.port}`;
    const named = ['x-gateway-destination-endpoint', 'x-gateway-destination-endpoint-subset'];
    const routed = await servedBy(async () => {
      for (const name of named) {
        const answer = await send(`http://127.0.0.1:${api}`, {
          headers: { 'x-subset': 'second', [name]: first },
          body: chatBody({ max_tokens: 1 }),
        });
        expect(answer.status).toBe(200);
      }
    });
    expect(routed).toEqual([0, 2, 0]);
  });

  it('lets no request of the API reach an engine without a body, however it ends', async () => {
    const head: readonly (readonly [string, string])[] = [
      [':method', 'POST'],
      [':path', '/v1/chat/completions'],
      [':scheme', 'http'],
      [':authority', 'x'],
      ['content-type', 'application/json'],
    ];
    const trailers: Http2Part = { kind: 'headers', headers: [['x-checksum', '1']], end: true };
    const endings: readonly (readonly Http2Part[])[] = [
      [{ kind: 'headers', headers: head, end: true }],
      [{ kind: 'headers', headers: head }, trailers],
      [
        { kind: 'headers', headers: head },
        { kind: 'data', text: '', end: true },
      ],
      [{ kind: 'headers', headers: head }, { kind: 'data', text: '' }, trailers],
    ];
    const line = 'POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n';
    const chunked = `${line}transfer-encoding: chunked\r\n\r\n`;
    const routed = await servedBy(async () => {
      for (const parts of endings)
        expect((await sendHttp2(api, parts)).text).toMatch(/"invalid_(request|json)"/);
      for (const text of [`${line}\r\n`, `${line}content-length: 0\r\n\r\n`, `${chunked}0\r\n\r\n`]) {
        expect((await sendHttp1(api, [text])).status).toBe(400);
      }
      const whole = await sendHttp2(api, [
        { kind: 'headers', headers: head },
        { kind: 'data', text: chatBody({ max_tokens: 1 }) },
        trailers,
      ]);
      expect(whole.text).toContain('"finish_reason"');
    });
    expect(routed.reduce((sum, count) => sum + count, 0)).toBe(1);
  });

  it('loads an adapter where the gateway allows it, for whom may use it, and says when an engine has lost it', async () => {
    const team = { tenant: 'team', subset: 'second' };
    expect((await ask({ model: 'tone' }, { subset: 'second' })).status).toBe(404);
    expect((await ask({ model: 'tone' }, team)).status).toBe(200);
    expect(engines.map((engine) => engine.adapters().loaded)).toEqual([[], ['tone'], []]);
    const body = JSON.stringify({ lora_name: 'tone' });
    const base = `http://127.0.0.1:${api}`;
    for (const path of ['/v1/load_lora_adapter', '/v1/unload_lora_adapter']) {
      expect((await send(base, { path, headers: { 'x-subset': 'second' }, body })).status).toBe(404);
    }
    // Every few seconds it is asked anyway: then the adapter is loaded again, and nobody sees that it was lost.
    const lost = await eventually(
      async () => {
        await send(engines[1]?.url ?? '', { path: '/v1/unload_lora_adapter', body });
        return ask({ model: 'tone' }, team);
      },
      ({ status }) => status !== 200,
    );
    expect([lost.status, lost.json.error.code]).toEqual([503, 'adapter_unavailable']);
    await eventually(
      async () => (await ask({ model: 'tone' }, team)).status,
      (status) => status === 200,
    );
  });

  const sendEncoded = (coding: string, body: Buffer): Promise<Answer> =>
    send(`http://127.0.0.1:${api}`, {
      headers: { 'content-encoding': coding, 'content-length': String(body.length) },
      body,
    });
  /** The latest request that an engine has had with this text in it. */
  const seenWith = (text: string) =>
    engines.flatMap((engine) => engine.requests()).find(({ body }) => JSON.stringify(body).includes(text));

  it.each([
    ['gzip', gzipSync],
    ['br', brotliCompressSync],
    ['zstd', zstdStored],
    ['deflate', deflateSync],
  ] as const)('decodes a body in %s: gateways send it as it is', async (coding, encode) => {
    for (const stream of [false, true]) {
      const mark = `encoded-${coding}-${String(stream)}-`;
      const messages = [{ role: 'user', content: mark.repeat(2_000) }];
      const text = chatBody({ messages, max_tokens: 1, stream });
      expect((await sendEncoded(coding, encode(Buffer.from(text)))).status).toBe(200);
      const seen = seenWith(mark);
      expect(seen?.headers).not.toHaveProperty('content-encoding');
      // Envoy takes the length away where bodies are streamed through the picker.
      expect(seen?.headers).toHaveProperty('transfer-encoding', 'chunked');
      expect(seen?.headers).not.toHaveProperty('content-length');
      const added = stream ? { stream_options: { include_usage: true } } : {};
      expect(seen?.body).toEqual({ ...(JSON.parse(text) as object), ...added });
    }
  });

  it('refuses what it cannot decode, and bombs', async () => {
    const body = Buffer.from(chatBody());
    const routed = await servedBy(async () => {
      expect((await sendEncoded('gzip', body)).json.error.code).toBe('invalid_content_encoding');
      expect((await sendEncoded('lzma', body)).status).toBe(415);
      expect((await sendEncoded('gzip', gzipSync(Buffer.alloc(7_000_000)))).status).toBe(413);
      expect((await sendEncoded('zstd', zstdOfOneByte(0, 1_000_000_000))).status).toBe(413);
    });
    expect(routed).toEqual([0, 0, 0]);
  });

  it('sheds with 429 what is over a limit', async () => {
    expect((await ask({}, { tenant: 'hasty' })).status).toBe(200);
    const shed = await ask({}, { tenant: 'hasty' });
    expect(shed.status).toBe(429);
    expect(shed.headers['retry-after']).toBeDefined();
  });

  it('queues beyond the windows, and releases all of it', async () => {
    const answers = await Promise.all(Array.from({ length: 30 }, () => ask({ max_tokens: 5 })));
    expect(answers.every(({ status }) => status === 200)).toBe(true);
    const text = await (await fetch(`http://127.0.0.1:${metrics}/metrics`)).text();
    expect(text).toContain('fairlane_pool_in_flight{pool="main"} 0\n');
  });

  it('refuses bad requests in the API’s own shape', async () => {
    const bad = await send(`http://127.0.0.1:${api}`, { path: '/v1/chat/completions', body: '{"model":' });
    expect(bad.status).toBe(400);
    expect(bad.json.error.type).toBe('invalid_request_error');
  });

  it.each(['liveness', 'readiness', 'envoy.service.ext_proc.v3.ExternalProcessor'])(
    'says that %s is serving',
    async (service) => {
      const definition = grpc.loadPackageDefinition(
        protoLoader.loadSync('grpc/health/v1/health.proto', { includeDirs: ['proto'], enums: String }),
      ) as unknown as Record<string, any>; // oxlint-disable-line no-explicit-any -- grpc-js's own dynamic clients
      const client = new definition['grpc'].health.v1.Health(
        `127.0.0.1:${pickerPort}`,
        grpc.credentials.createInsecure(),
      );
      const status = await new Promise((resolve, reject) => {
        client.check({ service }, (error: Error | null, reply: { status: string }) =>
          error === null ? resolve(reply.status) : reject(error),
        );
      });
      client.close();
      expect(status).toBe('SERVING');
    },
  );
});
