/** Receivers of events over real HTTP: that answer, fail, hang, redirect, are away, or show a certificate of nobody. */

import { readFileSync } from 'node:fs';
import { createServer, type IncomingHttpHeaders, type RequestListener, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { Webhook } from 'standardwebhooks';
import { afterEach, describe, expect, it } from 'vitest';
import type { WebhookConfig } from '../../src/config/config.ts';
import { Webhooks, type WebhooksOptions } from '../../src/service/webhooks.ts';
import type { ServiceEvent } from '../../src/telemetry/telemetry.ts';
import { eventually } from '../support/eventually.ts';

const SECRET = Buffer.alloc(32, 9).toString('base64');
const REDIS_LOST: ServiceEvent = { kind: 'redis', connected: false, reason: 'gone' };

interface Got {
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  readonly url: string;
}

const open: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).toReversed()) await close();
});

const portOf = (server: Server): number => (server.address() as AddressInfo).port;

/** @param statusOf of the n-th request; undefined: it is never answered. */
async function receiver(
  statusOf: (n: number) => number | undefined,
  headers: Readonly<Record<string, string>> = {},
  tls?: Readonly<Record<'key' | 'cert', string>>,
) {
  const got: Got[] = [];
  const answer: RequestListener = (request, response) => {
    let body = '';
    request.setEncoding('utf8');
    request.on('data', (text: string) => {
      body += text;
    });
    request.on('end', () => {
      got.push({ headers: request.headers, body, url: request.url ?? '' });
      const status = statusOf(got.length);
      if (status !== undefined) response.writeHead(status, headers).end('an answer that nobody reads');
    });
  };
  const server = tls === undefined ? createServer(answer) : createTlsServer(tls, answer);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  open.push(
    () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  );
  const scheme = tls === undefined ? 'http' : 'https';
  return { got, url: `${scheme}://127.0.0.1:${portOf(server)}/hook?token=hidden-token` };
}

const hook = (url: string, events: readonly ('redis' | 'budget')[] = ['redis']): WebhookConfig => ({
  url,
  host: new URL(url).host,
  secret: SECRET,
  events: new Set(events),
});

function hooks(webhooks: readonly WebhookConfig[], options: Partial<WebhooksOptions> = {}) {
  const told: ServiceEvent[] = [];
  const counts = new Map<string, number>();
  const of = new Webhooks(
    { webhooks },
    {
      now: () => performance.now(),
      unixMs: Date.now,
      tell: (event) => told.push(event),
      count: (_host, outcome, events) => counts.set(outcome, (counts.get(outcome) ?? 0) + events),
      lastMs: 200,
      ...options,
    },
  );
  open.push(() => of.close());
  return { of, told, counts };
}

