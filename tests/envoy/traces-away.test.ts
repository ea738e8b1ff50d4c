/** Collectors that hang or are away: requests take as long as without traces, and every span is counted. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Config } from '../../src/config/config.ts';
import { type Simulator, startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { chatBody, send } from '../support/client.ts';
import { eventually } from '../support/eventually.ts';
import { startCollector, type TestCollector } from '../support/otlp-collector.ts';
import { freePorts } from '../support/ports.ts';
import { KEYS, type Stack, startStack } from '../support/stack.ts';

const ROUNDS = 4;
const REQUESTS = 60;
const AT_ONCE = 8;
/** A completed request has. */
const SPANS = 3;
/** All that may wait, and what is under way, is less. */
const MORE_THAN_WAIT = 1_000;
/** An export may take 10 s: a request that waited for one would be hundreds of times slower. */
const SLOWER = 1.5;
const LONGEST_MS = 8_000;

let engine: Simulator;
let collector: TestCollector;
let stack: Stack;
let sent = 0;

beforeAll(async () => {
  engine = await startSimulator({ profile: parseProfile('test', { maxSequences: 64 }), models: ['demo'] });
  collector = await startCollector();
  collector.behave('hang');
  stack = await startStack({
    engines: [engine.url],
    change(config) {
      config['pools']['main']['concurrencyLimit'] = 64;
    },
  });
});
afterAll(async () => {
  await collector.close();
  await stack.close();
  await engine.close();
});

const ask = async (): Promise<number> => {
  const began = performance.now();
  const { status } = await send(stack.url, { key: KEYS.quiet, body: chatBody({ max_tokens: 1 }) });
  expect(status).toBe(200);
  return performance.now() - began;
};

/** @param endpoint where spans go; undefined: nothing is traced. */
async function exportTo(endpoint: string | undefined): Promise<void> {
  const { telemetry, ...config } = stack.config;
  const { otlp: _otlp, ...off } = telemetry;
  const otlp = { url: `${endpoint}/v1/traces`, headers: {}, sample: 1 };
  const next: Config = { ...config, telemetry: endpoint === undefined ? off : { ...off, otlp } };
  await stack.service().reload(next, []);
}

const spans = (result: string): Promise<number> => stack.metric('fairlane_trace_spans_total', { result });
const median = (list: readonly number[]): number => [...list].sort((a, b) => a - b)[list.length >> 1] ?? 0;

describe('a collector that', () => {
  it('hangs, or is away, for a whole run makes no request slower', async () => {
    const [closed = 0] = await freePorts(1);
    const kinds = { off: undefined, hangs: collector.url, away: `http://127.0.0.1:${closed}` };
    const took: Record<keyof typeof kinds, number[]> = { off: [], hangs: [], away: [] };
    for (let i = 0; i < REQUESTS; i += 1) await ask();
    for (let round = 0; round < ROUNDS; round += 1) {
      for (const kind of ['off', 'hangs', 'away'] as const) {
        await exportTo(kinds[kind]);
        for (let i = 0; i < REQUESTS; i += 1) took[kind].push(await ask());
        if (kind !== 'off') sent += REQUESTS;
      }
    }
    const off = median(took.off);
    expect(median(took.hangs) / off).toBeLessThan(SLOWER);
    expect(median(took.away) / off).toBeLessThan(SLOWER);
    expect(Math.max(...took.hangs, ...took.away)).toBeLessThan(LONGEST_MS);
  });

  it('hangs costs a bounded number of spans, each counted, once exporting ends', async () => {
    await exportTo(collector.url);
    let left = MORE_THAN_WAIT;
    const worker = async (): Promise<void> => {
      while (left > 0) {
        left -= 1;
        sent += 1;
        await ask();
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    expect(collector.hanging()).toBeLessThanOrEqual(2);
    expect(await spans('dropped')).toBeGreaterThan(0);
    await exportTo(undefined);
    const [exported, ...lost] = await eventually(
      async () => [await spans('exported'), await spans('failed'), await spans('dropped')] as const,
      (counts) => counts.reduce((sum, count) => sum + count, 0) === SPANS * sent,
      10_000,
    );
    expect(exported).toBe(0);
    for (const count of lost) expect(count).toBeGreaterThan(0);
  });

  it('hangs does not keep the service from its end', async () => {
    await exportTo(collector.url);
    await ask();
    const began = performance.now();
    await stack.service().drain();
    expect(performance.now() - began).toBeLessThan(10_000);
  });
});
