/** Limits of keys and models, and attribution, through a real Envoy: what clients are told, and what records have. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Simulator, startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { type Answer, chatBody, send } from '../support/client.ts';
import { KEYS, type Stack, startStack, untilServed } from '../support/stack.ts';

const CI = 'key-of-the-noisy-one-for-ci';
let engine: Simulator;
let stack: Stack;

beforeAll(async () => {
  engine = await startSimulator({ profile: parseProfile('test', {}), models: ['demo', 'other'] });
  stack = await startStack({
    engines: [engine.url],
    change(config) {
      config['models'] = { demo: { pool: 'main' }, other: { pool: 'main' } };
      config['attribution'] = { by: 'header', header: 'x-team' };
      config['tenants']['noisy'].keys = [
        KEYS.noisy,
        { key: CI, name: 'ci', limits: { requestsPerMinute: 1 } },
      ];
      config['tenants']['noisy'].limits = { requestsPerMinute: 100 };
      config['tenants']['noisy'].modelLimits = { other: { requestsPerMinute: 6, requestBurst: 1 } };
    },
  });
  await untilServed(stack.url);
}, 60_000);
afterAll(async () => {
  await stack.close();
  await engine.close();
});

const ask = (key: string, model: string): Promise<Answer> =>
  send(stack.url, { key, headers: { 'x-team': 'blue\tteam' }, body: chatBody({ model }) });

describe('limits of keys and models', () => {
  it('refuse in OpenAI’s words, say for which, and let the others pass', async () => {
    expect((await ask(CI, 'demo')).status).toBe(200);
    const ofKey = await ask(CI, 'demo');
    expect(ofKey).toMatchObject({
      status: 429,
      json: { error: { code: 'rate_limit_exceeded', type: 'requests' } },
    });
    expect(ofKey.text).toContain('Rate limit reached for this key on requests per min (RPM): Limit 1.');
    expect(ofKey.headers).toMatchObject({
      'x-ratelimit-limit-requests': '1',
      'x-ratelimit-remaining-requests': '0',
    });
    expect(Number(ofKey.headers['retry-after'])).toBeGreaterThan(50);
    const first = await ask(KEYS.noisy, 'other');
    expect(first.status).toBe(200);
    expect(first.headers).toMatchObject({
      'x-ratelimit-limit-requests': '6',
      'x-ratelimit-remaining-requests': '0',
    });
    const ofModel = await ask(KEYS.noisy, 'other');
    expect(ofModel.status).toBe(429);
    expect(ofModel.text).toContain('Rate limit reached for model other on requests per min (RPM): Limit 6.');
    const ms = Number(ofModel.headers['retry-after-ms']);
    expect(ms).toBeGreaterThan(0);
    expect(ms).toBeLessThanOrEqual(10_000);
    expect(Number(ofModel.headers['retry-after'])).toBe(Math.ceil(ms / 1_000));
    expect((await ask(KEYS.noisy, 'demo')).status).toBe(200);
  });

  it('are in the record, with whom the request was for', async () => {
    const refused = await stack.record((line) => line['reason'] === 'requests_per_minute');
    expect(refused).toMatchObject({ tenant: 'noisy', tag: 'blue\\tteam', status: 429 });
    expect(refused['keyId']).toMatch(/^cfg_/);
    expect(stack.logText()).not.toContain(CI);
  });
});
