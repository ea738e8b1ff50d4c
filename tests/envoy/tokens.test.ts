/** Tokens (JWT) through a real Envoy: who gets in and who does not, with the service and without it. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/config/fs-config.ts';
import { type Answer, chatBody, send } from '../support/client.ts';
import { eventually } from '../support/eventually.ts';
import { sendHttp1 } from '../support/raw-http.ts';
import { answerChat, envoyStat, type ReadyStack, startReadyStack } from '../support/ready-engine.ts';
import { KEYS, type Stack } from '../support/stack.ts';
import {
  AUDIENCE,
  claims,
  hmacToken,
  ISSUER,
  keySet,
  part,
  rsaKey,
  soon,
  type TokenKey,
  token,
} from '../support/tokens.ts';

const key = rsaKey('one');
/** Somebody else's, with the same name. */
const foreign = rsaKey('one');
const next = rsaKey('next');

let ready: ReadyStack;
let stack: Stack;
let jwks: string;
/** Headers that the engine got, as text. */
let atEngine = '';

const publish = (...keys: readonly TokenKey[]): void => writeFileSync(jwks, keySet(...keys));

beforeAll(async () => {
  ready = await startReadyStack(
    (request, response) => {
      atEngine += JSON.stringify(request.rawHeaders);
      request.resume();
      answerChat(response);
    },
    (config) => {
      jwks = join(config['envoy'].directory, 'jwks.json');
      publish(key);
      config['identity'] = { jwt: { issuer: ISSUER, audience: AUDIENCE, jwks, tenantClaim: 'org.tenant' } };
      config['tenants'].keyless = {};
    },
  );
  stack = ready.stack;
});
afterAll(() => ready.close());

const named = (tenant: unknown, more: object = {}) => claims({ org: { tenant }, ...more });
const good = () => token(key, named('quiet'));
const ask = (bearer: string | undefined, headers: Readonly<Record<string, string>> = {}): Promise<Answer> =>
  send(stack.url, { key: bearer, body: chatBody(), headers });
const said = ({ status, json }: Answer): string => `${status} ${json?.error?.code ?? ''}`.trim();
const streams = (): Promise<number> => envoyStat(stack, 'http.fairlane.ext_proc.streams_started');

/** Takes over what the files say now. */
async function reload(): Promise<void> {
  const loaded = loadConfig(stack.configPath, process.env);
  if (loaded.kind === 'bad') throw new Error(loaded.problems.join('\n'));
  await stack.service().reload(loaded.config, []);
}

describe('a good token', () => {
  it('is its tenant, and gets to neither the engine nor the log', async () => {
    const sent = good();
    expect(said(await ask(sent))).toBe('200');
    await stack.record(({ tenant, outcome }) => tenant === 'quiet' && outcome === 'completed');
    for (const seen of [atEngine, stack.logText()]) {
      expect(seen).not.toContain(sent);
      expect(seen).not.toContain(sent.split('.')[2]);
      expect(seen.toLowerCase()).not.toContain('x-fairlane-tenant');
    }
  });

  it('may be of a tenant without keys', async () => {
    expect(said(await ask(token(key, named('keyless'))))).toBe('200');
    await stack.record(({ tenant }) => tenant === 'keyless');
  });

  it.each([
    ['bearer in lower case', (sent: string) => `bearer ${sent}`],
    ['two spaces', (sent: string) => `Bearer  ${sent}`],
  ])('is taken with %s', async (_, write) => {
    expect(said(await ask(undefined, { authorization: write(good()) }))).toBe('200');
  });

  it.each([
    ['ahead of a foreign key', { 'x-api-key': 'wrong' }],
    ['ahead of another tenant’s key', { 'x-api-key': KEYS.noisy }],
    ['and not a name that the client sends', { 'x-fairlane-tenant': 'noisy', 'x-fairlane-tier': 'x' }],
  ])('counts %s', async (what, headers) => {
    const mark = { 'x-request-id': `0000000-${what.length}` };
    const before = stack.records().length;
    expect(said(await ask(good(), { ...headers, ...mark }))).toBe('200');
    await eventually(
      () => stack.records().length,
      (count) => count > before,
    );
    expect(stack.records().at(-1)?.tenant).toBe('quiet');
  });

  it('has one of several audiences, or a name within the clock’s tolerance', async () => {
    expect(said(await ask(token(key, named('quiet', { aud: ['other', AUDIENCE] }))))).toBe('200');
    expect(said(await ask(token(key, named('quiet', { exp: soon(-20) }))))).toBe('200');
  });

  // Only the issuer can write these. Envoy does not read `crit`, and docs/how-to/jwt.md says so.
  it('is the issuer’s word, whatever it asks of its readers, and however late it ends', async () => {
    expect(said(await ask(token(key, named('quiet'), { crit: ['cap'], cap: 'none' })))).toBe('200');
    expect(said(await ask(written('"exp":9223372036854775808')))).toBe('200');
  });
});

