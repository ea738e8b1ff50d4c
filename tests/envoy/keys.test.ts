/** API keys through a real Envoy: which one a request came with, hashed ones, ends and scopes; made and revoked while streams run. */
import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Config } from '../../src/config/config.ts';
import type { TenantKey } from '../../src/domain/tenant-key.ts';
import { type Answer, chatBody, openStream, send } from '../support/client.ts';
import { eventually } from '../support/eventually.ts';
import { sendHttp1 } from '../support/raw-http.ts';
import { envoyStat } from '../support/ready-engine.ts';
import { KEYS, type Stack, startStack } from '../support/stack.ts';

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
const made = (seed: string): string => `fl_${sha256(seed).slice(0, 40)}`;
const hashedKey = (key: string, settings: Partial<TenantKey> = {}): TenantKey => ({
  id: `key_${sha256(key).slice(0, 12)}`,
  secret: { kind: 'sha256', digest: sha256(key) },
  ...settings,
});

/** Written by hand: any text, hashed. */
const BY_HAND = 'a key that was hashed by hand';
const SCOPED = 'key-with-a-scope';

let engine: Server;
let stack: Stack;
let port = 0;
let seen: IncomingHttpHeaders[] = [];
let endStreams = false;

beforeAll(async () => {
  engine = createServer((request, response) => {
    let body = '';
    request.setEncoding('utf8').on('data', (part: string) => {
      body += part;
    });
    request.on('end', () => {
      if (request.method === 'POST') seen.push(request.headers);
      const usage = { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 };
      if (!body.includes('"stream":true')) {
        response.setHeader('content-type', 'application/json');
        response.end(
          JSON.stringify({ choices: [{ message: { content: 'x' } }], usage, object: 'list', data: [] }),
        );
        return;
      }
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      const timer = setInterval(() => {
        response.write('data: {"choices":[{"delta":{"content":"x"}}]}\n\n');
        if (!endStreams) return;
        clearInterval(timer);
        response.end('data: [DONE]\n\n');
      }, 20);
      response.on('close', () => clearInterval(timer));
    });
  });
  await new Promise<void>((resolve) => engine.listen(0, '127.0.0.1', resolve));
  const { port: enginePort } = engine.address() as AddressInfo;
  stack = await startStack({
    engines: [`http://127.0.0.1:${enginePort}`],
    change(config) {
      config['tenants']['noisy'].keys = [
        KEYS.noisy,
        { key: SCOPED, name: 'scoped', models: ['embedder'], routes: ['embeddings'] },
      ];
    },
  });
  port = Number(new URL(stack.url).port);
  await becomes(KEYS.quiet, 200, 20_000);
}, 60_000);
afterAll(async () => {
  await stack.close();
  engine.closeAllConnections();
  engine.close();
});
beforeEach(() => {
  seen = [];
  endStreams = false;
});

const ask = (key: string, headers: Record<string, string> = {}): Promise<Answer> =>
  send(stack.url, { key, body: chatBody(), headers });
const becomes = (key: string, status: number, mostMs = 1_000): Promise<Answer> =>
  eventually(
    () => ask(key),
    (answer) => answer.status === status,
    mostMs,
  );

/** The configuration with other keys of a tenant. */
const withKeys = (tenant: string, keys: readonly TenantKey[], config = stack.config): Config => {
  const { tenants } = config;
  const known = tenants.get(tenant);
  if (known === undefined) throw new Error(`there is no tenant ${tenant}`);
  return {
    ...config,
    tenants: new Map([...tenants, [tenant, { ...known, keys: [...known.keys, ...keys] }]]),
  };
};
const reload = (config: Config): Promise<void> => stack.service().reload(config, []);

const idOf = (tenant: string, at = 0): string | undefined => stack.config.tenants.get(tenant)?.keys[at]?.id;
const identity = ['authorization', 'x-api-key', 'api-key', 'x-fairlane-key', 'x-fairlane-tenant'];

describe('a key in plain text', () => {
  it('is named in the record by its id; the engine hears of neither', async () => {
    const { headers } = await ask(KEYS.quiet, { 'x-fairlane-key': 'forged', 'x-fairlane-tenant': 'noisy' });
    const record = await stack.record(({ requestId }) => requestId === headers['x-request-id']);
    expect(record).toMatchObject({ tenant: 'quiet', keyId: idOf('quiet') });
    expect(record.keyId).toMatch(/^cfg_[0-9a-f]{12}$/);
    for (const name of identity) expect(seen.at(-1)?.[name]).toBeUndefined();
  });

  it('may be for some models and routes', async () => {
    const body = JSON.stringify({ model: 'embedder', input: 'x' });
    const embed = await send(stack.url, { key: SCOPED, path: '/v1/embeddings', body });
    expect(embed.status).toBe(200);
    const record = await stack.record(({ requestId }) => requestId === embed.headers['x-request-id']);
    expect(record.keyId).toBe(idOf('noisy', 1));
    const other = await send(stack.url, {
      key: SCOPED,
      path: '/v1/embeddings',
      body: JSON.stringify({ model: 'demo', input: 'x' }),
    });
    expect([other.status, other.json.error.code]).toEqual([404, 'model_not_found']);
    const chat = await ask(SCOPED);
    expect([chat.status, chat.json.error.code]).toEqual([403, 'route_not_allowed']);
    const anthropic = await send(stack.url, { key: SCOPED, path: '/v1/messages', body: chatBody() });
    expect(anthropic.json).toMatchObject({ type: 'error', error: { type: 'permission_error' } });
    const models = await send(stack.url, { key: SCOPED, method: 'GET', path: '/v1/models' });
    expect(models.json.data.map(({ id }: { readonly id: string }) => id)).toEqual(['embedder']);
  });
});

