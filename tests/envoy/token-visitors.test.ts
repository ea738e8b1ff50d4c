/** Tenants that tokens name and the configuration does not, and keys of an issuer that is asked over the network. */
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Answer, chatBody, send } from '../support/client.ts';
import { eventually } from '../support/eventually.ts';
import { answerChat, type ReadyStack, startReadyStack } from '../support/ready-engine.ts';
import { KEYS, type Stack } from '../support/stack.ts';
import { AUDIENCE, claims, ISSUER, keySet, rsaKey, token } from '../support/tokens.ts';

const MOST = 3;
const LABEL = '(not configured)';
const key = rsaKey('one');
const fixture = (name: string): string =>
  fileURLToPath(new URL(`../fixtures/tls/${name}.pem`, import.meta.url));

let ready: ReadyStack;
let stack: Stack;
let issuer: Server;
let isIssuerWell = false;
let asked = 0;

beforeAll(async () => {
  issuer = createServer(
    { cert: readFileSync(fixture('server')), key: readFileSync(fixture('key')) },
    (_, response) => {
      asked += 1;
      response.statusCode = isIssuerWell ? 200 : 500;
      response.end(isIssuerWell ? keySet(key) : 'no');
    },
  );
  await new Promise<void>((resolve) => issuer.listen(0, '127.0.0.1', resolve));
  const { port } = issuer.address() as AddressInfo;
  ready = await startReadyStack(
    (request, response) => {
      request.resume();
      answerChat(response);
    },
    (config) => {
      config['identity'] = {
        jwt: {
          issuer: ISSUER,
          audience: AUDIENCE,
          jwks: `https://127.0.0.1:${port}/keys`,
          jwksCa: fixture('ca'),
          tenantClaim: 'sub',
          tierClaim: 'plan',
          unknownTenants: 'free',
          maxUnknownTenants: MOST,
        },
      };
      config['tiers'] = {
        free: { requestsPerMinute: 6, requestBurst: 2 },
        paid: { requestsPerMinute: 600 },
      };
    },
  );
  stack = ready.stack;
});
afterAll(async () => {
  await ready.close();
  issuer.close();
});

const of = (sub: unknown, more: object = {}): string => token(key, claims({ sub, ...more }));
const ask = (bearer: string, options: object = {}): Promise<Answer> =>
  send(stack.url, { key: bearer, body: chatBody(), ...options });
const said = ({ status, json }: Answer): string => `${status} ${json?.error?.code ?? ''}`.trim();

describe('an issuer that does not answer', () => {
  it('costs tokens a 503, and keys nothing', async () => {
    const answer = await ask(of('quiet'));
    expect(said(answer)).toBe('503 token_keys_unavailable');
    expect(answer.headers['retry-after']).toBe('5');
    expect(said(await ask(KEYS.quiet))).toBe('200');
  });

  it('is asked again, and not for each token', async () => {
    isIssuerWell = true;
    await eventually(
      () => ask(of('quiet')),
      ({ status }) => status === 200,
    );
    const before = asked;
    for (let i = 0; i < 20; i += 1) expect(said(await ask(of('quiet')))).toBe('200');
    expect(asked - before).toBeLessThan(3);
  });

  it('costs nobody anything once its keys are known', async () => {
    isIssuerWell = false;
    issuer.closeAllConnections();
    for (let i = 0; i < 5; i += 1) expect(said(await ask(of('quiet')))).toBe('200');
  });
});

describe('a tenant that is not configured', () => {
  it('has the limits of the tier, and of the one that its token names', async () => {
    const first = await ask(of('user@example.com'));
    expect(said(first)).toBe('200');
    expect(first.headers['x-ratelimit-limit-requests']).toBe('6');
    await stack.record(({ tenant }) => tenant === 'user@example.com');
    expect(said(await ask(of('user@example.com')))).toBe('200');
    expect(said(await ask(of('user@example.com')))).toBe('429 rate_limit_exceeded');

    const paid = await ask(of('auth0|1234', { plan: 'paid' }));
    expect(paid.headers['x-ratelimit-limit-requests']).toBe('600');
    const odd = await ask(of('auth0|1234', { plan: 'invented' }));
    expect(odd.headers['x-ratelimit-limit-requests']).toBe('6');
  });

  it('does not choose its tier by a header, and a configured tenant has its own', async () => {
    const headers = { 'x-fairlane-tier': 'paid' };
    const answer = await ask(of('auth0|1234'), { headers });
    expect(answer.headers['x-ratelimit-limit-requests']).toBe('6');
    const configured = await ask(of('quiet', { plan: 'free' }));
    expect(said(configured)).toBe('200');
    expect(configured.headers['x-ratelimit-limit-requests']).toBeUndefined();
  });

  it('asks for models, and for what is not served', async () => {
    const models = await ask(of('third', { plan: 'paid' }), {
      method: 'GET',
      path: '/v1/models',
      body: undefined,
    });
    expect(models.status).toBe(200);
    const get = async (path: string): Promise<number> =>
      (await ask(of('third', { plan: 'paid' }), { method: 'GET', path, body: undefined })).status;
    expect(await get('/v1/models/nobody%2Fnothing')).toBe(404);
    expect(await get('/v1/responses/resp_0123456789abcdef0123456789abcdef')).toBe(404);
    expect(await get('/v1%2Fmodels')).toBe(400);
    expect(said(await ask(of('auth0|1234'), { path: '/v1/nothing' }))).toBe('404 unknown_url');
  });

  it.each(['a b', '../x', 'a:b', 'x'.repeat(129), 'é', '-x', 'a/b'])('cannot be called %j', async (sub) => {
    expect(said(await ask(of(sub)))).toBe('403 unknown_tenant');
  });

  it('is one of a bounded number, with one label for all of them', async () => {
    expect(said(await ask(of('third', { plan: 'paid' })))).toBe('200');
    expect(said(await ask(of('fourth')))).toBe('429 too_many_tenants');
    expect(said(await ask(of('third', { plan: 'paid' })))).toBe('200');
    expect(said(await ask(of('quiet')))).toBe('200');
    const scraped = await (await fetch(`${stack.metricsUrl}/metrics`)).text();
    expect(scraped).toContain(`tenant="${LABEL}"`);
    for (const name of ['user@example.com', 'auth0|1234', 'third', 'fourth'])
      expect(scraped).not.toContain(name);
  });

  it('is refused while the service is away; one that is configured is not', async () => {
    await stack.service().drain();
    expect(said(await ask(of('third')))).toBe('403 unknown_tenant');
    expect(said(await ask(of('quiet')))).toBe('200');
    expect(said(await ask(KEYS.quiet))).toBe('200');
    await stack.restartService();
    expect(said(await ask(of('third')))).toBe('200');
  });
});
