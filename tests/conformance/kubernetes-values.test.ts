/** The values of the Helm chart: what is refused and how, what is documented, and what names and notes come of them. */

import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { z } from 'zod';
import { configOf, containersOf, podOf, renderedBy, SHAPES, type Shape, valuesOf } from '../support/chart.ts';
import { CHART, helmForTests, objectsOf, template, templateAs } from '../support/helm.ts';

const FIRST_INSTALL_MS = 1_200_000;

let helm: string;
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'fairlane-values-'));
  helm = helmForTests();
}, FIRST_INSTALL_MS);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Values that make no sense, and what helm says: of a schema it speaks otherwise from 3.18 on. */
const WRONG: readonly (readonly [string, Shape, string | RegExp])[] = [
  ['replica=2', 'gateway', /additional propert\S+ '?replica/i],
  ['envoy.image.tags=v1', 'gateway', /additional propert\S+ '?tags/i],
  ['shape=router', 'gateway', /shape.* must be one of.*gateway.*endpoint-picker.*sidecar/],
  ['replicas=0', 'gateway', /replicas.* (minimum: got 0, want 1|greater than or equal to 1)/],
  ['engines.port=70000', 'gateway', /port.* (maximum: got 70,000, want 65,535|less than or equal to 65535)/],
  ['image.digest=latest', 'gateway', /digest.* does not match pattern/i],
  ['image.repository=', 'gateway', 'image.repository is not set: no image is published; build one'],
  [
    'config.redis=null',
    'gateway',
    'there may be 2 replicas and config.redis is not set: each would grant every limit in full',
  ],
  [
    'replicas=1,config.redis=null,autoscaling.enabled=true',
    'gateway',
    'there may be 4 replicas and config.redis is not set',
  ],
  ['state.existingClaim=disk', 'gateway', 'there may be 2 replicas and state.existingClaim is one disk'],
  [
    'autoscaling.enabled=true,autoscaling.minReplicas=9',
    'gateway',
    'autoscaling.minReplicas is more than autoscaling.maxReplicas',
  ],
  ['config.mode=sidecar', 'gateway', 'config.mode is set by the chart'],
  ['config.envoy.directory=/tmp/x', 'gateway', 'config.envoy.directory is set by the chart'],
  ['config.service.metrics=127.0.0.1:1', 'gateway', 'config.service.metrics is set by the chart'],
  ['config.listen=0.0.0.0:80', 'gateway', 'config.listen has no address with port 8080'],
  ['config.ledger.directory=/data', 'gateway', 'config.ledger.directory is not on the volume'],
  ['config.tenants=null', 'gateway', 'config has no tenants: set config.tenants'],
  ['keys.create.alice=a-key-of-alice', 'gateway', 'keys.existingSecret and keys.create are both set'],
  ['engines.selector=null', 'gateway', 'nothing says where engines are: set engines.selector'],
  [
    'engines.selector=null,config.pools.main.endpoints[0]=http://e:1',
    'endpoint-picker',
    'an InferencePool wants engines.selector',
  ],
  ['engineAutoscaling.kind=hpa', 'gateway', 'engineAutoscaling.target.name is not set'],
  ['engineAutoscaling.saturation=80', 'gateway', /engineAutoscaling.saturation/],
  ['sidecar.engineContainer=', 'sidecar', 'sidecar.engineContainer is not set: name the engine'],
  [
    'keys.existingSecret=',
    'gateway',
    'config names files in /etc/fairlane/keys and no Secret is mounted there',
  ],
  ['config.tenants.carol.keys[0]=a-plain-key', 'gateway', 'config.tenants.carol has a key in plain text'],
  ['config.tenants.carol.keys[0].key=a-plain-key', 'gateway', 'config.tenants.carol has a key in plain text'],
  ['config.redis.url=redis://:secret@redis:6379', 'gateway', 'config.redis.url has a password in plain text'],
  ['config.ledger.url=postgresql://a:b@db/c', 'gateway', 'config.ledger.url has a password in plain text'],
  ['config.webhooks[0].secret=whsec_abc', 'gateway', 'config.webhooks[0].secret is in plain text'],
  [
    'config.telemetry.otlp.headers.Authorization=Bearer abc',
    'gateway',
    'config.telemetry.otlp.headers.Authorization is in plain text',
  ],
  ['engines.port=8080', 'sidecar', 'engines.port is 8080, which Envoy or Fairlane has in the same pod'],
  [
    'engineAutoscaling.minReplicas=9',
    'gateway',
    'engineAutoscaling.minReplicas is more than engineAutoscaling.maxReplicas',
  ],
  [
    'engineAutoscaling.kind=keda,engineAutoscaling.target.name=vllm',
    'sidecar',
    'engineAutoscaling makes more pods, each with a sidecar',
  ],
  ['image.tag=1', 'gateway', /tag.* (got number, want string|Expected: string, given: integer)/],
  ['keys.create.a b=some-key,keys.existingSecret=', 'gateway', /create.*a b.* does not match/],
  ['replicas=3', 'sidecar', 'there may be 3 replicas and config.redis is not set'],
  ['networkPolicy.enabled=true', 'sidecar', "networkPolicy.enabled is for pods of Fairlane's own"],
  ['serviceMonitor.enabled=true', 'sidecar', "serviceMonitor.enabled is for pods of Fairlane's own"],
  [
    'autoscaling.enabled=true,config.redis.url=redis://redis:6379',
    'sidecar',
    "autoscaling is for pods of Fairlane's own",
  ],
  // As `config:` is with nothing below it.
  ...['config', 'envoy', 'image', 'keys', 'engines', 'drain', 'state'].map(
    (section): (typeof WRONG)[number] => [
      `${section}=null`,
      'gateway',
      new RegExp(`missing propert\\S+ '${section}'|${section} is required`),
    ],
  ),
  ['envoy.image=null', 'gateway', /missing propert\S+ 'image'|image is required/],
  ['config.service=3', 'gateway', 'config.service must be a mapping'],
  ['config.tenants=alice', 'gateway', 'config.tenants must be a mapping'],
  ['config.tenants.carol=abc', 'gateway', 'config.tenants.carol must be a mapping'],
  [
    'config.tenants.carol.keys=env:CAROL',
    'gateway',
    'config.tenants.carol.keys must be a list, for example [',
  ],
  ['config.webhooks.url=https://a.example', 'gateway', 'config.webhooks must be a list'],
  ['config.webhooks[0]=https://a.example', 'gateway', 'config.webhooks[0] must be a mapping'],
  ['config.redis=redis://r:6379', 'gateway', 'config.redis must be a mapping'],
  ['config.ledger=/data', 'gateway', 'config.ledger must be a mapping'],
  ['config.telemetry.otlp=http://c:4318', 'gateway', 'config.telemetry.otlp must be a mapping'],
  ['config.telemetry.otlp.headers[0]=a', 'gateway', 'config.telemetry.otlp.headers must be a mapping'],
  // A text with nothing in it is a text.
  ...['tenants', 'tenants.carol', 'tenants.carol.keys', 'webhooks', 'redis', 'telemetry.otlp.headers'].map(
    (path): (typeof WRONG)[number] => [`config.${path}=`, 'gateway', `config.${path} must be a `],
  ),
];

describe('wrong values', () => {
  it.each(WRONG)('%s (%s) is refused with a sentence: %s', (set, shape, sentence) => {
    const { status, stderr } = template(helm, ...valuesOf(shape), '--set', set);
    const says =
      typeof sentence === 'string' ? expect.stringContaining(sentence) : expect.stringMatching(sentence);
    expect([status, stderr]).toEqual([1, says]);
  });
});

type Tree = Readonly<Record<string, unknown>>;
const isTree = (value: unknown): value is Tree => z.record(z.string(), z.unknown()).safeParse(value).success;

/** The keys of settings, as a.b; a mapping without keys is its user's. */
const keysOf = (values: Tree, before = ''): readonly string[] =>
  Object.entries(values).flatMap(([key, value]) =>
    isTree(value) && Object.keys(value).length > 0 ? keysOf(value, `${before}${key}.`) : [`${before}${key}`],
  );

/** Of a schema that allows nothing else; quantities of resources are their user's. */
const keysOfSchema = (schema: Tree, before = ''): readonly string[] =>
  Object.entries(schema['properties'] as Tree).flatMap(([key, inner]) =>
    isTree(inner) && inner['properties'] !== undefined
      ? keysOfSchema(inner, `${before}${key}.`)
      : [`${before}${key}`],
  );

describe('the values', () => {
  it('are in values.yaml if and only if the schema has them, which allows no others', () => {
    const values = parse(readFileSync(join(CHART, 'values.yaml'), 'utf8')) as Tree;
    const text = readFileSync(join(CHART, 'values.schema.json'), 'utf8');
    const ofResources = /(resources\.(?:limits|requests))\..*/;
    const documented = new Set(keysOf(values).map((key) => key.replace(ofResources, '$1')));
    // Helm puts `global` there by itself.
    const allowed = keysOfSchema(JSON.parse(text) as Tree).filter((key) => key !== 'global');
    expect([...documented].toSorted()).toEqual(allowed.toSorted());
    const settings = text.match(/"properties": \{/g) ?? [];
    expect(text.match(/"additionalProperties": false,\s+"properties": \{/g)).toHaveLength(settings.length);
  });

  it('give names that Kubernetes takes, also of the longest release', () => {
    const release = `${'a'.repeat(39)}-${'b'.repeat(13)}`;
    const args = [
      '--set',
      'keys.existingSecret=,keys.create.alice=a-key-of-alice,engineAutoscaling.kind=hpa',
    ];
    const scaled = ['--set', 'engineAutoscaling.target.name=vllm'];
    const objects = objectsOf(templateAs(release, helm, ...valuesOf('gateway'), ...args, ...scaled));
    expect(objects.length).toBeGreaterThan(6);
    for (const { metadata } of objects) {
      expect(metadata.name).toMatch(/^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$/);
      for (const value of Object.values(metadata.labels)) expect(value).toMatch(/^[\w.-]{1,63}$/);
    }
    const ports = containersOf(
      podOf('sidecar', renderedBy(helm)('sidecar', '--set', 'envoy.metrics=true')),
    ).flatMap((container) => container.ports);
    for (const { name } of ports) expect(name).toMatch(/^[a-z0-9-]{1,15}$/);
  });

  it('take keys by their hash, and addresses without a password', () => {
    const sets = [
      'config.tenants.carol.keys[0].sha256=abc',
      'config.tenants.dora=null',
      'config.redis.url=redis://a@r:6379',
      'config.webhooks[0].secret=env:HOOK',
      'config.telemetry.otlp.headers.authorization=env:OTLP',
      'config.telemetry.otlp.headers.x-scope-orgid=a',
    ];
    expect(template(helm, ...valuesOf('gateway'), '--set', sets.join(',')).stderr).toBe('');
  });

  it('of digits alone stay texts, and so do the names of what is made', () => {
    const values = join(folder, 'digits.yaml');
    writeFileSync(
      values,
      stringify({
        fullnameOverride: '2026',
        nameOverride: '11',
        priorityClassName: '1',
        serviceAccountName: '2',
        replicas: 1,
        config: { redis: { url: 'redis://redis:6379' }, tenants: { alice: { keys: ['env:A'] } } },
        keys: { existingSecret: '', create: { '3': 'a-key-of-somebody' } },
        state: { existingClaim: '4' },
        engineAutoscaling: { kind: 'hpa', target: { name: '5' }, pool: '6' },
      }),
    );
    const args = ['--values', values, '--namespace', '123'];
    for (const shape of ['gateway', 'endpoint-picker'] as const) {
      const objects = objectsOf(templateAs('2027', helm, ...valuesOf(shape), ...args));
      for (const { metadata, kind } of objects) {
        expect([kind, typeof metadata.name, metadata.namespace]).toEqual([kind, 'string', '123']);
        expect(metadata.labels).toMatchObject({ 'app.kubernetes.io/instance': '2027' });
      }
      const text = JSON.stringify(objects);
      const named =
        /"(?:(?:secret|claim|priorityClass|serviceAccount)?[nN]ame|namespace|pool|app\.[^"]*)":(?!")[^,}]*/g;
      expect(text.match(named)).toBeNull();
    }
  });

  it('that are on or off are words to Fairlane, though Helm reads them as true and false', () => {
    const values = join(folder, 'on-off.yaml');
    writeFileSync(
      values,
      `config:
  service: { console: on }
  telemetry: { tenantHistograms: off }
  pools: { main: { endpoints: ["https://e:1"], tls: { insecureSkipVerify: true } } }
  webhooks: [{ insecure: false, url: "https://w" }]
`,
    );
    expect(parse(configOf(renderedBy(helm)('gateway', '--values', values)))).toMatchObject({
      service: { console: 'on' },
      telemetry: { tenantHistograms: 'off' },
      pools: { main: { tls: { insecureSkipVerify: true } } },
      webhooks: [{ insecure: false }],
    });
  });

  it('that are true or false to Fairlane are those that the chart leaves so', () => {
    const booleans = new Set<string>();
    JSON.parse(
      readFileSync('docs/config.schema.json', 'utf8'),
      function (this: unknown, key, value: unknown) {
        if (isTree(value) && value['type'] === 'boolean') booleans.add(key);
        return value;
      },
    );
    const text = readFileSync(join(CHART, 'templates/_config.tpl'), 'utf8');
    const left = Array.from(text.matchAll(/\(\?:([\w|]+)\)/g), ([, names = '']) => names);
    expect(new Set(left)).toEqual(new Set([[...booleans].toSorted().join('|')]));
  });

  it('of the service and the ledger stay beside what the chart sets; null takes a section away', () => {
    const values = join(folder, 'beside.yaml');
    const config = {
      service: { zone: 'a', tls: { cert: 'c', key: 'k' } },
      ledger: { keep: '30d' },
      redis: null,
    };
    writeFileSync(values, stringify({ replicas: 1, config }));
    const written = parse(configOf(renderedBy(helm)('endpoint-picker', '--values', values))) as Tree;
    expect(written).toMatchObject({
      service: { address: '0.0.0.0:9002', metrics: '0.0.0.0:9464', zone: 'a', tls: { cert: 'c', key: 'k' } },
      ledger: { keep: '30d', directory: '/var/lib/fairlane/state' },
    });
    expect(written).not.toHaveProperty('redis');
  });
});

