/**
 * What an endpoint picker is expected to do beyond choosing: behind a real Envoy that speaks TLS to it, is of before the protocol's 1.0,
 * and is closed in the middle. Each claim names its source: the protocol (Gateway API Inference Extension, proposal 004), the reference
 * picker (its pkg/lwepp and conformance/), or llm-d's router (pkg/epp).
 */
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import * as http2 from 'node:http2';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RunningEnvoy, startEnvoy } from '../../src/envoy/process-envoy.ts';
import { type Simulator, startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { createAuthority } from '../support/certificates.ts';
import { type Answer, chatBody, openStream, send } from '../support/client.ts';
import { envoyForTests } from '../support/envoy.ts';
import { eventually } from '../support/eventually.ts';
import { type GatewayOptions, gateway } from '../support/gateway.ts';
import { freePorts } from '../support/ports.ts';
import { type CliProcess, runCli } from '../support/serve.ts';
import { configYaml, type Draft } from '../support/stack.ts';

interface Place {
  readonly engines: readonly Simulator[];
  readonly picker: CliProcess;
  readonly pickerPort: number;
  readonly url: string;
  ask(fields?: object, options?: { path?: string; headers?: Record<string, string> }): Promise<Answer>;
  metrics(): Promise<string>;
  close(): Promise<void>;
}

/** Two engines or one of the test's own, a picker and a gateway. @param own port of that one. */
async function start(
  options: GatewayOptions,
  change: (config: Draft, folder: string) => void,
  own?: number,
): Promise<Place> {
  const engines = await Promise.all(
    (own === undefined ? ['demo', 'demo'] : []).map((model) =>
      startSimulator({
        profile: parseProfile('test', {}),
        models: [model, 'other', 'inventory'],
        faults: true,
      }),
    ),
  );
  const folder = mkdtempSync(join(tmpdir(), 'fairlane-picker-'));
  const [api = 0, admin = 0, metrics = 0, port = 0, unused = 0] = await freePorts(5);
  const path = join(folder, 'fairlane.yaml');
  writeFileSync(
    path,
    configYaml(
      own === undefined ? engines.map(({ url }) => url) : [`http://127.0.0.1:${own}`],
      { api: unused, admin, metrics },
      join(folder, 'run'),
      (config) => {
        config['mode'] = 'endpoint-picker';
        config['picker'] = { tenant: 'others' };
        config['service']['address'] = `127.0.0.1:${port}`;
        config['models'] = { demo: { pool: 'main' }, other: { pool: 'main' } };
        config['tenants'] = { others: {}, narrow: { models: ['demo'] } };
        change(config, folder);
      },
    ),
  );
  const picker = runCli(['serve', '--config', path]);
  await picker.until('serving ext_proc');
  const envoy: RunningEnvoy = await startEnvoy({
    envoy: await envoyForTests(),
    bootstrap: gateway({
      api,
      admin,
      picker: port,
      engines: own === undefined ? engines.map((engine) => engine.port) : [own],
      subsets: { host: ['127.0.0.1'] },
      options,
    }),
    directory: folder,
    admin: { host: '127.0.0.1', port: admin },
    concurrency: 1,
    onLog: () => undefined,
  });
  return {
    engines,
    picker,
    pickerPort: port,
    url: `http://127.0.0.1:${api}`,
    ask: (fields = {}, { path: to, headers = {} } = {}) =>
      send(`http://127.0.0.1:${api}`, {
        ...(to !== undefined && { path: to }),
        headers,
        body: chatBody(fields),
      }),
    metrics: async () => (await fetch(`http://127.0.0.1:${metrics}/metrics`)).text(),
    async close() {
      picker.child.kill('SIGTERM');
      await picker.exited;
      await envoy.stop(500);
      for (const engine of engines) await engine.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

const served = ({ engines }: Place): number =>
  engines.reduce((sum, engine) => sum + engine.stats().started, 0);
const lastBody = ({ engines }: Place, text: string): Record<string, unknown> | undefined =>
  engines
    .flatMap((engine) => engine.requests())
    .map(({ body }) => body as Record<string, unknown>)
    .findLast((body) => JSON.stringify(body).includes(text));

describe('a picker behind a gateway of before the protocol’s 1.0, over TLS', () => {
  let place: Place;
  beforeAll(async () => {
    place = await start({ isOld: true, tls: true }, (config) => {
      config['queue'] = { maxWait: '300ms' };
      config['pools']['main']['concurrencyLimit'] = 1;
      config['models']['slow'] = { pool: 'main' };
    });
  });
  afterAll(() => place.close());

  it('judges answers by their status: good ones eject nobody (proposal 004: the metadata came with 1.0)', async () => {
    for (let i = 0; i < 30; i += 1) expect((await place.ask({ max_tokens: 1 })).status).toBe(200);
    const text = await place.metrics();
    expect(text.match(/fairlane_endpoint_ejected\{[^}]*\} 0/g)).toHaveLength(2);
    expect(text).not.toMatch(/fairlane_endpoint_ejections_total\{[^}]*\} [1-9]/);
  });

  it('sheds with 429 and Retry-After what waited too long (llm-d errcommon: ResourceExhausted is 429)', async () => {
    const answers = await Promise.all(Array.from({ length: 12 }, () => place.ask({ max_tokens: 400 })));
    const shed = answers.filter(({ status }) => status !== 200);
    expect(shed.length).toBeGreaterThan(0);
    for (const answer of shed) {
      expect(answer.status).toBe(429);
      expect(Number(answer.headers['retry-after'])).toBeGreaterThanOrEqual(1);
      expect(['queue_timeout', 'queue_full', 'tenant_queue_full']).toContain(answer.json.error.code);
    }
  });

  it('routes a model that nothing names, and not one that the tenant may not use', async () => {
    const sent = await place.ask({ model: 'inventory', max_tokens: 1, user: 'unlisted' });
    expect(sent.status).toBe(200);
    expect(sent.headers).not.toHaveProperty('x-fairlane-model');
    expect(lastBody(place, 'unlisted')?.['model']).toBe('inventory');
    const narrow = { headers: { 'x-gateway-inference-fairness-id': 'narrow' } };
    expect((await place.ask({ model: 'other' }, narrow)).status).toBe(404);
    expect((await place.ask({ model: 'inventory' }, narrow)).status).toBe(404);
    const text = await place.metrics();
    expect(text).toContain('model="(not configured)"');
    expect(text).not.toContain('model="inventory"');
  });

  it.each(['x-llm-d-model-name-rewrite', 'x-gateway-model-name-rewrite'])(
    'serves with the model that the gateway wants: %s (llm-d metadata/consts.go)',
    async (name) => {
      const mark = `rewritten-${name}`;
      const headers = { [name]: 'other' };
      const answer = await place.ask({ model: 'a name for clients', max_tokens: 1, user: mark }, { headers });
      expect(answer.status).toBe(200);
      expect(answer.headers['x-fairlane-model']).toBe('other');
      expect(lastBody(place, mark)).toMatchObject({ model: 'other', user: mark });
      const narrow = { ...headers, 'x-gateway-inference-fairness-id': 'narrow' };
      expect((await place.ask({ model: 'demo' }, { headers: narrow })).status).toBe(404);
    },
  );

  it('routes unlisted paths, body and all, without counting them (reference picker: any path)', async () => {
    const named = (id: string) => ({ 'x-client-request-id': id });
    const big = { messages: [{ role: 'user', content: 'x'.repeat(200_000) }] };
    const past = await place.ask(big, { path: '/primary-gateway-test', headers: named('past-the-limits') });
    // The engine's own words.
    expect([past.status, past.text]).toEqual([404, expect.not.stringContaining('Not served here')]);
    expect(past.headers).not.toHaveProperty('x-fairlane-model');
    expect((await place.ask({ max_tokens: 1 }, { headers: named('counted') })).status).toBe(200);
    await eventually(
      () => place.picker.stdout(),
      (text) => text.includes('counted'),
    );
    expect(place.picker.stdout()).not.toContain('past-the-limits');
  });

  it.each([
    '/v1/chat/completions/',
    '//v1/chat/completions',
    '/v1/chat/complet%69ons',
    '/v1/chat/completions;v=1',
    '/generate',
    '/v1/load_lora_adapter',
  ])('lets nothing past the limits by its spelling: %s', async (path) => {
    const before = served(place);
    expect((await place.ask({ max_tokens: 1 }, { path })).status).toBe(404);
    expect(served(place)).toBe(before);
  });
});

describe('a picker with certificates of its own, in the conformance tests', () => {
  const authority = createAuthority('the operator');
  let place: Place;
  beforeAll(async () => {
    place = await start({ tls: true, identity: authority.issue(['gateway']) }, (config, folder) => {
      const { cert, key } = authority.issue(['picker.test']);
      for (const [name, text] of Object.entries({
        'tls.crt': cert,
        'tls.key': key,
        'ca.crt': authority.ca,
      })) {
        writeFileSync(join(folder, name), text);
      }
      config['service']['tls'] = { cert: 'tls.crt', key: 'tls.key', clientCa: 'ca.crt' };
      config['service']['drainTimeout'] = '20s';
      config['picker'] = { tenant: 'others', conformance: true, unknownModels: 'refuse' };
    });
  });
  afterAll(() => place.close());

  it.each(['/v1/completions', '/primary-gateway-test'])(
    'goes where the test says, and says who served: %s (conformance/tests/gateway_following_epp_routing.go)',
    async (path) => {
      for (const { port } of place.engines) {
        const wanted = `127.0.0.1:${port}`;
        for (const selection of [wanted, ` ${wanted} , 10.9.9.9:1`]) {
          const answer = await send(place.url, {
            path,
            headers: { 'test-epp-endpoint-selection': selection },
            body: JSON.stringify({ model: 'demo', prompt: 'Write as if you were a critic', max_tokens: 1 }),
          });
          expect(answer.headers['x-conformance-test-served-endpoint']).toBe(wanted);
          expect(String(answer.headers['x-conformance-test-selected-endpoint']).split(',')[0]).toBe(wanted);
        }
      }
    },
  );

  it('takes an IP address for all endpoints there, and answers 503 where nothing is named', async () => {
    const select = (selection: string) =>
      place.ask({ max_tokens: 1 }, { headers: { 'test-epp-endpoint-selection': selection } });
    expect((await select('127.0.0.1')).status).toBe(200);
    expect((await select('10.9.9.9')).status).toBe(503);
    expect((await place.ask({ max_tokens: 1 }, { headers: { 'x-subset': 'host' } })).status).toBe(200);
  });

  it('refuses models that nothing names, where it is told to', async () => {
    expect((await place.ask({ model: 'inventory' })).status).toBe(404);
  });

  it('tells health in plain text, and nothing else', async () => {
    const client = http2.connect(`http://127.0.0.1:${place.pickerPort}`);
    const call = (path: string): Promise<unknown> =>
      new Promise((resolve) => {
        const stream = client.request({
          ':method': 'POST',
          ':path': path,
          'content-type': 'application/grpc',
        });
        let status: unknown;
        const look = (headers: http2.IncomingHttpHeaders): void => {
          status = headers['grpc-status'] ?? status;
        };
        stream.on('response', look).on('trailers', look);
        stream.on('error', () => undefined);
        stream.on('close', () => resolve(status)).resume();
        stream.end(Buffer.alloc(5));
      });
    expect(await call('/grpc.health.v1.Health/Check')).toBe('0');
    expect(await call('/envoy.service.ext_proc.v3.ExternalProcessor/Process')).toBe('12');
    client.destroy();
  });

  it('is alive while it drains, and not ready (reference picker: liveness, readiness)', async () => {
    // Longer than all that is looked at: without a stream the drain is over.
    const body = chatBody({ max_tokens: 10_000, ignore_eos: true, stream: true });
    const held = await openStream(place.url, { body });
    place.picker.child.kill('SIGTERM');
    await place.picker.until('draining');
    const statusOf = (service: string): Promise<number | undefined> =>
      new Promise((resolve) => {
        const client = http2.connect(`http://127.0.0.1:${place.pickerPort}`);
        client.on('error', () => resolve(undefined));
        const stream = client.request({
          ':method': 'POST',
          ':path': '/grpc.health.v1.Health/Check',
          'content-type': 'application/grpc',
        });
        stream.on('data', (bytes: Buffer) => resolve(bytes[6]));
        stream.on('error', () => resolve(undefined));
        stream.on('close', () => client.destroy());
        const name = Buffer.from(service);
        stream.end(Buffer.concat([Buffer.from([0, 0, 0, 0, name.length + 2, 0x0a, name.length]), name]));
      });
    expect(await statusOf('liveness')).toBe(1);
    for (const service of ['readiness', 'inference-extension', '']) expect(await statusOf(service)).toBe(2);
    expect((await place.ask({})).status).toBe(503);
    held.hangUp();
  });
});

describe('a picker whose pool has no endpoints', () => {
  let place: Place;
  beforeAll(async () => {
    place = await start({}, (config) => {
      config['pools']['main']['endpoints'] = ['http://engines.invalid:8000'];
    });
  });
  afterAll(() => place.close());

  it.each([
    ['a model', 'demo', undefined],
    ['a model that nothing names', 'inventory', undefined],
    ['a path that is not listed', 'demo', '/primary-gateway-test'],
  ])('answers 503 for %s (proposal 004: ImmediateResponse 503)', async (_what, model, path) => {
    const answer = await place.ask({ model }, path === undefined ? {} : { path });
    expect([answer.status, answer.json.error.code]).toEqual([503, 'no_healthy_endpoint']);
    expect(Number(answer.headers['retry-after'])).toBeGreaterThanOrEqual(1);
  });

  it('answers 503 without a body, too', async () => {
    expect((await send(place.url, { method: 'GET', path: '/primary-gateway-test' })).status).toBe(503);
  });
});

describe('what an engine gets from a picker', () => {
  let engine: Server;
  let place: Place;
  beforeAll(async () => {
    // It says what it got.
    engine = createServer((request, response) => {
      const parts: Buffer[] = [];
      request.on('data', (part: Buffer) => parts.push(part));
      request.on('end', () => {
        const body = Buffer.concat(parts);
        const { url: path, headers } = request;
        const type = headers['content-type'];
        const sha256 = createHash('sha256').update(body).digest('hex');
        response.setHeader('content-type', 'application/json');
        response.end(JSON.stringify({ text: '', path, sha256, type }));
      });
    });
    await new Promise<void>((resolve) => engine.listen(0, '127.0.0.1', resolve));
    place = await start({}, () => undefined, (engine.address() as AddressInfo).port);
    await eventually(
      () => place.ask(),
      ({ status }) => status === 200,
    );
  });
  afterAll(async () => {
    await place.close();
    engine.closeAllConnections();
    engine.close();
  });

  it.each([0, 1, 62_000, 62_001, 3_000_000])(
    'is the body of a path that is not listed, as it came: %i bytes',
    async (size) => {
      const body = randomBytes(size);
      const sha256 = createHash('sha256').update(body).digest('hex');
      const path = '/custom/predict?a=b';
      const headers = { 'content-type': 'application/octet-stream' };
      const sized = { ...headers, 'content-length': String(size) };
      const whole = await send(place.url, { path, headers: sized, body });
      expect(whole.json).toMatchObject({ sha256, type: 'application/octet-stream', path });
      const chunked = await send(place.url, { path, headers, body, trailers: { 'x-end': '1' } });
      expect(chunked.json).toMatchObject({ sha256, type: 'application/octet-stream', path });
    },
  );

  it('is a form with the model that the gateway wants, and the rest of it as it came', async () => {
    const file = randomBytes(100_000).toString('latin1');
    const form = (model: string): Buffer =>
      Buffer.from(
        [
          '--boundary-of-a-test\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\ncontent-type: audio/wav\r\n\r\n',
          `${file}\r\n--boundary-of-a-test\r\ncontent-disposition: form-data; name="model"\r\n\r\n${model}`,
          '\r\n--boundary-of-a-test\r\ncontent-disposition: form-data; name="language"\r\n\r\nen\r\n--boundary-of-a-test--\r\n',
        ].join(''),
        'latin1',
      );
    const options = { path: '/v1/audio/transcriptions', body: form('a name for clients') };
    const headers = { 'content-type': 'multipart/form-data; boundary=boundary-of-a-test' };
    const rewritten = { ...headers, 'x-gateway-model-name-rewrite': 'other' };
    const answer = await send(place.url, { ...options, headers: rewritten });
    expect(answer.status).toBe(200);
    expect(answer.headers['x-fairlane-model']).toBe('other');
    expect(answer.json.sha256).toBe(createHash('sha256').update(form('other')).digest('hex'));
    const narrow = { ...rewritten, 'x-gateway-inference-fairness-id': 'narrow' };
    expect((await send(place.url, { ...options, headers: narrow })).status).toBe(404);
  });
});
