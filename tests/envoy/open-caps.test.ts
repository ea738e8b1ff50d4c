/** `max_tokens` below one, through Envoy: what llama.cpp takes is served, and what others refuse is their refusal. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Simulator, startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { chatBody, send } from '../support/client.ts';
import { eventually } from '../support/eventually.ts';
import { type RecordingEngine, startRecordingEngine } from '../support/recording-engine.ts';
import { KEYS, type Stack, startStack } from '../support/stack.ts';

let vllm: Simulator;
let llamacpp: RecordingEngine;
let stack: Stack;

beforeAll(async () => {
  vllm = await startSimulator({ profile: parseProfile('test', {}), models: ['demo'] });
  llamacpp = await startRecordingEngine(['llama']);
  stack = await startStack({
    engines: [vllm.url],
    change(config) {
      config['pools'].local = {
        endpoints: [llamacpp.url],
        engine: 'llamacpp',
        concurrencyLimit: 4,
        health: { interval: '200ms', timeout: '5s' },
      };
      config['models'] = { demo: { pool: 'main' }, llama: { pool: 'local' } };
      config['tenants'].quiet.limits = { tokensPerMinute: 1_000_000 };
      config['tenants'].noisy.limits = { maxContext: 1_000 };
    },
  });
  for (const model of ['demo', 'llama']) {
    await eventually(
      () => send(stack.url, { key: KEYS.quiet, body: chatBody({ model }) }),
      ({ status }) => status === 200,
    );
  }
});
afterAll(async () => {
  await stack.close();
  await Promise.all([vllm.close(), llamacpp.close()]);
});

const ask = (key: string, fields: object) => send(stack.url, { key, body: chatBody(fields) });
const last = () => JSON.parse(llamacpp.received().at(-1)?.body ?? '{}') as Record<string, unknown>;

describe('max_tokens below one', () => {
  it.each([-1, 0])('is sent to llama.cpp as it is: %d', async (value) => {
    const answer = await ask(KEYS.quiet, { model: 'llama', max_tokens: value });
    expect(answer.status).toBe(200);
    expect(last()['max_tokens']).toBe(value);
  });

  it('stays within maxContext', async () => {
    expect((await ask(KEYS.noisy, { model: 'llama', max_tokens: -1 })).status).toBe(200);
    expect(last()['max_tokens']).toBeGreaterThan(0);
    expect(last()['max_tokens']).toBeLessThan(1_000);
  });

  it.each([-1, 0])('is refused by vLLM itself, in its own words, and costs nothing: %d', async (value) => {
    const before = stack.records().length;
    for (const key of [KEYS.quiet, KEYS.noisy]) {
      const answer = await ask(key, { max_tokens: value });
      expect(answer.status).toBe(400);
      expect(answer.text).toContain(`got ${value}.`);
    }
    await eventually(
      () => stack.records().length,
      (count) => count >= before + 2,
    );
    for (const record of stack.records().slice(before)) {
      expect(record).toMatchObject({
        outcome: 'failed',
        reason: 'engine',
        promptTokens: 0,
        completionTokens: 0,
      });
    }
  });
});
