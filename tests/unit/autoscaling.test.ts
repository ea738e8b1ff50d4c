/** The page on autoscaling: its YAML has the shapes that KEDA, the HPA and prometheus-adapter read, and its queries name metrics that there are. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { z } from 'zod';
import { debianProgram } from '../support/debian.ts';

const page = readFileSync('docs/how-to/autoscaling.md', 'utf8');
const documents = Array.from(
  page.matchAll(/^```yml\n(.*?)^```$/gms),
  ([, text = '']) => parse(text) as unknown,
);

const count = z.number().int().positive();
const behaviour = z.strictObject({
  stabilizationWindowSeconds: z.number().int().min(0).max(3_600),
  policies: z
    .array(
      z.strictObject({ type: z.enum(['Pods', 'Percent']), value: count, periodSeconds: count.max(1_800) }),
    )
    .optional(),
});
const behaviours = z.strictObject({ scaleUp: behaviour.optional(), scaleDown: behaviour.optional() });
const metadata = z.strictObject({ name: z.string().regex(/^[a-z0-9-]+$/) });

const keda = z.strictObject({
  apiVersion: z.literal('keda.sh/v1alpha1'),
  kind: z.literal('ScaledObject'),
  metadata,
  spec: z.strictObject({
    scaleTargetRef: z.strictObject({ name: z.string() }),
    minReplicaCount: count,
    maxReplicaCount: count,
    pollingInterval: count,
    cooldownPeriod: count,
    advanced: z.strictObject({ horizontalPodAutoscalerConfig: z.strictObject({ behavior: behaviours }) }),
    triggers: z.array(
      z.strictObject({
        type: z.literal('prometheus'),
        metricType: z.enum(['Value', 'AverageValue']),
        // KEDA reads texts only.
        metadata: z.strictObject({
          serverAddress: z.url(),
          query: z.string(),
          threshold: z.string().regex(/^[\d.]+$/),
        }),
      }),
    ),
  }),
});

const adapter = z.strictObject({
  rules: z.strictObject({
    external: z.array(
      z.strictObject({
        seriesQuery: z.string(),
        resources: z.strictObject({ namespaced: z.literal(false) }),
        name: z.strictObject({ as: z.string() }),
        metricsQuery: z.string(),
      }),
    ),
  }),
});

const hpa = z.strictObject({
  apiVersion: z.literal('autoscaling/v2'),
  kind: z.literal('HorizontalPodAutoscaler'),
  metadata,
  spec: z.strictObject({
    scaleTargetRef: z.strictObject({
      apiVersion: z.literal('apps/v1'),
      kind: z.literal('Deployment'),
      name: z.string(),
    }),
    minReplicas: count,
    maxReplicas: count,
    metrics: z.array(
      z.strictObject({
        type: z.literal('External'),
        external: z.strictObject({
          metric: z.strictObject({
            name: z.string(),
            selector: z.strictObject({ matchLabels: z.record(z.string(), z.string()) }),
          }),
          target: z.strictObject({ type: z.literal('Value'), value: z.string().regex(/^\d+m?$/) }),
        }),
      }),
    ),
    behavior: behaviours,
  }),
});

const [first, second, third] = documents;
const scaled = () => keda.parse(first);
const rules = () => adapter.parse(second).rules.external;
const autoscaler = () => hpa.parse(third);

const folder = mkdtempSync(join(tmpdir(), 'fairlane-autoscaling-'));
afterAll(() => rmSync(folder, { recursive: true }));

describe('the page on autoscaling', () => {
  it('has three documents of the right shapes', () => {
    expect(documents).toHaveLength(3);
    expect([scaled().kind, autoscaler().kind, rules().length]).toEqual([
      'ScaledObject',
      'HorizontalPodAutoscaler',
      2,
    ]);
  });

  it('names in the autoscaler the metrics that the adapter makes', () => {
    expect(autoscaler().spec.metrics.map(({ external }) => external.metric.name)).toEqual(
      rules().map(({ name }) => name.as),
    );
  });

  it('has queries that promtool takes, of metrics that there are', () => {
    const queries = [
      ...scaled().spec.triggers.map((trigger) => trigger.metadata.query),
      ...rules().map(({ metricsQuery }) => metricsQuery.replace('<<.LabelMatchers>>', 'pool="main"')),
      ...rules().map(({ seriesQuery }) => seriesQuery),
    ];
    const reference = readFileSync('docs/reference/metrics.md', 'utf8');
    for (const name of queries.flatMap((query) => query.match(/fairlane_\w+/g) ?? [])) {
      expect(reference).toContain(`| \`${name}\` | gauge | pool |`);
    }
    const path = join(folder, 'rules.yaml');
    const group = { name: 'g', rules: queries.map((expr, i) => ({ record: `r:${i}`, expr })) };
    writeFileSync(path, stringify({ groups: [group] }));
    const checked = spawnSync(debianProgram('promtool', 'prometheus'), ['check', 'rules', path], {
      encoding: 'utf8',
    });
    expect([checked.status, checked.stderr]).toEqual([0, '']);
  });
});
