/** Tenants and keys that are made while two replicas run, each with an Envoy of its own, by the admin API and the commands. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Answer, chatBody, send } from '../support/client.ts';
import { eventually } from '../support/eventually.ts';
import { freePorts } from '../support/ports.ts';
import { answerChat, type ReadyStack, startReadyStack } from '../support/ready-engine.ts';
import { KEYS } from '../support/stack.ts';

const TOKEN = 'token-that-may-write-0123456789abcdef';
const directory = mkdtempSync(join(tmpdir(), 'fairlane-made-'));
/** What is in force is to be so within this time. */
const SECOND_MS = 1_000;

let replicas: readonly ReadyStack[];
let ports: readonly number[];
/** Resolves an answer that was held back. */
let finish: (() => void) | undefined;

beforeAll(async () => {
  process.env['MADE_TENANTS_TOKEN'] = TOKEN;
  ports = await freePorts(2);
  const start = (port: number | undefined): Promise<ReadyStack> =>
    startReadyStack(
      (request, response) => {
        request.resume();
        if (request.headers['x-slow'] === undefined) answerChat(response);
        else finish = () => answerChat(response);
      },
      (config) => {
        config['admin'] = { address: `127.0.0.1:${port}`, token: 'env:MADE_TENANTS_TOKEN', directory };
        config['envoy'].passHeaders = ['x-slow'];
        config['tiers'] = { gold: { requestsPerMinute: 60_000 } };
      },
    );
  replicas = [await start(ports[0]), await start(ports[1])];
}, 120_000);
afterAll(async () => {
  await Promise.all(replicas.map((one) => one.close()));
  rmSync(directory, { recursive: true, force: true });
});

// oxlint-disable-next-line no-explicit-any -- JSON, as a client has it
async function admin(method: string, path: string, body?: unknown, replica = 0): Promise<any> {
  const response = await fetch(`http://127.0.0.1:${ports[replica]}${path}`, {
    method,
    headers: { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(`${response.status} ${JSON.stringify(answer)}`);
  return answer;
}

const ask = (key: string, replica: number, headers = {}): Promise<Answer> =>
  send(replicas[replica]?.stack.url ?? '', { key, body: chatBody(), headers });

/** Milliseconds until a key gets this status at a replica. It asks without a pause: limits are to be far from what that takes. */
async function until(key: string, status: number, replica: number, beganMs: number): Promise<number> {
  for (;;) {
    if ((await ask(key, replica)).status === status) return performance.now() - beganMs;
    if (performance.now() - beganMs > 10_000) throw new Error(`never ${status}`);
  }
}

it('a key opens both replicas within a second, and closes both, while what runs goes on', async () => {
  await admin('POST', '/v1/tenants', { name: 'acme', tier: 'gold' });
  let began = performance.now();
  const { id, key } = await admin('POST', '/v1/tenants/acme/keys', { name: 'ci' });
  const opened = await Promise.all([until(key, 200, 0, began), until(key, 200, 1, began)]);
  expect(Math.max(...opened)).toBeLessThan(SECOND_MS);

  const running = ask(key, 1, { 'x-slow': 'on' });
  await eventually(() => finish, Boolean);
  began = performance.now();
  await admin('DELETE', `/v1/tenants/acme/keys/${id}`);
  const closed = await Promise.all([until(key, 401, 0, began), until(key, 401, 1, began)]);
  expect(Math.max(...closed)).toBeLessThan(SECOND_MS);
  finish?.();
  expect((await running).status).toBe(200);
});

it('limits of a tenant, and a tenant that is disabled, are in force on both', async () => {
  const { key } = await admin('POST', '/v1/tenants/acme/keys');
  await until(key, 200, 1, performance.now());
  await admin('PATCH', '/v1/tenants/acme', { limits: { requestsPerMinute: 77_000 } }, 1);
  for (const replica of [0, 1]) {
    await eventually(
      () => ask(key, replica),
      ({ headers }) => headers['x-ratelimit-limit-requests'] === '77000',
    );
  }
  await admin('DELETE', '/v1/tenants/acme');
  await Promise.all([until(key, 401, 0, performance.now()), until(key, 401, 1, performance.now())]);
  await admin('PATCH', '/v1/tenants/acme', { disabled: false }, 1);
  const back = await Promise.all([
    until(key, 200, 0, performance.now()),
    until(key, 200, 1, performance.now()),
  ]);
  expect(Math.max(...back)).toBeLessThan(SECOND_MS);
});

it('a restart has them from the first request on, and tenants of files are as they were', async () => {
  const { key } = await admin('POST', '/v1/tenants/quiet/keys');
  await until(key, 200, 0, performance.now());
  await replicas[0]?.stack.restartService();
  expect((await ask(key, 0)).status).toBe(200);
  expect((await ask(KEYS.quiet, 0)).status).toBe(200);
  const records = await replicas[0]?.stack.record(({ keyId }) => keyId?.startsWith('key_') === true);
  expect(records?.tenant).toBe('acme');
  const text = replicas.map(({ stack }) => stack.logText()).join();
  expect(text).not.toContain(key);
  expect(text).not.toContain(TOKEN);
});
