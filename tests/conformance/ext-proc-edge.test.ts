/** The gRPC edge without Envoy: what an Envoy should never send, and what grpc.health.v1 says. */
import { chmodSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as grpc from '@grpc/grpc-js';
import * as protoLoader from '@grpc/proto-loader';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ServiceAddress } from '../../src/config/config.ts';
import { createExtProcService } from '../../src/ext-proc/grpc-ext-proc.ts';
import { type GrpcServer, startGrpcServer } from '../../src/service/grpc-server.ts';
import { eventually } from '../support/eventually.ts';
import { createWorld, type World } from '../support/lifecycle.ts';

const PROTOS = fileURLToPath(new URL('../../proto', import.meta.url));
const load = (file: string) =>
  grpc.loadPackageDefinition(
    protoLoader.loadSync(file, { keepCase: true, enums: String, oneofs: true, includeDirs: [PROTOS] }),
  ) as unknown as Record<string, any>; // oxlint-disable-line no-explicit-any -- grpc-js's own dynamic clients
const { ExternalProcessor } = load('envoy/service/ext_proc/v3/external_processor.proto')['envoy'].service
  .ext_proc.v3;
const { Health } = load('grpc/health/v1/health.proto')['grpc'].health.v1;

interface Reply {
  readonly response?: string;
  readonly immediate_response?: { readonly status: { readonly code: number }; readonly body: Buffer };
  readonly request_body?: { readonly response: { readonly body_mutation: { readonly body: Buffer } } };
}
interface Ending {
  readonly replies: readonly Reply[];
  readonly status: number;
}