const signed = (payload: object, header: object = {}) => token(key, { ...payload }, { ...header });
const publicPem = key.publicKey.export({ format: 'pem', type: 'spki' }) as string;
const broken = (): string => {
  const [head, , signature] = good().split('.');
  return `${head}.${part(named('noisy'))}.${signature}`;
};

const ENDS = `"exp":${soon(300)}`;
/** A good one with claims behind it as no library writes them. */
const written = (more: string): string =>
  token(key, `{"iss":"${ISSUER}","aud":"${AUDIENCE}","org":{"tenant":"quiet"},${more}}`);

/** Each with what a client gets for it; the error’s code tells why. */
const REFUSED: readonly (readonly [what: string, bad: () => string, answer: string])[] = [
  ['expired', () => signed(named('quiet', { exp: soon(-100) })), '401 invalid_token'],
  ['without an end', () => signed(named('quiet', { exp: undefined })), '401 invalid_token'],
  ['not yet valid', () => signed(named('quiet', { nbf: soon(200) })), '401 invalid_token'],
  ['of a foreign issuer', () => signed(named('quiet', { iss: 'https://other.test' })), '401 invalid_token'],
  ['without an issuer', () => signed(named('quiet', { iss: undefined })), '401 invalid_token'],
  ['for another service', () => signed(named('quiet', { aud: 'other' })), '401 invalid_token'],
  ['for no service', () => signed(named('quiet', { aud: undefined })), '401 invalid_token'],
  ['signed with a foreign key of that name', () => token(foreign, named('quiet')), '401 invalid_token'],
  ['with a key that is not known', () => signed(named('quiet'), { kid: 'other' }), '401 invalid_token'],
  ['unsigned', () => `${part({ alg: 'none' })}.${part(named('quiet'))}.`, '401 invalid_token'],
  [
    'unsigned, in capitals',
    () => `${part({ alg: 'NONE', kid: 'one' })}.${part(named('quiet'))}.`,
    '401 invalid_token',
  ],
  ['signed by HMAC with the public key', () => hmacToken(publicPem, named('quiet')), '401 invalid_token'],
  [
    'signed by HMAC with the public key, by its name',
    () => hmacToken(publicPem, named('quiet'), { kid: 'one' }),
    '401 invalid_token',
  ],
  [
    'with its own key in it',
    () => token(foreign, named('quiet'), { kid: 'x', jwk: foreign.jwk }),
    '401 invalid_token',
  ],
  [
    'with a foreign address of keys',
    () => token(foreign, named('quiet'), { jku: 'http://x.test' }),
    '401 invalid_token',
  ],
  ['changed after it was signed', broken, '401 invalid_token'],
  ['without its signature', () => good().split('.').slice(0, 2).join('.').concat('.'), '401 invalid_token'],
  ['that is no JSON', () => `${part('{"alg')}.${part('x')}.AAAA`, '401 invalid_token'],
  ['of a tenant that is not configured', () => signed(named('nobody')), '403 unknown_tenant'],
  ['of several tenants', () => signed(named(['quiet'])), '403 unknown_tenant'],
  ['of a tenant that is a mapping', () => signed(named({ name: 'quiet' })), '403 unknown_tenant'],
  ['of a tenant that is a number', () => signed(named(1)), '403 unknown_tenant'],
  ['of a tenant with a line break', () => signed(named('quiet\r\nx-api-key: 1')), '401 invalid_api_key'],
  ['of a tenant in capitals', () => signed(named('QUIET')), '403 unknown_tenant'],
  ['of a tenant with a space', () => signed(named('quiet ')), '403 unknown_tenant'],
  ['of no tenant', () => signed(named(undefined)), '401 invalid_api_key'],
  ['of a tenant without a name', () => signed(named('')), '401 invalid_api_key'],
  [
    'whose claim is not in its mapping',
    () => signed(claims({ 'org.tenant': 'quiet' })),
    '401 invalid_api_key',
  ],
  [
    'with a foreign address of certificates',
    () => token(foreign, named('quiet'), { x5u: 'http://x.test', x5c: ['AAAA'], kid: 'x' }),
    '401 invalid_token',
  ],
  [
    'with a name of a key that is a path',
    () => token(foreign, named('quiet'), { kid: '../../one' }),
    '401 invalid_token',
  ],
  [
    'with a name of a key that is a list',
    () => signed(named('quiet'), { kid: ['one'] }),
    '401 invalid_token',
  ],
  ['whose algorithm is a list', () => signed(named('quiet'), { alg: ['RS256'] }), '401 invalid_token'],
  ...['"9999999999"', '"x"', 'true', '[9999999999]', '{}', 'null', '-1', '0', '1.5', '1e30', '1e400'].map(
    (exp) => [`that ends at ${exp}`, () => written(`"exp":${exp}`), '401 invalid_token'] as const,
  ),
  ...['"1"', '"x"', 'true', '[1]', '{}', '9999999999.5', '1e30', '9223372036854775808'].map(
    (nbf) => [`that begins at ${nbf}`, () => written(`${ENDS},"nbf":${nbf}`), '401 invalid_token'] as const,
  ),
  ...['"exp":1', '"org":{"tenant":"noisy"}', '"iss":"https://other.test"', '"aud":"other"'].map(
    (twice) => [`with a second ${twice}`, () => written(`${ENDS},${twice}`), '401 invalid_token'] as const,
  ),
  ['with an end before the good one', () => written(`"exp":1,${ENDS}`), '401 invalid_token'],
  ['that is huge', () => signed(named('quiet', { more: 'x'.repeat(100_000) })), '431 headers_too_large'],
];

