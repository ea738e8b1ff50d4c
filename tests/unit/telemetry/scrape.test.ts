/** What a scrape has: names that Prometheus' own checker takes, a bounded text, and no long turn of the event loop. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { describe, expect, it } from 'vitest';
import { createMetrics } from '../../../src/telemetry/prom-metrics.ts';
import { PiecedRegistry } from '../../../src/telemetry/prom-pieced-registry.ts';
import { debianProgram } from '../../support/debian.ts';
import { allMetrics, RECORD, SOURCE } from '../../support/metrics.ts';

const linesOf = async (metrics: { readonly registry: Registry }, name: string): Promise<readonly string[]> =>
  (await metrics.registry.metrics()).split('\n').filter((line) => line.startsWith(name));

/** Node.js' own, of prom-client, whose names its users know. */
const NOT_OURS = /^fairlane_(nodejs|process)_/;

describe('a scrape', () => {
  it('has names and types that promtool takes, and each of them is in the reference', async () => {
    const metrics = allMetrics();
    metrics.requestEnded(RECORD);
    const text = await metrics.registry.metrics();
    const checked = spawnSync(debianProgram('promtool', 'prometheus'), ['check', 'metrics'], { input: text });
    const problems = `${String(checked.stderr)}${String(checked.stdout)}`.split('\n');
    expect(problems.filter((line) => line !== '' && !NOT_OURS.test(line))).toEqual([]);
    const reference = readFileSync('docs/reference/metrics.md', 'utf8');
    for (const { name } of metrics.registry.getMetricsAsArray()) {
      if (!NOT_OURS.test(name)) expect(reference).toContain(`| \`${name}\` |`);
    }
  });

  it('has renamed metrics under both names, the old one says so', async () => {
    const text = await allMetrics().registry.metrics();
    for (const [was, is] of [
      ['fairlane_pool_window', 'fairlane_pool_concurrency_limit'],
      ['fairlane_endpoint_window', 'fairlane_endpoint_concurrency_limit'],
      ['fairlane_endpoint_window_by', 'fairlane_endpoint_concurrency_limit_by'],
      ['fairlane_pool_reserve', 'fairlane_pool_headroom'],
      ['fairlane_redis_commands', 'fairlane_redis_commands_total'],
    ] as const) {
      const samples = (name: string) =>
        text
          .split('\n')
          .filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
          .map((line) => line.slice(name.length));
      expect(samples(is)).not.toEqual([]);
      expect(samples(was)).toEqual(samples(is));
      expect(text).toContain(`# HELP ${was} Deprecated: ${is}.\n`);
    }
    expect(text).toContain('# TYPE fairlane_redis_commands_total counter');
  });

  it('has nothing of a Redis or a ledger that there is not', async () => {
    const text = await createMetrics(SOURCE).registry.metrics();
    expect(text).not.toMatch(/fairlane_(redis|ledger|shared)_/);
  });

  it('says the build, the reloads, the limits and the weight', async () => {
    const metrics = allMetrics();
    const node = process.version;
    expect(await linesOf(metrics, 'fairlane_build_info')).toEqual([
      `fairlane_build_info{version="1.2.3",commit="abc",node="${node}"} 1`,
    ]);
    expect(await linesOf(metrics, 'fairlane_config_last_reload')).toEqual([
      'fairlane_config_last_reload_success_timestamp_seconds 1700000000.5',
      'fairlane_config_last_reload_successful 1',
    ]);
    expect(await linesOf(metrics, 'fairlane_limit_')).toEqual([
      'fairlane_limit_capacity{tenant="alice",limit="requests_per_minute"} 60',
      'fairlane_limit_capacity{tenant="alice",limit="tokens_per_minute"} 1000',
      'fairlane_limit_left{tenant="alice",limit="requests_per_minute"} 59',
      'fairlane_limit_left{tenant="alice",limit="tokens_per_minute"} 0',
    ]);
    expect(await linesOf(metrics, 'fairlane_tenant_weight')).toEqual([
      'fairlane_tenant_weight{tenant="alice"} 2',
    ]);
    expect(await linesOf(metrics, 'fairlane_event_loop_delay_seconds')).toHaveLength(3);
  });

  it('counts each answer by its class, and its duration however it ended', async () => {
    const metrics = createMetrics(SOURCE);
    metrics.requestEnded(RECORD);
    metrics.requestEnded({ ...RECORD, outcome: 'refused', reason: 'rate_limit_exceeded', status: 429 });
    const { status: _, ...unanswered } = RECORD;
    metrics.requestEnded({ ...unanswered, outcome: 'aborted', reason: 'queued' });
    metrics.event({ kind: 'envoy-refused', reason: 'invalid_api_key', status: 401, requests: 3 });
    expect(await linesOf(metrics, 'fairlane_responses_total')).toEqual([
      'fairlane_responses_total{tenant="alice",status_class="2xx"} 1',
      'fairlane_responses_total{tenant="alice",status_class="4xx"} 1',
      'fairlane_responses_total{tenant="alice",status_class="none"} 1',
      'fairlane_responses_total{tenant="",status_class="4xx"} 3',
    ]);
    expect(await linesOf(metrics, 'fairlane_refusals_total{tenant=""')).toEqual([
      'fairlane_refusals_total{tenant="",model="",reason="invalid_api_key"} 3',
    ]);
    expect(await linesOf(metrics, 'fairlane_request_duration_seconds_count')).toEqual([
      'fairlane_request_duration_seconds_count{tenant="alice",model="m"} 3',
    ]);
  });

  it('has no series of tenants in histograms once they are left out, and none without once they are not', async () => {
    let isByTenant = true;
    const metrics = createMetrics({ ...SOURCE, tenantHistograms: () => isByTenant });
    const names = ['request_duration', 'queue_wait', 'ttft', 'itl'].map(
      (name) => `fairlane_${name}_seconds_count`,
    );
    const counts = async () => (await Promise.all(names.map((name) => linesOf(metrics, name)))).flat();
    metrics.requestEnded(RECORD);
    expect(await counts()).toEqual(names.map((name) => `${name}{tenant="alice",model="m"} 1`));
    isByTenant = false;
    expect(await counts()).toEqual([]);
    metrics.requestEnded(RECORD);
    metrics.requestEnded({ ...RECORD, tenant: 'bob' });
    expect(await counts()).toEqual(names.map((name) => `${name}{tenant="",model="m"} 2`));
    isByTenant = true;
    metrics.requestEnded(RECORD);
    expect(await counts()).toEqual(names.map((name) => `${name}{tenant="alice",model="m"} 1`));
  });
});