describe('a hashed key', () => {
  it('passes within a second of being made, is refused within one of being revoked, and streams go on', async () => {
    const key = made(expect.getState().currentTestName ?? '');
    expect((await ask(key)).status).toBe(401);
    const streams = await Promise.all(
      [KEYS.quiet, KEYS.noisy].map((one) =>
        openStream(stack.url, { key: one, body: chatBody({ stream: true }) }),
      ),
    );
    const config = withKeys('quiet', [hashedKey(key)]);
    await reload(config);
    const first = await becomes(key, 200);
    const record = await stack.record(({ requestId }) => requestId === first.headers['x-request-id']);
    expect(record).toMatchObject({ tenant: 'quiet', keyId: hashedKey(key).id });
    for (const name of identity) expect(seen.at(-1)?.[name]).toBeUndefined();
    // Keys in plain text go on, beside it.
    for (const plain of [KEYS.quiet, KEYS.noisy]) expect((await ask(plain)).status).toBe(200);

    await reload(stack.config);
    expect((await ask(key)).status).toBe(401);
    await becomes(KEYS.quiet, 200);
    endStreams = true;
    for (const { status, done } of streams) {
      expect(status).toBe(200);
      expect(await done).toContain('[DONE]');
    }
    const folder = stack.config.envoy.directory;
    for (const text of [
      stack.logText(),
      ...['hashed-keys.json', 'api-keys.json', 'key-ids.json'].map((name) =>
        readFileSync(join(folder, name), 'utf8'),
      ),
    ]) {
      expect(text).not.toContain(key);
    }
    expect(stack.logText()).not.toContain(sha256(key));
  });

  describe('beside what is none', () => {
    const key = made('quiet');
    const other = made('noisy');
    beforeAll(async () => {
      const quiet = withKeys('quiet', [hashedKey(key), { ...hashedKey(BY_HAND), id: 'cfg_0123456789ab' }]);
      await reload(withKeys('noisy', [hashedKey(other)], quiet));
      await becomes(key, 200);
      await becomes(other, 200);
    });
    afterAll(() => reload(stack.config));

    const raw = async (
      lines: readonly string[],
    ): Promise<{ readonly status: number; readonly tenant?: string }> => {
      const body = chatBody();
      const { text, status } = await sendHttp1(port, [
        [
          'POST /v1/chat/completions HTTP/1.1',
          'host: x',
          'connection: close',
          ...lines,
          'content-type: application/json',
          `content-length: ${body.length}`,
          '',
          body,
        ].join('\r\n'),
      ]);
      const id = /^x-request-id: (.*)\r$/im.exec(text)?.[1];
      if (status !== 200) return { status };
      const { tenant = '' } = await stack.record(({ requestId }) => requestId === id);
      return { status, tenant };
    };

    it.each([
      [[`authorization: Bearer ${key}`], 'quiet'],
      [[`authorization: bearer   ${key}  `], 'quiet'],
      [[`authorization: ${key}`], 'quiet'],
      [[`x-api-key: ${key}`], 'quiet'],
      [[`api-key: ${key}`], 'quiet'],
      [['authorization: Bearer foreign', `x-api-key: ${key}`], 'quiet'],
      [['authorization: Bearer fl_foreign', `api-key: ${key}`], 'quiet'],
      [[`x-api-key: ${key}`, `x-api-key: ${other}`], 'quiet'],
      [[`authorization: Bearer ${other}`, `x-api-key: ${key}`], 'noisy'],
      // Of two that are good the first counts, whatever is known of them.
      [[`authorization: Bearer ${KEYS.noisy}`, `x-api-key: ${key}`], 'noisy'],
      [[`authorization: Bearer ${key}`, `x-api-key: ${KEYS.noisy}`], 'quiet'],
      [[`authorization: Bearer ${BY_HAND}`], 'quiet'],
      [[`authorization: Bearer ${KEYS.noisy}`], 'noisy'],
      [[`authorization: Bearer ${key}`, 'x-fairlane-tenant: noisy', 'x-fairlane-key: forged'], 'quiet'],
    ])('counts: %j', async (lines, tenant) => {
      expect(await raw(lines)).toEqual({ status: 200, tenant });
    });

    const nul = '\0';
    it.each([
      ['its digest', [`authorization: Bearer ${sha256(key)}`]],
      ['its digest in upper case', [`authorization: Bearer ${sha256(key).toUpperCase()}`]],
      ['the digest of a key in plain text', [`authorization: Bearer ${sha256(KEYS.quiet)}`]],
      ['its id', [`authorization: Bearer ${hashedKey(key).id}`]],
      ['upper case', [`authorization: Bearer ${key.toUpperCase()}`]],
      ['a part of it', [`authorization: Bearer ${key.slice(0, -1)}`]],
      ['more than it', [`authorization: Bearer ${key}x`]],
      ['two in one', [`authorization: Bearer ${key} ${key}`]],
      // Envoy makes one of both.
      ['two in two headers', [`authorization: Bearer ${key}`, `authorization: Bearer ${key}`]],
      ['two with a comma', [`authorization: Bearer ${key},${key}`]],
      ['a long one', [`authorization: Bearer fl_${'x'.repeat(20_000)}`]],
      ['many', Array.from({ length: 60 }, (_, i) => `x-api-key: fl_${i}`)],
      ['other letters', [`authorization: Bearer fl_\xe9\xff\x80`]],
      ['only its beginning', ['authorization: Bearer fl_']],
      ['headers of ours alone', ['x-fairlane-tenant: quiet', `x-fairlane-key: ${hashedKey(key).id}`]],
      ['headers of ours beside a foreign key', ['authorization: Bearer fl_x', 'X-Fairlane-Tenant: quiet']],
      ['scheme of another kind', [`authorization: Basic ${key}`]],
    ])('is not: %s', async (_, lines) => {
      expect((await raw(lines)).status).toBe(401);
      expect(seen).toEqual([]);
    });

    it('with a NUL no request is valid', async () => {
      expect((await raw([`authorization: Bearer ${key}${nul}`])).status).toBe(400);
    });

    it('a wrong one is refused as before: the same words, no stream to the service', async () => {
      const before = await envoyStat(stack, 'http.fairlane.ext_proc.streams_started');
      for (const path of ['/v1/chat/completions', '/v1/messages', '/v1/models']) {
        const [hashed, plain] = await Promise.all(
          ['fl_wrong', 'wrong'].map((wrong) => send(stack.url, { key: wrong, path, body: chatBody() })),
        );
        expect(hashed?.status).toBe(401);
        expect(hashed?.text).toBe(plain?.text);
      }
      expect(await envoyStat(stack, 'http.fairlane.ext_proc.streams_started')).toBe(before);
    });
  });
});

