/** What a scrape says of requests that went through a real Envoy, and how it is with 10,000 tenants. */
import { spawnSync } from 'node:child_process';
import { performance } from 'node:perf_hooks';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { chatBody, send } from '../support/client.ts';
import { debianProgram } from '../support/debian.ts';
import { eventually } from '../support/eventually.ts';
import { type RecordingEngine, startRecordingEngine } from '../support/recording-engine.ts';
import { KEYS, type Stack, startStack, untilServed } from '../support/stack.ts';

const MANY = 10_000;

let engine: RecordingEngine;
let stack: Stack;

const scrape = async (): Promise<string> => (await fetch(`${stack.metricsUrl}/metrics`)).text();
const names = (text: string, label: string): ReadonlySet<string> =>
  new Set(Array.from(text.matchAll(new RegExp(`\\b${label}="([^"]*)"`, 'g')), ([, name = '']) => name));

beforeAll(async () => {
  engine = await startRecordingEngine(['demo']);
  stack = await startStack({
    engines: [engine.url],
    change(config) {
      delete config['models'];
      config['tenants']['quiet'].limits = { requestsPerMinute: 600, tokensPerMinute: 100_000, weight: 3 };
    },
  });
  await untilServed(stack.url);
});
afterAll(async () => {
  await stack.close();
  await engine.close();
});

describe('the metrics of requests', () => {
  it('say how they ended, how long they took, and what is left', async () => {
    const counts = (status_class: string) =>
      stack.metric('fairlane_responses_total', { tenant: 'quiet', status_class });
    const before = await counts('2xx');
    await send(stack.url, { key: KEYS.quiet, body: chatBody() });
    await send(stack.url, { key: KEYS.quiet, body: JSON.stringify({ model: 'nothing', messages: [] }) });
    await eventually(
      () => counts('4xx'),
      (now) => now >= 1,
    );
    expect(await counts('2xx')).toBe(before + 1);
    expect(
      await stack.metric('fairlane_request_duration_seconds_count', { tenant: 'quiet' }),
    ).toBeGreaterThan(before);
    expect(
      await stack.metric('fairlane_limit_capacity', { tenant: 'quiet', limit: 'requests_per_minute' }),
    ).toBe(600);
    const left = await stack.metric('fairlane_limit_left', { tenant: 'quiet', limit: 'requests_per_minute' });
    expect(left).toBeGreaterThan(500);
    expect(left).toBeLessThanOrEqual(600);
    expect(await stack.metric('fairlane_tenant_weight', { tenant: 'quiet' })).toBe(3);
    expect(await stack.metric('fairlane_pool_saturation', { pool: 'main' })).toBe(0);
    expect(await stack.metric('fairlane_pool_predicted_wait_seconds', { pool: 'main' })).toBe(0);
  });

  it('count answers that Envoy gave without asking the service, such as 401', async () => {
    const labels = { tenant: '', status_class: '4xx' };
    const before = await stack.metric('fairlane_responses_total', labels);
    for (let i = 0; i < 5; i += 1) expect((await send(stack.url, { body: chatBody() })).status).toBe(401);
    await eventually(
      () => stack.metric('fairlane_responses_total', labels),
      (now) => now >= before + 5,
      15_000,
    );
  }, 30_000);

  it('have names that promtool takes', async () => {
    const { stdout, stderr } = spawnSync(debianProgram('promtool', 'prometheus'), ['check', 'metrics'], {
      input: await scrape(),
      encoding: 'utf8',
    });
    const problems = `${stdout}${stderr}`
      .split('\n')
      .filter((line) => /^fairlane_(?!nodejs_|process_)/.test(line));
    expect(problems).toEqual([]);
  });

  it('call an endpoint by one name, in records too', async () => {
    const record = await stack.record(({ tenant, outcome }) => tenant === 'quiet' && outcome === 'completed');
    expect([...names(await scrape(), 'endpoint')]).toEqual([record['endpoint']]);
  });

  it('of 10,000 tenants have series of those with requests, no tenants in histograms, and come within a second', async () => {
    const quiet = stack.config.tenants.get('quiet');
    if (quiet === undefined) throw new Error('the configuration has no tenant');
    const before = await stack.metric('fairlane_config_last_reload_success_timestamp_seconds');
    const tenants = new Map(stack.config.tenants);
    for (let i = 0; i < MANY; i += 1) tenants.set(`tenant-${i}`, { ...quiet, name: `tenant-${i}`, keys: [] });
    await stack.service().reload({ ...stack.config, tenants }, []);
    expect(await stack.metric('fairlane_config_last_reload_success_timestamp_seconds')).toBeGreaterThan(
      before,
    );
    await send(stack.url, { key: KEYS.quiet, body: chatBody() });
    const startMs = performance.now();
    const text = await scrape();
    expect(performance.now() - startMs).toBeLessThan(1_000);
    expect([...names(text, 'tenant')].filter((name) => name.startsWith('tenant-'))).toEqual([]);
    const histograms = text.split('\n').filter((line) => /^fairlane_\w+_seconds_count\{tenant=/.test(line));
    expect(histograms.filter((line) => !line.includes('tenant=""'))).toEqual([]);
    await stack
      .service()
      .reload({ ...stack.config, telemetry: { ...stack.config.telemetry, tenantHistograms: 'on' } }, []);
    expect(await scrape()).not.toMatch(/_seconds_count\{tenant=""/);
  }, 30_000);
});