describe('the text', () => {
  it('is what prom-client writes, also of hostile names and odd numbers', async () => {
    const fill = (registry: Registry): Registry => {
      const registers = [registry];
      const help = 'Help with \\ and\nlines.';
      const gauge = new Gauge({ name: 'g', help, labelNames: ['a', 'b'], registers });
      gauge.set({ a: 'quo"te', b: 'back\\slash\nline' }, -1.5);
      gauge.set({ a: '', b: 'é' }, Number.POSITIVE_INFINITY);
      gauge.set({ a: 'n' }, Number.NEGATIVE_INFINITY);
      new Counter({ name: 'c_total', help, registers }).inc(1e21);
      new Counter({ name: 'empty_total', help, labelNames: ['a'], registers });
      const histogram = new Histogram({ name: 'h', help, labelNames: ['a'], buckets: [0.5, 1], registers });
      for (let i = 0; i < 500; i += 1) histogram.observe({ a: `"${i}` }, i / 300);
      return registry;
    };
    expect(await fill(new PiecedRegistry()).metrics()).toBe(await fill(new Registry()).metrics());
  });

  it('is written once for all who ask meanwhile', async () => {
    let collected = 0;
    const registry = new PiecedRegistry();
    new Gauge({ name: 'g', help: 'h', registers: [registry], collect: () => void (collected += 1) });
    const texts = await Promise.all(Array.from({ length: 20 }, () => registry.metrics()));
    expect([collected, new Set(texts).size]).toEqual([1, 1]);
    await registry.metrics();
    expect(collected).toBe(2);
  });
});