describe('the end of a key', () => {
  it.each(['plain', 'sha256'] as const)('comes by itself, in Envoy’s file too: %s', async (kind) => {
    const key = made(expect.getState().currentTestName ?? '');
    const secret: TenantKey['secret'] = kind === 'plain' ? { kind, value: key } : hashedKey(key).secret;
    await reload(withKeys('quiet', [hashedKey(key, { secret, expiresMs: Date.now() + 3_000 })]));
    await becomes(key, 200);
    await becomes(key, 401, 6_000);
    await eventually(
      () =>
        readFileSync(join(stack.config.envoy.directory, 'api-keys.json'), 'utf8') +
        readFileSync(join(stack.config.envoy.directory, 'hashed-keys.json'), 'utf8'),
      (text) => !text.includes(key) && !text.includes(sha256(key)),
    );
    expect((await ask(KEYS.quiet)).status).toBe(200);
    await reload(stack.config);
  });
});

it('ten thousand hashed keys: made and revoked within a second, and streams go on', async () => {
  const keys = Array.from({ length: 10_000 }, (_, i) => made(String(i)));
  const all = keys.map((key) => hashedKey(key));
  const stream = await openStream(stack.url, { key: KEYS.noisy, body: chatBody({ stream: true }) });
  const last = keys.at(-1) ?? '';
  await reload(withKeys('quiet', all));
  await becomes(last, 200);
  expect((await ask(keys[0] ?? '')).status).toBe(200);
  expect((await ask(KEYS.quiet)).status).toBe(200);
  expect(statSync(join(stack.config.envoy.directory, 'hashed-keys.json')).size).toBeLessThan(1.5 * 1024 ** 2);
  await reload(withKeys('quiet', all.slice(0, -1)));
  expect((await ask(last)).status).toBe(401);
  expect((await ask(keys[0] ?? '')).status).toBe(200);
  endStreams = true;
  expect(await stream.done).toContain('[DONE]');
  await reload(stack.config);
});

describe('while the service is away', () => {
  it('hashed keys are known, and no others', async () => {
    const key = made(expect.getState().currentTestName ?? '');
    await reload(withKeys('quiet', [hashedKey(key)]));
    await becomes(key, 200);
    await stack.service().drain();
    await becomes(key, 200, 5_000);
    for (const name of identity) expect(seen.at(-1)?.[name]).toBeUndefined();
    expect((await ask('fl_wrong')).status).toBe(401);
    await stack.restartService().catch(() => undefined);
  });
});
