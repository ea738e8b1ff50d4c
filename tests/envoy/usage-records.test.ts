/** Usage records of requests through a real Envoy: what names them, how long their engine had them, and what that cost. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Simulator, startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { chatBody, send } from '../support/client.ts';
import { eventually } from '../support/eventually.ts';
import { KEYS, type Stack, startStack } from '../support/stack.ts';

const UUID_V7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const REQUESTS = 12;

describe('usage records', () => {
  let engine: Simulator;
  let stack: Stack;
  beforeAll(async () => {
    engine = await startSimulator({ profile: parseProfile('test', { stepBaseMs: 10 }), models: ['demo'] });
    stack = await startStack({
      engines: [engine.url],
      change(config) {
        config['tiers'] = { gold: { weight: 2 } };
        config['tenants']['quiet']['tier'] = 'gold';
        config['aliases'] = { best: 'demo' };
        config['pools']['main']['gpuPrice'] = { perHour: '2.50 EUR' };
      },
    });
  });
  afterAll(async () => {
    await stack.close();
    await engine.close();
  });

  it('have ids of their own in the order of time, and times, GPU-seconds and cost that add up', async () => {
    const began = Date.now();
    await Promise.all(
      Array.from({ length: REQUESTS }, (_, i) =>
        send(stack.url, {
          key: i % 2 === 0 ? KEYS.quiet : KEYS.noisy,
          headers: { 'x-request-id': 'the-same', 'x-client-request-id': 'the-same' },
          body: chatBody({ model: 'best', stream: i % 3 > 0, max_tokens: 40 + i, ignore_eos: true }),
        }),
      ),
    );
    const records = await eventually(stack.records, ({ length }) => length === REQUESTS);
    const ids = records.map(({ id = '' }) => id);
    for (const id of ids) expect(id).toMatch(UUID_V7);
    expect([...ids].sort()).toEqual(ids);
    expect(new Set(ids).size).toBe(REQUESTS);
    let seconds = 0;
    for (const record of records) {
      const {
        endedMs = 0,
        gpuSeconds = 0,
        prefillMs = 0,
        decodeMs = 0,
        queueMs = 0,
        durationMs = 0,
      } = record;
      expect(record).toMatchObject({
        model: 'demo',
        modelAsked: 'best',
        engine: 'vllm',
        outcome: 'completed',
      });
      expect(record.tier).toBe(record.tenant === 'quiet' ? 'gold' : undefined);
      expect(endedMs).toBeGreaterThanOrEqual(began);
      expect(endedMs).toBeLessThanOrEqual(Date.now());
      expect(gpuSeconds).toBeGreaterThan(0);
      expect(prefillMs).toBeGreaterThan(0);
      expect(decodeMs).toBeGreaterThan(0);
      expect(prefillMs + decodeMs + queueMs).toBeLessThanOrEqual(durationMs + 0.1);
      expect(record.kvTokenSeconds).toBeGreaterThan(0);
      // As a line of the log has it.
      const cost: unknown = record.cost;
      expect(cost).toMatch(/^0\.\d{2,12} EUR$/);
      expect(Number.parseFloat(cost as string)).toBeCloseTo((gpuSeconds * 2.5) / 3_600, 11);
      seconds += gpuSeconds;
    }
    expect(await stack.metric('fairlane_endpoint_busy_seconds_total')).toBeCloseTo(seconds, 6);
    expect(await stack.metric('fairlane_gpu_seconds_total', { pool: 'main' })).toBeCloseTo(seconds, 6);
    expect(await stack.metric('fairlane_gpu_seconds_total', { tenant: 'quiet' })).toBeLessThan(seconds);
  });
});
