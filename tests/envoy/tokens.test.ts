/** Tokens (JWT) through a real Envoy: what is taken, what is refused and how, with the service and without it. */
import { writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { chatBody, send } from '../support/client.ts';
import { answerChat, type ReadyStack, startReadyStack } from '../support/ready-engine.ts';
import { KEYS, type Stack } from '../support/stack.ts';
import { AUDIENCE, claims, hmacToken, ISSUER, keySet, part, rsaKey, soon, token } from '../support/tokens.ts';

const key = rsaKey('one');
const foreign = rsaKey('one');

let ready: ReadyStack;
let stack: Stack;
const seen: (readonly [string, string | string[] | undefined])[] = [];

beforeAll(async () => {
  const jwks = join(tmpdir(), `fairlane-jwks-${process.pid}.json`);
  writeFileSync(jwks, keySet(key));
  ready = await startReadyStack(
    (request, response) => {
      seen.push(...Object.entries(request.headers));
      request.resume();
      answerChat(response);
    },
    (config) => {
      config['identity'] = { jwt: { issuer: ISSUER, audience: AUDIENCE, jwks, tenantClaim: 'tenant' } };
    },
  );
  stack = ready.stack;
});
afterAll(() => ready.close());

const ask = (bearer: string, headers: Record<string, string> = {}) =>
  send(stack.url, { key: bearer, body: chatBody(), headers });

it('a good token is its tenant, and reaches neither the engine nor the log', async () => {
  const good = token(key);
  const answer = await ask(good);
  console.log(answer.status, answer.text);
  expect(answer.status).toBe(200);
  for (const [what, bad] of [
    ['expired', token(key, claims({ exp: soon(-100) }))],
    ['none', `${part({ alg: 'none' })}.${part(claims())}.`],
    ['hmac', hmacToken(key.publicKey.export({ format: 'pem', type: 'spki' }) as string)],
    ['foreign', token(foreign)],
    ['unknown', token(key, claims({ tenant: 'nobody' }))],
    ['no claim', token(key, claims({ tenant: undefined }))],
    ['aud', token(key, claims({ aud: 'x' }))],
    ['iss', token(key, claims({ iss: 'x' }))],
    ['kid', token(key, claims(), { kid: 'x' })],
    ['claim newline', token(key, claims({ tenant: 'quiet\n' }))],
    ['array', token(key, claims({ tenant: ['quiet'] }))],
    ['key', KEYS.quiet],
    ['wrong', 'x'],
  ] as const) {
    const a = await ask(bad);
    console.log(what, a.status, a.text, a.headers);
  }
}, 60_000);