describe('a token is refused', () => {
  it.each(REFUSED)('%s', async (_, bad, answer) => {
    expect(said(await ask(bad()))).toBe(answer);
  });

  it('without a stream to the service', async () => {
    const before = await streams();
    for (const [what, bad] of REFUSED) if (what !== 'that is huge') await ask(bad());
    expect(await streams()).toBe(before);
  });

  it('and counted by reason, and told in the log', async () => {
    const reasons = ['invalid_token', 'unknown_tenant', 'invalid_api_key'];
    const counts = async (): Promise<readonly number[]> =>
      await Promise.all(
        reasons.map((reason) => stack.metric('fairlane_refusals_total', { tenant: '', reason })),
      );
    // What was refused before has been told of once two numbers are the same.
    let before = await counts();
    await eventually(
      async () => {
        const last = before;
        before = await counts();
        await new Promise((resolve) => setTimeout(resolve, 5_500));
        return String(last) === String(await counts());
      },
      Boolean,
      30_000,
    );
    before = await counts();
    const expired = signed(named('quiet', { exp: soon(-100) }));
    const nobody = signed(named('nobody'));
    for (let i = 0; i < 7; i += 1) await ask(expired);
    for (let i = 0; i < 5; i += 1) await ask(nobody);
    for (let i = 0; i < 3; i += 1) await ask('wrong-key');
    await eventually(
      async () => (await counts()).map((now, i) => now - (before[i] ?? 0)),
      (added) => added.join() === '7,5,3',
      15_000,
    );
    const lines = stack
      .logText()
      .split('\n')
      .filter((line) => line.includes('envoy-refused'));
    for (const reason of reasons) expect(lines.join('\n')).toContain(`"reason":"${reason}"`);
    expect(lines.length).toBeLessThan(30);
    expect(lines.join('\n')).not.toContain(nobody);
  }, 60_000);

  it.each([
    ['two tokens', () => [good(), good()], '401 invalid_api_key'],
    [
      'a token that is not valid before one that is',
      () => [hmacToken(publicPem), good()],
      '401 invalid_api_key',
    ],
    ['a token before somebody’s key', () => [good(), 'wrong'], '401 invalid_api_key'],
    ['a key that is nobody’s before a token', () => ['wrong', good()], '401 invalid_api_key'],
  ])('where there are several, %s', async (_, bearers, answer) => {
    const lines = bearers().map((bearer) => `authorization: Bearer ${bearer}\r\n`);
    const body = chatBody();
    const { text } = await sendHttp1(Number(new URL(stack.url).port), [
      `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n${lines.join('')}content-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    ]);
    expect(`${/ (\d+)/.exec(text)?.[1]} ${/"code":"(\w+)"/.exec(text)?.[1]}`).toBe(answer);
  });

  it('in the query', async () => {
    const path = `/v1/chat/completions?access_token=${good()}`;
    expect(said(await send(stack.url, { path, body: chatBody() }))).toBe('401 invalid_api_key');
  });

  it('as x-api-key', async () => {
    expect(said(await ask(undefined, { 'x-api-key': good() }))).toBe('401 invalid_api_key');
  });

  it('in the shape of the API', async () => {
    const answer = await send(stack.url, { key: REFUSED[0]?.[1](), path: '/v1/messages', body: chatBody() });
    expect(answer.json).toEqual({
      type: 'error',
      error: { type: 'authentication_error', message: 'The token was refused: Jwt is expired.' },
    });
  });
});

it('the admin page shows no key', async () => {
  const dump = await (await fetch(`${stack.adminUrl}/config_dump?include_eds`)).text();
  expect(dump).toContain('fairlane.api_key_auth');
  for (const secret of Object.values(KEYS)) expect(dump).not.toContain(secret);
});

describe('a key', () => {
  it('counts alone, and beside a token that is not valid', async () => {
    expect(said(await ask(KEYS.noisy))).toBe('200');
    await stack.record(({ tenant }) => tenant === 'noisy');
    const expired = signed(named('quiet', { exp: soon(-100) }));
    const before = stack.records().length;
    expect(said(await ask(expired, { 'x-api-key': KEYS.noisy }))).toBe('200');
    await eventually(
      () => stack.records().length,
      (count) => count > before,
    );
    expect(stack.records().at(-1)?.tenant).toBe('noisy');
    expect(said(await ask(expired, { 'x-api-key': 'wrong' }))).toBe('401 invalid_api_key');
  });
});

describe('while the service is away', () => {
  it('the same are let in and refused', async () => {
    await stack.service().drain();
    expect(said(await ask(good()))).toBe('200');
    expect(said(await ask(KEYS.quiet))).toBe('200');
    for (const [what, bad, answer] of REFUSED) {
      if (what !== 'that is huge')
        expect({ what, said: said(await ask(bad())) }).toEqual({ what, said: answer });
    }
    await stack.restartService();
  });
});

describe('keys of the issuer in a file', () => {
  it('are replaced while it runs', async () => {
    expect(said(await ask(token(next, named('quiet'))))).toBe('401 invalid_token');
    publish(key, next);
    await reload();
    await eventually(
      () => ask(token(next, named('quiet'))),
      ({ status }) => status === 200,
    );
    publish(next);
    await reload();
    await eventually(
      () => ask(good()),
      ({ status }) => status === 401,
    );
  });
});
