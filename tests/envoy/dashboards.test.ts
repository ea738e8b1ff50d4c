/** What dashboards show, asked of a real Prometheus that watches a real Envoy under load, against what the load itself counted. */
import { resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ALERTS } from '../../src/dashboards/alerts.ts';
import { DASHBOARDS } from '../../src/dashboards/files.ts';
import { RECORDING } from '../../src/dashboards/rules.ts';
import { filledIn } from '../support/grafana.ts';
import type { Series } from '../support/prometheus.ts';
import type { Tenant } from '../support/watched-load.ts';
import { type WatchedWorld, watchLoad } from '../support/watched-world.ts';

const LOAD_MS = 15_000;
/** Bounds of the histograms' buckets, in seconds. */
const BUCKETS = [0, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
/** Samples on either side of a quantile's that may be it. */
const NEIGHBOURS = 2;
const RULES = ['recording', 'alerts'].map((name) => resolve(`observability/prometheus/${name}.yaml`));
const TENANTS: readonly Tenant[] = ['quiet', 'noisy', 'limited', 'spent'];

let world: WatchedWorld;

beforeAll(async () => {
  world = await watchLoad({ loadMs: LOAD_MS, ruleFiles: RULES });
});
afterAll(async () => {
  await world?.close();
});

const valueOf = (series: Series | undefined): number => series?.points.at(-1)?.[1] ?? Number.NaN;
async function ask(query: string): Promise<number> {
  const found = await world.prometheus.query(query, world.toS);
  if (found.length !== 1) throw new Error(`${found.length} series: ${query}`);
  return valueOf(found[0]);
}
/** The window that covers the whole load. */
const whole = (): string => `${Math.ceil(world.toS - world.fromS) + 5}s`;

describe('Prometheus and the clients count the same', () => {
  it.each(TENANTS)('requests of %s', async (tenant) => {
    const counted = await ask(`sum(fairlane_requests_total{tenant="${tenant}"})`);
    expect(world.load.requests(tenant)).toBeGreaterThan(5);
    expect(counted).toBe(world.load.requests(tenant));
  });

  it.each(TENANTS)('answers of %s that were no refusals', async (tenant) => {
    const { statuses, aborted } = world.load.of(tenant);
    const seen = statuses.get(200) ?? 0;
    expect(seen).toBeGreaterThan(0);
    const counted = await ask(`sum(fairlane_responses_total{tenant="${tenant}",status_class="2xx"})`);
    expect(counted).toBeGreaterThanOrEqual(seen);
    expect(counted).toBeLessThanOrEqual(seen + aborted);
  });

  it.each(['quiet', 'spent'] as const)('tokens of %s', async (tenant) => {
    const { promptTokens, completionTokens } = world.load.of(tenant);
    const tokens = (kind: string) =>
      ask(`sum(fairlane_tokens_total{tenant="${tenant}",kind="${kind}",source="engine"})`);
    expect(completionTokens).toBeGreaterThan(0);
    expect(await tokens('prompt')).toBe(promptTokens);
    expect(await tokens('completion')).toBe(completionTokens);
  });

  it('cached tokens are a part of the prompts', async () => {
    const share = await ask(
      'sum(fairlane_tokens_total{kind="cached"}) / sum(fairlane_tokens_total{kind="prompt"})',
    );
    expect(share).toBeGreaterThan(0);
    expect(share).toBeLessThan(1);
  });

  it.each(TENANTS)('refusals of %s by their reason', async (tenant) => {
    const found = await world.prometheus.query(
      `sum by (reason) (fairlane_refusals_total{tenant="${tenant}"})`,
      world.toS,
    );
    const counted = Object.fromEntries(found.map((one) => [one.labels['reason'], valueOf(one)]));
    expect(counted).toEqual(Object.fromEntries(world.load.of(tenant).codes));
    if (tenant !== 'noisy') expect(Object.keys(counted).length).toBeGreaterThan(0);
  });

  it('keys that are none', async () => {
    expect(world.load.unknownKeys).toBeGreaterThan(5);
    expect(await ask('sum(fairlane_refusals_total{tenant="",reason="invalid_api_key"})')).toBe(
      world.load.unknownKeys,
    );
  });

  it.each([0.5, 0.99])(
    'time to first token of quiet, quantile %s, within its bucket and the next ones',
    async (q) => {
      const found = await ask(
        `histogram_quantile(${q}, sum by (le) (rate(fairlane_ttft_seconds_bucket{tenant="quiet"}[${whole()}])))`,
      );
      const seen = world.load.of('quiet').ttftS.toSorted((a, b) => a - b);
      const rank = Math.floor(q * seen.length);
      const bucketOf = (at: number): number => {
        const exact = seen[Math.min(seen.length - 1, at)] ?? Number.NaN;
        return BUCKETS.findIndex((bound) => bound >= exact);
      };
      // Of a hundred the 99th is the last or the one before, as the histogram counts. And the client's clock has the way of the bytes
      // and the event loop that it shares with the engines: what it saw late need not have been.
      expect(found).toBeGreaterThanOrEqual(BUCKETS[Math.max(0, bucketOf(rank - NEIGHBOURS) - 2)] as number);
      const above = Math.min(BUCKETS.length - 1, bucketOf(rank + NEIGHBOURS) + 1);
      expect(found).toBeLessThanOrEqual(BUCKETS[above] as number);
    },
  );

  it('requests of Envoy: all that clients sent', async () => {
    const sent = TENANTS.reduce(
      (sum, tenant) => sum + world.load.requests(tenant),
      world.load.unknownKeys + world.oddRequests,
    );
    const counted = await ask(
      'sum(envoy_http_downstream_rq_completed{envoy_http_conn_manager_prefix!="admin"})',
    );
    expect(counted).toBe(sent);
  });

  it('a reload that was applied and one that was refused', async () => {
    expect(await ask('fairlane_config_reloads_total{result="applied"}')).toBe(1);
    expect(await ask('fairlane_config_reloads_total{result="refused"}')).toBe(1);
  });

  it('the ejection of the engine that failed', async () => {
    expect(await ask('sum(fairlane_endpoint_ejections_total{pool="main"})')).toBeGreaterThanOrEqual(1);
    expect(await ask(`max(max_over_time(fairlane_endpoint_ejected[${whole()}]))`)).toBe(1);
  });

  it('a row in the ledger for each request', async () => {
    expect(await ask('sum(fairlane_ledger_rows_total)')).toBe(await ask('sum(fairlane_requests_total)'));
  });
});

/** With a window that the scrapes of a test have. */
const filled = (expr: string): string => filledIn(expr, '20s');

const PANELS = DASHBOARDS.flatMap(({ title, rows }) =>
  rows.flatMap((row) =>
    row.panels.flatMap((panel) =>
      panel.queries.map(({ expr, legend }) => ({ name: `${title}: ${panel.title} (${legend})`, expr })),
    ),
  ),
);
describe('every query', () => {
  it('of panels, rules and alerts has data in the run', async () => {
    const without: string[] = [];
    const asked = [
      ...PANELS,
      ...RECORDING.map(({ record }) => ({ name: record, expr: record })),
      ...ALERTS.map(({ alert, of }) => ({ name: alert, expr: of })),
    ];
    for (const { name, expr } of asked) {
      const series = await world.prometheus.queryRange(filled(expr), world.fromS, world.toS, 1);
      const numbers = series.flatMap(({ points }) => points.filter(([, value]) => Number.isFinite(value)));
      if (numbers.length === 0) without.push(`${name}: ${filled(expr)}`);
    }
    expect(asked.length).toBeGreaterThan(120);
    expect(without).toEqual([]);
  });

  it('of a ratio is one', async () => {
    const panels = DASHBOARDS.flatMap(({ rows }) => rows.flatMap((row) => row.panels));
    for (const { max, queries } of panels.filter((panel) => panel.max === 1)) {
      for (const { expr } of queries) {
        for (const { points } of await world.prometheus.queryRange(filled(expr), world.fromS, world.toS, 1)) {
          for (const [, value] of points.filter(([, one]) => Number.isFinite(one))) {
            expect(value).toBeGreaterThanOrEqual(0);
            // Rates of two series are extrapolated each for itself where they begin.
            expect(value).toBeLessThanOrEqual((max ?? 0) * 1.25);
          }
        }
      }
    }
  });
});