/** What helm prints after an install: `helm template` leaves it out, so a copy of the chart has it as an object. */
function notesOf(shape: Shape): string {
  const copy = join(folder, `notes-${shape}`);
  cpSync(CHART, copy, { recursive: true });
  const notes = readFileSync(join(CHART, 'templates/NOTES.txt'), 'utf8');
  writeFileSync(
    join(copy, 'templates/notes.yaml'),
    `{{ define "notes" }}${notes}{{ end }}notes: {{ include "notes" . | toJson }}\n`,
  );
  const args = ['template', 'fairlane', copy, '--namespace', 'models', '--show-only', 'templates/notes.yaml'];
  const { stdout, stderr } = spawnSync(helm, [...args, ...valuesOf(shape)], { encoding: 'utf8' });
  expect(stderr).toBe('');
  return (parse(stdout) as { notes: string }).notes;
}

describe('the notes', () => {
  it.each(SHAPES)('of %s say what is next, and fit the page', (shape) => {
    const notes = notesOf(shape);
    const said = {
      gateway: 'http://fairlane.models.svc:80/v1',
      'endpoint-picker': 'Routes name the InferencePool fairlane',
      sidecar: 'patch deployment vllm --patch-file patch.yaml',
    };
    expect(notes).toContain(said[shape]);
    if (shape !== 'sidecar') return;
    const page = readFileSync('docs/install/kubernetes.md', 'utf8');
    for (const command of notes.split('\n').filter((line) => line.includes('kubectl'))) {
      expect(page).toContain(command.trim().replace(' -n models', ''));
    }
  });
});

it('the image has what the container that prepares calls', () => {
  const dockerfile = readFileSync('Dockerfile', 'utf8');
  expect(dockerfile).toContain('\nENTRYPOINT ["node", "dist/cli/index.js"]\n');
  const pod = readFileSync(join(CHART, 'templates/_pod.tpl'), 'utf8');
  expect(pod.match(/node dist\/cli\/index\.js envoy-config/g)).toHaveLength(2);
});
