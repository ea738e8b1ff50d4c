/** nginx in front: the file that docs/clients.md shows, and what a `proxy_pass` alone does. */
import Anthropic from '@anthropic-ai/sdk';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { chatBody, openStream, send } from '../support/client.ts';
import { type Nginx, startNginx } from '../support/clients/nginx.ts';
import { DEMO_KEY, snippet } from '../support/clients/page.ts';
import { type ClientStack, hastyKey, SPENT_KEY, startClientStack } from '../support/clients/stack.ts';
import { eventually } from '../support/eventually.ts';
import { freePorts } from '../support/ports.ts';
import { sendHttp1 } from '../support/raw-http.ts';

const INSTALL_MS = 300_000;
const MIB = 1_048_576;

let clients: ClientStack;
let nginx: Nginx;
let [port, plainPort]: readonly (number | undefined)[] = [];
/** Through the page's file, and through a `proxy_pass` alone. */
let [url, plainUrl] = ['', ''];

beforeAll(async () => {
  clients = await startClientStack((config) => {
    config['envoy']['maxBodySize'] = '2MiB';
  });
  [port, plainPort] = await freePorts(2);
  [url, plainUrl] = [`http://127.0.0.1:${port}`, `http://127.0.0.1:${plainPort}`];
  const page = snippet('nginx', clients.stack.url);
  expect(page).toContain('listen 127.0.0.1:8443;');
  const own = page.replace('127.0.0.1:8443', `127.0.0.1:${port}`);
  const plain = `server { listen 127.0.0.1:${plainPort}; location / { proxy_pass ${clients.stack.url}; } }`;
  nginx = await startNginx(`${own}\n${plain}`, [port ?? 0, plainPort ?? 0]);
}, INSTALL_MS);
afterAll(async () => {
  await nginx.close();
  await clients.close();
});

const messages = [{ role: 'user' as const, content: 'hello' }];
const bodyOf = (text: string): { error: { code: string } } =>
  JSON.parse(text.slice(text.indexOf('\r\n\r\n') + 4)) as { error: { code: string } };

/** How far apart the first and the last event of a stream of a second came, in milliseconds, and the text. */
async function streamed(base: string): Promise<{ readonly spreadMs: number; readonly text: string }> {
  const body = chatBody({ max_tokens: 400, ignore_eos: true, stream: true });
  const stream = await openStream(base, { key: DEMO_KEY, body });
  await eventually(
    () => stream.text(),
    (text) => text.includes('data: '),
    20_000,
  );
  const first = performance.now();
  const text = await stream.done;
  return { spreadMs: performance.now() - first, text };
}

describe('the file of docs/clients.md', () => {
  it('carries both clients, whole and streamed, and keeps its connections', async () => {
    const openai = new OpenAI({ apiKey: DEMO_KEY, baseURL: `${url}/v1` });
    const answer = await openai.chat.completions.create({ model: 'demo', messages, max_tokens: 3 });
    expect(answer.choices[0]?.message.content).toBe('the engine says');
    const anthropic = new Anthropic({ apiKey: DEMO_KEY, baseURL: url });
    const message = await anthropic.messages
      .stream({ model: 'demo', messages, max_tokens: 3 })
      .finalMessage();
    expect(message.usage.output_tokens).toBe(3);
    const before = await connections();
    for (let i = 0; i < 5; i += 1) await openai.models.list();
    expect((await connections()) - before).toBeLessThan(5);
  });

  it('passes events as they come', async () => {
    const { spreadMs, text } = await streamed(url);
    expect(text).toContain('data: [DONE]');
    expect(spreadMs).toBeGreaterThan(200);
  });

  it('leaves names of models with slashes as they are', async () => {
    const path = '/v1/models/org%2Fname';
    expect((await send(url, { key: DEMO_KEY, method: 'GET', path })).json).toMatchObject({ id: 'org/name' });
  });

  it('lets Fairlane refuse: in the shape of the API, with the headers that clients obey', async () => {
    const spent = await send(url, { key: SPENT_KEY, body: chatBody() });
    expect([spent.status, spent.json.error.code]).toEqual([429, 'insufficient_quota']);
    expect(spent.headers['x-should-retry']).toBe('false');
    await send(url, { key: hastyKey('openai'), body: chatBody() });
    const early = await send(url, { key: hastyKey('openai'), body: chatBody() });
    expect(early.status).toBe(429);
    const ms = Number(early.headers['retry-after-ms']);
    expect(ms).toBeGreaterThan(0);
    expect(Number(early.headers['retry-after'])).toBe(Math.ceil(ms / 1_000));
    const unknown = await send(url, { key: 'nobody', body: chatBody() });
    expect([unknown.status, unknown.json.error.code]).toEqual([401, 'invalid_api_key']);
    const large = chatBody({ messages: [{ role: 'user', content: 'a'.repeat(3 * MIB) }] });
    const refused = await send(url, { key: DEMO_KEY, body: large });
    expect([refused.status, refused.json.error.code]).toEqual([413, 'body_too_large']);
    const upgrade = ['GET /v1/responses HTTP/1.1', 'host: x', `authorization: Bearer ${DEMO_KEY}`];
    const socket = ['connection: Upgrade', 'upgrade: websocket', 'sec-websocket-version: 13'];
    const answer = await sendHttp1(port ?? 0, [`${[...upgrade, ...socket].join('\r\n')}\r\n\r\n`]);
    expect([answer.status, bodyOf(answer.text).error.code]).toEqual([426, 'upgrade_refused']);
  });

  it('hangs up when a client does: its slot is free', async () => {
    const body = chatBody({ max_tokens: 20_000, ignore_eos: true, stream: true });
    const stream = await openStream(url, { key: DEMO_KEY, body });
    await eventually(
      () => stream.text(),
      (text) => text.includes('data: '),
    );
    stream.hangUp();
    const record = await clients.stack.record(({ outcome }) => outcome === 'aborted');
    expect(record).toMatchObject({ reason: 'streaming', tenant: 'quiet' });
  });
});

/** What Envoy has ever taken from clients. */
async function connections(): Promise<number> {
  const stats = await (await fetch(`${clients.stack.adminUrl}/stats?filter=downstream_cx_total`)).text();
  return Number(/^http\.fairlane\.downstream_cx_total: (\d+)$/m.exec(stats)?.[1]);
}

describe('a proxy_pass alone', () => {
  it('is served over HTTP/1.0, also a stream, which nginx gives on when it is large or over', async () => {
    expect((await send(plainUrl, { key: DEMO_KEY, body: chatBody() })).status).toBe(200);
    const { text } = await streamed(plainUrl);
    expect(text).toContain('data: [DONE]');
  });

  it('refuses itself what is over 1 MiB, as the page says', async () => {
    const large = chatBody({ messages: [{ role: 'user', content: 'a'.repeat(1.5 * MIB) }] });
    const { status, json } = await send(plainUrl, { key: DEMO_KEY, body: large });
    expect([status, json]).toEqual([413, undefined]);
    // The same through the page's file is the engine's to judge.
    expect((await send(url, { key: DEMO_KEY, body: large })).status).toBe(400);
  });
});