describe('a receiver', () => {
  it('gets an event once, signed so that another implementation believes it', async () => {
    const { got, url } = await receiver(() => 204);
    const { of, counts, told } = hooks([hook(url)]);
    of.event(REDIS_LOST);
    of.event({ kind: 'drained', unfinished: 0 });
    await eventually(
      () => counts.get('delivered'),
      (count) => count === 1,
    );
    expect(got).toHaveLength(1);
    const [{ headers, body } = { headers: {}, body: '' }] = got;
    const read = new Webhook(`whsec_${SECRET}`).verify(body, headers as Record<string, string>);
    expect(read).toMatchObject({ type: 'redis.redis', data: { connected: false, reason: 'gone' } });
    expect(headers['content-type']).toBe('application/json');
    expect(() =>
      new Webhook(`whsec_${SECRET}`).verify(`${body} `, headers as Record<string, string>),
    ).toThrow('signature');
    expect(told).toEqual([]);
  });

  it('that answers 500 and then 200 gets it again, with the same id', async () => {
    const { got, url } = await receiver((n) => (n === 1 ? 500 : 200));
    const { of, counts, told } = hooks([hook(url)]);
    of.event(REDIS_LOST);
    await eventually(
      () => counts.get('delivered'),
      (count) => count === 1,
      5_000,
    );
    expect(got.map(({ headers }) => headers['webhook-id'])).toEqual([
      got[0]?.headers['webhook-id'],
      got[0]?.headers['webhook-id'],
    ]);
    for (const { headers, body } of got) {
      new Webhook(`whsec_${SECRET}`).verify(body, headers as Record<string, string>);
    }
    const { host } = new URL(url);
    expect(told).toEqual([
      { kind: 'webhook', host, failing: true, detail: 'answered 500' },
      { kind: 'webhook', host, failing: false, detail: 'takes events again' },
    ]);
    expect(JSON.stringify(told)).not.toContain('hidden-token');
  });

  it('that hangs is given up after its time, one try at a time, and holds up nobody else', async () => {
    const [hangs, works] = await Promise.all([receiver(() => undefined), receiver(() => 200)]);
    const { of, counts, told } = hooks([hook(hangs.url), hook(works.url)], { timeoutMs: 300 });
    for (let i = 0; i < 50; i += 1) of.event(REDIS_LOST);
    await eventually(
      () => works.got.length,
      (count) => count === 50,
      20_000,
    );
    await eventually(
      () => counts.get('failed'),
      (count) => (count ?? 0) >= 1,
      5_000,
    );
    expect(hangs.got.length).toBeLessThan(20);
    expect(told).toContainEqual(expect.objectContaining({ failing: true, detail: 'no answer within 0.3 s' }));
  });

  it('that redirects is not followed', async () => {
    const other = await receiver(() => 200);
    const { url } = await receiver(() => 307, { location: other.url });
    const { of, told } = hooks([hook(url)]);
    of.event(REDIS_LOST);
    await eventually(
      () => told.length,
      (count) => count === 1,
    );
    expect(told[0]).toMatchObject({ failing: true, detail: 'answered 307: redirects are not followed' });
    expect(other.got).toEqual([]);
  });

  it('that is gone gets no more', async () => {
    const { got, url } = await receiver(() => 410);
    const { of, told } = hooks([hook(url)]);
    for (let i = 0; i < 3; i += 1) of.event(REDIS_LOST);
    await eventually(
      () => told.length,
      (count) => count === 1,
    );
    of.event(REDIS_LOST);
    expect(got).toHaveLength(1);
    expect(told).toEqual([{ kind: 'webhook-dropped', host: new URL(url).host, events: 3, reason: 'gone' }]);
  });

  it('whose certificate is from nobody gets nothing', async () => {
    const pem = (name: string): string =>
      readFileSync(new URL(`../fixtures/tls/${name}.pem`, import.meta.url), 'utf8');
    const { got, url } = await receiver(() => 200, {}, { key: pem('key'), cert: pem('server') });
    const { of, told } = hooks([hook(url)]);
    of.event(REDIS_LOST);
    await eventually(
      () => told.length,
      (count) => count === 1,
    );
    expect(told[0]).toMatchObject({ kind: 'webhook', failing: true });
    expect(got).toEqual([]);
  });

  it('that is away costs the end a moment, and what is lost is told', async () => {
    const { url } = await receiver(() => undefined);
    const { of, told, counts } = hooks([hook(url), hook('http://127.0.0.1:1/x')]);
    for (let i = 0; i < 3; i += 1) of.event(REDIS_LOST);
    const beganMs = performance.now();
    await of.close();
    expect(performance.now() - beganMs).toBeLessThan(1_500);
    expect(told).toContainEqual(expect.objectContaining({ reason: 'shutdown' }));
    expect(counts.get('dropped')).toBe(6);
    of.event(REDIS_LOST);
    await of.close();
  });

  it('gets at the end what still waits', async () => {
    const { got, url } = await receiver(() => 200);
    const { of } = hooks([hook(url)], { lastMs: 10_000 });
    for (let i = 0; i < 20; i += 1) of.event(REDIS_LOST);
    await of.close();
    expect(new Set(got.map(({ headers }) => headers['webhook-id'])).size).toBe(20);
  });

  it('that a reload keeps has what waits for it, and one that it takes away is told of', async () => {
    const [stays, goes] = await Promise.all([receiver(() => 200), receiver(() => undefined)]);
    const { of, told, counts } = hooks([hook(stays.url), hook(goes.url)]);
    of.event(REDIS_LOST);
    await eventually(
      () => goes.got.length,
      (count) => count === 1,
    );
    of.event(REDIS_LOST);
    of.reconfigure({ webhooks: [hook(stays.url, ['budget', 'redis'])] });
    await eventually(
      () => counts.get('delivered'),
      (count) => count === 2,
    );
    expect(stays.got).toHaveLength(2);
    expect(told).toContainEqual(expect.objectContaining({ events: 1, reason: 'removed' }));
    expect([...of.queued()]).toEqual([{ host: new URL(stays.url).host, queued: 0 }]);
  });
});
