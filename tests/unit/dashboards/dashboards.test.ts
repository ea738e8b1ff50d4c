/** Dashboards and rules name what there is, and say what they mean. Whether their queries have data: tests/envoy/dashboards.test.ts. */

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { ALERTS } from '../../../src/dashboards/alerts.ts';
import { DASHBOARDS, observabilityFiles } from '../../../src/dashboards/files.ts';
import { anchorOf, RECORDING } from '../../../src/dashboards/rules.ts';
import { runbooksPage, STEPS } from '../../../src/dashboards/runbooks.ts';
import { debianProgram } from '../../support/debian.ts';
import { allMetrics } from '../../support/metrics.ts';
import { CASES, FIRST_EVENTS, type Series } from './alert-cases.ts';

const folder = mkdtempSync(join(tmpdir(), 'fairlane-rules-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const promtool = (...args: readonly string[]): string => {
  try {
    return execFileSync(debianProgram('promtool', 'prometheus'), args, {
      encoding: 'utf8',
      cwd: folder,
      stdio: 'pipe',
    });
  } catch (error) {
    const { stdout, stderr } = error as { readonly stdout: string; readonly stderr: string };
    throw new Error(`${stdout}\n${stderr}`, { cause: error });
  }
};

const panels = DASHBOARDS.flatMap(({ title, rows }) =>
  rows.flatMap((row) => row.panels.map((panel) => ({ name: `${title}: ${panel.title}`, panel }))),
);
const queries = [
  ...panels.flatMap(({ panel }) => panel.queries.map(({ expr }) => expr)),
  ...RECORDING.map(({ expr }) => expr),
  ...ALERTS.map(({ expr }) => expr),
];

interface Known {
  readonly name: string;
  readonly labels: readonly string[];
}

function registered(): ReadonlyMap<string, Known> {
  return new Map(
    allMetrics()
      .registry.getMetricsAsArray()
      .map((metric) => {
        const { name, labelNames = [] } = metric as unknown as {
          name: string;
          labelNames?: readonly string[];
        };
        return [name, { name, labels: labelNames }];
      }),
  );
}

const withoutSuffix = (name: string): string => name.replace(/_(bucket|sum|count)$/, '');
/** Of Prometheus itself, and of Grafana. */
const ALWAYS = new Set(['instance', 'job', 'le']);

describe('dashboards', () => {
  const known = registered();

  it('name metrics that there are, with labels that those have', () => {
    const records = new Set(RECORDING.map(({ record }) => record));
    for (const expr of queries) {
      for (const [, name = '', selector = ''] of expr.matchAll(/(?<![\w:])(fairlane_\w+)(?:\{([^}]*)\})?/g)) {
        const metric = known.get(name) ?? known.get(withoutSuffix(name));
        expect(metric, `${name} in ${expr}`).toBeDefined();
        for (const [, label = ''] of selector.matchAll(/(\w+)[=!]~?"/g)) {
          const labels = metric?.labels ?? [];
          expect([...labels, ...ALWAYS], `${label} of ${name} in ${expr}`).toContain(label);
        }
      }
      for (const [record] of expr.matchAll(/\b(?:tenant|pool|fairlane):[a-z_]+:[a-z0-9_]+/g)) {
        expect(records).toContain(record);
      }
    }
  });

  it('group by labels that their metrics have, and show those in legends', () => {
    const ofEnvoy = ['envoy_cluster_name', 'envoy_response_code_class'];
    for (const { panel } of panels) {
      for (const { expr, legend } of panel.queries) {
        const names = [...expr.matchAll(/(?<![\w:])fairlane_\w+/g)].map(([name]) => name);
        const labels = names.flatMap(
          (name) => (known.get(name) ?? known.get(withoutSuffix(name)))?.labels ?? [],
        );
        const grouped = [...expr.matchAll(/\bby \(([^)]*)\)/g)].flatMap(([, of = '']) => of.split(/, */));
        for (const label of grouped)
          expect([...labels, ...ALWAYS, ...ofEnvoy], `${label} in ${expr}`).toContain(label);
        const levels = [...expr.matchAll(/\b(tenant|pool):/g)].map(([, level = '']) => level);
        for (const [, label = ''] of legend.matchAll(/\{\{(\w+)\}\}/g)) {
          expect([...grouped, ...levels], `${legend} of ${expr}`).toContain(label);
        }
      }
    }
  });

  it('name no metric that goes', () => {
    for (const expr of queries) {
      expect(expr).not.toMatch(/_window\b|_window_by|pool_reserve|redis_commands\b(?!_total)/);
    }
  });

  it('hide no missing data', () => {
    for (const expr of queries) expect(expr).not.toMatch(/\bor +vector\b|\babsent(_over_time)?\(/);
  });

  it.each(panels)('$name says what it means', ({ panel }) => {
    expect(panel.description.length).toBeGreaterThan(5);
    expect(panel.queries.length).toBeGreaterThan(0);
    expect(panel.width).toBeLessThanOrEqual(24);
  });

  it('are JSON with ids of their own, in a grid without overlaps', () => {
    for (const [path, text] of observabilityFiles()) {
      if (!path.endsWith('.json')) continue;
      const { panels: all, uid } = JSON.parse(text) as {
        readonly uid: string;
        readonly panels: readonly { id: number; gridPos: { x: number; y: number; w: number; h: number } }[];
      };
      expect(path).toContain(uid);
      expect(new Set(all.map(({ id }) => id)).size).toBe(all.length);
      const taken = new Set<string>();
      for (const {
        gridPos: { x, y, w, h },
      } of all) {
        expect(x + w).toBeLessThanOrEqual(24);
        for (let i = x; i < x + w; i += 1) {
          for (let j = y; j < y + h; j += 1) {
            expect(taken.has(`${i},${j}`)).toBe(false);
            taken.add(`${i},${j}`);
          }
        }
      }
    }
  });
});

describe('the picture of each dashboard', () => {
  const page = readFileSync('docs/observability.md', 'utf8');

  it.each(DASHBOARDS.map(({ uid }) => uid.replace('fairlane-', 'dashboard-')))(
    '%s is shown, with what it was drawn by, and small',
    (name) => {
      const shown = page.indexOf(`](pictures/${name}.png)`);
      expect(shown).toBeGreaterThan(0);
      expect(page.slice(shown).split('\n')[2]).toMatch(/^\*Drawn in Chromium .*, not by Grafana\.\*$/);
      const png = readFileSync(`docs/pictures/${name}.png`);
      expect(png.readUInt32BE(16)).toBe(1_400);
      expect(png.length).toBeLessThan(250 * 1_024);
    },
  );

  it('is all that there is', () => {
    const pictures = readdirSync('docs/pictures').filter((name) => name.startsWith('dashboard-'));
    expect(pictures).toHaveLength(DASHBOARDS.length);
  });
});

const files = observabilityFiles();
const textOf = (name: string): string => files.get(`observability/prometheus/${name}.yaml`) ?? '';
for (const name of ['recording', 'alerts', 'prometheus'])
  writeFileSync(join(folder, `${name}.yaml`), textOf(name));

describe('rules', () => {
  it('are taken by Prometheus, with the configuration and every panel’s query', () => {
    promtool('check', 'rules', 'recording.yaml', 'alerts.yaml');
    promtool('check', 'config', '--syntax-only', 'prometheus.yaml');
    const rules = queries.map((expr, i) => ({
      record: `q${i}`,
      expr: expr.replaceAll('$__rate_interval', '1m').replaceAll(/\$\w+/g, '.*'),
    }));
    writeFileSync(join(folder, 'queries.yaml'), stringify({ groups: [{ name: 'queries', rules }] }));
    expect(promtool('check', 'rules', 'queries.yaml')).toContain(`${rules.length} rules found`);
  });

  it('have a runbook each', () => {
    expect(Object.keys(STEPS).toSorted()).toEqual(ALERTS.map(({ alert }) => alert).toSorted());
    const page = runbooksPage();
    for (const { alert } of ALERTS) {
      expect(page).toContain(`## ${alert}\n`);
      expect(textOf('alerts')).toContain(`#${anchorOf(alert)}`);
    }
  });
});

describe('each alert', () => {
  const inputs = (series: Series) => Object.entries(series).map(([of, values]) => ({ series: of, values }));

  it('has a case', () => {
    expect(Object.keys(CASES).toSorted()).toEqual(ALERTS.map(({ alert }) => alert).toSorted());
    const counted = ALERTS.filter(({ expr }) => expr.includes('increase(')).map(({ alert }) => alert);
    expect(counted.length).toBeGreaterThan(5);
    expect(Object.keys(FIRST_EVENTS)).toEqual(expect.arrayContaining(counted));
  });

  it('fires where it is bad, also by the first event of a series, and not where it is well', () => {
    const rules = parse(textOf('alerts')) as {
      readonly groups: readonly { readonly rules: readonly { readonly alert: string }[] }[];
    };
    expect(rules.groups[0]?.rules).toHaveLength(ALERTS.length);
    const fires = (
      name: string,
      series: Series,
      at: string,
      isFiring: boolean,
      file = `${name}-${isFiring}`,
    ): string => {
      const expr = `ALERTS{alertname="${name}",alertstate="firing"}`;
      const path = `${file}.yaml`;
      const test = {
        interval: '1m',
        input_series: inputs(series),
        promql_expr_test: [
          {
            expr: `count(${expr})`,
            eval_time: at,
            exp_samples: isFiring ? [{ labels: '{}', value: 1 }] : [],
          },
        ],
      };
      writeFileSync(
        join(folder, path),
        stringify({
          rule_files: ['recording.yaml', 'alerts.yaml'],
          evaluation_interval: '1m',
          tests: [test],
        }),
      );
      return path;
    };
    const tests = Object.entries(CASES).flatMap(([name, { bad, good, at }]) => [
      fires(name, bad, at, true),
      fires(name, good, at, false),
    ]);
    for (const [name, { series, at, not }] of Object.entries(FIRST_EVENTS)) {
      const of = `first-${name}`;
      tests.push(fires(name, series, at, true, `${of}-soon`), fires(name, series, not, false, `${of}-late`));
    }
    promtool('test', 'rules', ...tests);
  });
});
