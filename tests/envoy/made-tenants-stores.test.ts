/** Two replicas, each with an Envoy of its own, whose made tenants are in PostgreSQL or in Redis; and a store that is away. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Answer, chatBody, send } from '../support/client.ts';
import { eventually } from '../support/eventually.ts';
import { TOKEN } from '../support/made-tenants.ts';
import { freePorts } from '../support/ports.ts';
import { startPostgresql } from '../support/postgresql.ts';
import { answerChat, type ReadyStack, startReadyStack } from '../support/ready-engine.ts';
import { startRedis } from '../support/redis.ts';
import type { Draft } from '../support/stack.ts';

const SECOND_MS = 1_000;

interface Store {
  readonly url: string;
  kill(): Promise<void>;
  restart(): Promise<void>;
  close(): Promise<void>;
}

const STORES: readonly (readonly [
  string,
  {
    readonly start: () => Promise<Store>;
    readonly use: (config: Draft, url: string, directory: string) => void;
  },
])[] = [
  [
    'PostgreSQL',
    {
      start: startPostgresql,
      use: (config, url, directory) => {
        config['ledger'] = { url, directory };
      },
    },
  ],
  [
    'Redis',
    {
      // What it has is to be there after a restart.
      start: () => startRedis(['--appendonly', 'yes', '--appendfsync', 'always']),
      use: (config, url) => {
        config['redis'] = { url };
      },
    },
  ],
];

describe.each(STORES)('on %s', (_, { start, use }) => {
  const directory = mkdtempSync(join(tmpdir(), 'fairlane-made-'));
  let store: Store;
  let replicas: readonly ReadyStack[];
  let ports: readonly number[];
  /** Resolves an answer that was held back. */
  let finish: (() => void) | undefined;

  beforeAll(async () => {
    process.env['MADE_TENANTS_TOKEN'] = TOKEN;
    [store, ports] = await Promise.all([start(), freePorts(2)]);
    const replica = (i: number): Promise<ReadyStack> =>
      startReadyStack(
        (request, response) => {
          request.resume();
          if (request.headers['x-slow'] === undefined) answerChat(response);
          else finish = () => answerChat(response);
        },
        (config) => {
          const own = join(directory, `${i}`);
          config['admin'] = {
            address: `127.0.0.1:${ports[i]}`,
            token: 'env:MADE_TENANTS_TOKEN',
            directory: own,
          };
          config['envoy'].passHeaders = ['x-slow'];
          use(config, store.url, own);
        },
      );
    replicas = [await replica(0), await replica(1)];
  }, 180_000);
  afterAll(async () => {
    await Promise.all(replicas.map((one) => one.close()));
    await store.close();
    rmSync(directory, { recursive: true, force: true });
  });

  const call = (method: string, path: string, body?: unknown, replica = 0): Promise<Response> =>
    fetch(`http://127.0.0.1:${ports[replica]}${path}`, {
      method,
      headers: { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
  // oxlint-disable-next-line no-explicit-any -- JSON, as a client has it
  async function admin(method: string, path: string, body?: unknown, replica = 0): Promise<any> {
    const response = await call(method, path, body, replica);
    const answer = await response.json();
    if (!response.ok) throw new Error(`${response.status} ${JSON.stringify(answer)}`);
    return answer;
  }
  const ask = (key: string, replica: number, headers = {}): Promise<Answer> =>
    send(replicas[replica]?.stack.url ?? '', { key, body: chatBody(), headers });

  /** Milliseconds until a key gets this status at both. */
  async function untilBoth(key: string, status: number): Promise<number> {
    const beganMs = performance.now();
    const one = async (replica: number): Promise<number> => {
      for (;;) {
        if ((await ask(key, replica)).status === status) return performance.now() - beganMs;
        if (performance.now() - beganMs > 10_000) throw new Error(`never ${status}`);
      }
    };
    return Math.max(await one(0), await one(1));
  }

  it('a key that is made on one opens both within a second, revoked it closes both, and a stream goes on', async () => {
    await admin('POST', '/v1/tenants', { name: 'acme' });
    const { id, key } = await admin('POST', '/v1/tenants/acme/keys');
    expect(await untilBoth(key, 200)).toBeLessThan(SECOND_MS);
    const running = ask(key, 1, { 'x-slow': 'on' });
    await eventually(() => finish, Boolean);
    await admin('DELETE', `/v1/tenants/acme/keys/${id}`, undefined, 1);
    expect(await untilBoth(key, 401)).toBeLessThan(SECOND_MS);
    finish?.();
    expect((await running).status).toBe(200);
  });

  it('changes at one time on both are all kept', async () => {
    const made = await Promise.all(
      Array.from({ length: 8 }, (_unused, i) =>
        admin('POST', '/v1/tenants/acme/keys', { name: `k${i}` }, i % 2),
      ),
    );
    for (const replica of [0, 1]) {
      const has = async (): Promise<boolean> => {
        const { keys } = await admin('GET', '/v1/tenants/acme/keys', undefined, replica);
        const ids = new Set(keys.map(({ id }: { id: string }) => id));
        return made.every(({ id }) => ids.has(id));
      };
      expect(await eventually(has, Boolean)).toBe(true);
    }
  });

  it('while it is away requests go on, a change gets 503, and it comes back', async () => {
    const { key } = await admin('POST', '/v1/tenants/acme/keys');
    await untilBoth(key, 200);
    await store.kill();
    const refused = await eventually(
      () => call('POST', '/v1/tenants/acme/keys'),
      ({ status }) => status === 503,
      15_000,
    );
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(await refused.json()).toMatchObject({ error: { code: 'store_away', hint: expect.any(String) } });
    expect((await call('GET', '/v1/tenants/acme')).status).toBe(200);
    const statuses = await Promise.all([0, 1].map(async (replica) => (await ask(key, replica)).status));
    expect(statuses).toEqual([200, 200]);
    const health = await (await fetch(`${replicas[0]?.stack.metricsUrl}/health`)).json();
    expect(health).toMatchObject({ status: 'degraded' });

    await store.restart();
    const back = await eventually(
      () => call('POST', '/v1/tenants/acme/keys', undefined, 1),
      ({ status }) => status === 201,
      20_000,
    );
    const { key: late } = (await back.json()) as { key: string };
    expect(await untilBoth(late, 200)).toBeLessThan(10_000);
    expect((await ask(key, 0)).status).toBe(200);
    const text = replicas.map(({ stack }) => stack.logText()).join();
    for (const secret of [key, late, TOKEN]) expect(text).not.toContain(secret);
  });
});