describe.each(['unix', 'tcp'] as const)('the edge on %s', (kind) => {
  const folder = mkdtempSync(join(tmpdir(), 'fairlane-edge-'));
  const asked: ServiceAddress =
    kind === 'unix' ? { kind, path: join(folder, 's') } : { kind, host: '127.0.0.1', port: 0 };
  let world: World;
  let server: GrpcServer;
  let target: string;
  let draining = false;
  const faults: string[] = [];
  let breakNext = false;

  const start = async (): Promise<void> => {
    world = createWorld();
    const service = createExtProcService({
      openRequest(edge) {
        if (!breakNext) return world.request(edge);
        breakNext = false;
        return Object.assign(world.request(edge), {
          headers() {
            throw new Error('a bug');
          },
        });
      },
      now: () => performance.now(),
      draining: () => draining,
      onMisconfigured: (detail) => faults.push(detail),
      onStreamError: (detail) => faults.push(detail),
    });
    server = await startGrpcServer(asked, [service], 1_000_000);
    target =
      server.address.kind === 'unix' ? `unix:${server.address.path}` : `127.0.0.1:${server.address.port}`;
  };
  beforeAll(start);
  afterAll(async () => {
    await server.close(200);
    rmSync(folder, { recursive: true, force: true });
  });

  const header = (key: string, value: string) => ({ key, raw_value: Buffer.from(value) });
  const requestHeaders = (extra: object = {}) => ({
    request_headers: {
      headers: {
        headers: [
          header(':method', 'POST'),
          header(':path', '/v1/chat/completions'),
          header('x-fairlane-tenant', 'a'),
        ],
      },
      ...extra,
    },
  });
  const body = (text: string) => ({ request_body: { body: Buffer.from(text), end_of_stream: true } });
  const good = '{"model":"small","messages":[{"role":"user","content":"hi"}]}';

  /** Sends the messages one after another's reply, half-closes, and waits for the end. */
  const talk = (messages: readonly object[], options: { readonly replies?: number } = {}): Promise<Ending> =>
    new Promise((resolve) => {
      const client = new ExternalProcessor(target, grpc.credentials.createInsecure());
      const call = client.Process();
      const replies: Reply[] = [];
      for (const message of messages) call.write(message);
      const expected = options.replies ?? messages.length;
      const finish = (status: number) => {
        client.close();
        resolve({ replies, status });
      };
      call.on('data', (reply: Reply) => {
        replies.push(reply);
        if (replies.length === expected) call.end();
      });
      if (expected === 0) call.end();
      call.on('error', (error: grpc.ServiceError) => finish(error.code));
      call.on('end', () => finish(0));
    });

  it('answers message for message, and closes when Envoy does', async () => {
    const { replies, status } = await talk([requestHeaders(), body(good)]);
    expect(replies.map(({ response }) => response)).toEqual(['request_headers', 'request_body']);
    expect(JSON.parse(String(replies[1]?.request_body?.response.body_mutation.body))).toMatchObject({
      model: 'small',
    });
    expect(status).toBe(0);
    expect(world.endpoints.inFlight()).toBe(0);
  });

  it('answers a second body without counting it, and trailers that nobody asked for', async () => {
    const { replies } = await talk([requestHeaders(), body(good), body(good), { request_trailers: {} }]);
    expect(replies.map(({ response }) => response)).toEqual([
      'request_headers',
      'request_body',
      'request_body',
      'request_trailers',
    ]);
    expect(world.endpoints.inFlight()).toBe(0);
  });

  it('passes a response that comes without any request', async () => {
    const { replies } = await talk([
      { response_headers: { headers: { headers: [header(':status', '400')] } } },
      { response_body: { body: Buffer.from('x'), end_of_stream: true } },
      { response_trailers: {} },
    ]);
    expect(replies.map(({ response }) => response)).toEqual([
      'response_headers',
      'response_body',
      'response_trailers',
    ]);
  });

  it('refuses headers that say nothing, and a body of 2 MB', async () => {
    const empty = await talk([{ request_headers: {} }]);
    expect(empty.replies[0]?.immediate_response?.status.code).toBe(401);
    const large = await talk(
      [requestHeaders(), body(`{"model":"small","prompt":"${'x'.repeat(3_000_000)}"}`)],
      { replies: 2 },
    );
    expect(large.status).not.toBe(0);
    expect(world.endpoints.inFlight()).toBe(0);
  });

  it('ends a stream whose message it does not know, so that Envoy goes on without it', async () => {
    const { status, replies } = await talk([{}], { replies: 1 });
    expect(replies).toEqual([]);
    expect(status).toBe(0);
    expect(faults.at(-1)).toContain('unknown message');
  });

  it('refuses a filter that would send the body in pieces, and says why', async () => {
    const { status } = await talk([
      { ...requestHeaders(), protocol_config: { request_body_mode: 'STREAMED' } },
    ]);
    expect(status).toBe(grpc.status.FAILED_PRECONDITION);
    expect(faults.at(-1)).toContain('must be BUFFERED');
  });

  it('loses one request to a bug, not the process', async () => {
    breakNext = true;
    expect((await talk([requestHeaders()])).status).toBe(grpc.status.INTERNAL);
    expect(faults.at(-1)).toContain('a bug');
    expect((await talk([requestHeaders(), body(good)])).status).toBe(0);
  });

  it('frees everything when the connection breaks in any state', async () => {
    for (const messages of [[requestHeaders()], [requestHeaders(), body(good)]]) {
      const client = new ExternalProcessor(target, grpc.credentials.createInsecure());
      const call = client.Process();
      call.on('error', () => undefined);
      for (const message of messages) call.write(message);
      await new Promise((resolve) => call.once('data', resolve));
      call.cancel();
      client.close();
    }
    const held = await eventually(
      () => [world.endpoints.inFlight(), world.dispatcher.queued()],
      ([inFlight, queued]) => inFlight === 0 && queued === 0,
    );
    expect(held).toEqual([0, 0]);
  });

  it('turns new streams away while it drains', async () => {
    draining = true;
    expect((await talk([requestHeaders()])).status).toBe(grpc.status.UNAVAILABLE);
    draining = false;
  });

  it('tells its health, as a whole and by service', async () => {
    const check = (service: string): Promise<string> =>
      new Promise((resolve, reject) => {
        const client = new Health(target, grpc.credentials.createInsecure());
        client.Check({ service }, (error: Error | null, reply: { readonly status: string }) => {
          client.close();
          if (error === null) resolve(reply.status);
          else reject(error);
        });
      });
    expect(await check('')).toBe('SERVING');
    server.setServing(false);
    expect(await check('envoy.service.ext_proc.v3.ExternalProcessor')).toBe('NOT_SERVING');
    server.setServing(true);
    await expect(check('somebody.else')).rejects.toThrow(/NOT_FOUND/);
  });

  if (kind === 'unix') {
    it('is neither where others could take its place nor what a link leads to', async () => {
      const place = mkdtempSync(join(tmpdir(), 'fairlane-place-'));
      const startAt = (path: string): Promise<GrpcServer> =>
        startGrpcServer({ kind: 'unix', path }, [], 1_000);
      chmodSync(place, 0o770);
      await expect(startAt(join(place, 's'))).rejects.toThrow(
        /service\.address: .*others may write to .*choose a folder/,
      );
      chmodSync(place, 0o700);
      symlinkSync(join(place, 'elsewhere'), join(place, 's'));
      await expect(startAt(join(place, 's'))).rejects.toThrow(/exists and is no socket/);
      rmSync(place, { recursive: true });
    });

    it('leaves the mode of other files as it was', () => {
      writeFileSync(join(folder, 'after'), '', { mode: 0o666 });
      expect(statSync(join(folder, 'after')).mode & 0o777).toBe(0o666 & ~process.umask());
      expect(process.umask() & 0o100).toBe(0);
    });

    it('has a socket for its owner only, and does not take one that is in use', async () => {
      expect(statSync(join(folder, 's')).mode & 0o777).toBe(0o600);
      await expect(
        startGrpcServer(
          asked,
          [
            createExtProcService({
              openRequest: (edge) => world.request(edge),
              now: () => 0,
              draining: () => false,
              onMisconfigured: () => undefined,
              onStreamError: () => undefined,
            }),
          ],
          1_000,
        ),
      ).rejects.toThrow(/another process serves/);
    });
  }
});
