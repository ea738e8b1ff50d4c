/** The Helm chart: rendered by the real helm, its objects held by Kubernetes' schemas. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { z } from 'zod';
import { RESTART_SETTINGS } from '../../src/config/changes.ts';
import {
  configOf,
  containerOf,
  containersOf,
  patched,
  podOf,
  renderedBy,
  SHAPES,
  type Shape,
  theOne,
  valuesOf,
} from '../support/chart.ts';
import { pythonWith } from '../support/clients/python.ts';
import { CUSTOM_RESOURCES } from '../support/custom-resources.ts';
import { CHART, helmForTests, type KubernetesObject } from '../support/helm.ts';
import type { Container } from '../support/pod.ts';

const PAGE = 'docs/install/kubernetes.md';
const FIRST_INSTALL_MS = 1_200_000;

let helm: string;
let rendered: ReturnType<typeof renderedBy>;
let folder: string;

/** What Kubernetes' own schemas, or those of other kinds, have against the objects. */
async function problemsOf(objects: readonly KubernetesObject[]): Promise<readonly string[]> {
  const own = objects.filter(({ kind }) => CUSTOM_RESOURCES[kind] === undefined);
  const path = join(folder, 'objects.yaml');
  // A YAML 1.2 document would have other numbers than Kubernetes reads; JSON has one meaning.
  writeFileSync(path, own.map((object) => JSON.stringify(object)).join('\n---\n'));
  const program = join(dirname(await pythonWith('kubernetes')), 'kubernetes-validate');
  const { status, stdout, stderr } = spawnSync(program, ['--strict', path], { encoding: 'utf8' });
  const said = `${stdout}${stderr}`.trim().split('\n');
  const others = objects.flatMap((object) => {
    const checked = CUSTOM_RESOURCES[object.kind]?.safeParse(object);
    return checked === undefined || checked.success ? [] : [`${object.kind}: ${checked.error.message}`];
  });
  const notPassed = said.filter((line) => !line.startsWith('INFO'));
  return [...notPassed, ...(status === 0 || notPassed.length > 0 ? [] : [`exit code ${status}`]), ...others];
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'fairlane-chart-'));
  helm = helmForTests();
  await pythonWith('kubernetes');
  rendered = renderedBy(helm);
}, FIRST_INSTALL_MS);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

const EVERYTHING = [
  [
    'autoscaling.enabled=true',
    'serviceMonitor.enabled=true',
    'envoy.metrics=true',
    'networkPolicy.enabled=true',
  ],
  ['serviceMonitor.labels.release=prometheus', 'service.type=LoadBalancer', 'service.annotations.a/b=c'],
  ['keys.existingSecret=', 'keys.create.alice=a-key-of-alice', 'keys.create.redis-url=redis://redis:6379'],
  ['nodeSelector.disk=ssd', 'podLabels.team=a', 'podAnnotations.note=b', 'priorityClassName=high'],
  ['serviceAccountName=fairlane', 'imagePullSecrets[0].name=pull', 'env[0].name=A', 'env[0].value=b'],
  ['tolerations[0].key=gpu', 'tolerations[0].operator=Exists', 'envFrom[0].secretRef.name=more'],
  ['extraVolumes[0].name=tls', 'extraVolumes[0].secret.secretName=tls', 'extraVolumeMounts[0].name=tls'],
  ['extraVolumeMounts[0].mountPath=/etc/fairlane/tls', 'engineAutoscaling.target.name=vllm'],
].flatMap((sets) => ['--set', sets.join(',')]);

const VARIATIONS: readonly (readonly [string, Shape, readonly string[]])[] = [
  ...SHAPES.map((shape) => [`the example ${shape}`, shape, []] as const),
  ['a gateway with everything, and KEDA', 'gateway', [...EVERYTHING, '--set', 'engineAutoscaling.kind=keda']],
  [
    'a gateway with everything, and an HPA',
    'gateway',
    [...EVERYTHING, '--set', 'engineAutoscaling.kind=hpa'],
  ],
  [
    'one replica with a disk',
    'gateway',
    ['--set', 'replicas=1,state.existingClaim=ledger,pdb.enabled=false'],
  ],
  [
    'a picker without a pool',
    'endpoint-picker',
    ['--set', 'picker.inferencePool.create=false,serviceMonitor.enabled=true'],
  ],
  ['a picker that fails open', 'endpoint-picker', ['--set', 'picker.inferencePool.failureMode=FailOpen']],
  ['a sidecar of an Envoy', 'sidecar', ['--set', 'sidecar.engineContainer=,sidecar.envoyContainer=vllm']],
];

describe('the chart', () => {
  it.each(SHAPES)('passes helm lint as %s', (shape) => {
    const lint = spawnSync(helm, ['lint', CHART, '--strict', ...valuesOf(shape)], { encoding: 'utf8' });
    expect([lint.status, lint.stdout]).toEqual([0, expect.stringContaining('0 chart(s) failed')]);
  });

  it.each(VARIATIONS)('renders objects that Kubernetes takes: %s', async (_, shape, args) => {
    const objects = rendered(shape, ...args);
    const all = shape === 'sidecar' ? [...objects, patched(objects)] : objects;
    expect(await problemsOf(all)).toEqual([]);
    const names = objects.map(({ kind, metadata }) => `${kind} ${metadata.name}`);
    expect(new Set(names).size).toBe(names.length);
  });

  it('is of one version with the program, the Envoy of Compose and its script', () => {
    const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
    expect(parse(readFileSync(join(CHART, 'Chart.yaml'), 'utf8'))).toMatchObject({
      version,
      appVersion: version,
    });
    expect(readFileSync(join(CHART, 'files/run.sh'), 'utf8')).toBe(
      readFileSync('envoy/docker/run.sh', 'utf8'),
    );
    const objects = rendered('gateway');
    expect(theOne(objects, 'ConfigMap').data?.['run.sh']).toBe(readFileSync('envoy/docker/run.sh', 'utf8'));
    const compose = parse(readFileSync('docker-compose.yml', 'utf8'), { merge: true }) as {
      services: { envoy: { image: string } };
    };
    expect(containerOf(podOf('gateway', objects), 'fairlane-envoy').image).toBe(compose.services.envoy.image);
  });

  it('asks for an image by its digest where there is one', () => {
    const digest = `sha256:${'a'.repeat(64)}`;
    const pod = podOf('gateway', rendered('gateway', '--set', `image.digest=${digest}`));
    expect(containerOf(pod, 'fairlane').image).toBe(`registry.example.com/fairlane@${digest}`);
  });
});

describe.each(SHAPES)('the pod of %s', (shape) => {
  it('is as restricted as the Pod Security Standards have it, and each container bounded', () => {
    for (const { securityContext, resources } of containersOf(podOf(shape, rendered(shape)))) {
      expect(securityContext).toEqual({
        runAsNonRoot: true,
        runAsUser: 1000,
        runAsGroup: shape === 'sidecar' ? 0 : 1000,
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ['ALL'] },
        seccompProfile: { type: 'RuntimeDefault' },
      });
      expect([
        resources.limits['memory'],
        resources.requests['memory'],
        resources.requests['cpu'],
      ]).not.toContain(undefined);
    }
  });

  it('has every volume that is mounted, and mounts configuration and keys as whole folders', () => {
    const pod = podOf(shape, rendered(shape));
    const volumes = new Map(pod.volumes.map((volume) => [volume.name, volume]));
    for (const mount of containersOf(pod).flatMap(({ volumeMounts }) => volumeMounts)) {
      expect(volumes.has(mount.name)).toBe(true);
      if (mount.mountPath.startsWith('/etc/fairlane/')) expect(mount.subPath).toBeUndefined();
    }
    const keys = volumes.get('fairlane-keys');
    if (shape !== 'endpoint-picker') {
      expect(keys).toMatchObject({ secret: { secretName: 'fairlane-keys', defaultMode: 0o440 } });
    }
  });

  it('begins with Fairlane and ends with it', () => {
    const pod = podOf(shape, rendered(shape));
    // The wait for the Service, the drain, and Fairlane's own end.
    expect(pod.terminationGracePeriodSeconds).toBeGreaterThan(5 + 120 + 10);
    const names = (containers: readonly Container[]) =>
      containers.map(({ name, restartPolicy }) => [name, restartPolicy]);
    if (shape === 'endpoint-picker') return expect(names(pod.containers)).toEqual([['fairlane', undefined]]);
    expect(names(pod.initContainers)).toEqual([
      ['fairlane-prepare', undefined],
      ['fairlane', 'Always'],
    ]);
    expect(names(pod.containers)).toEqual([['fairlane-envoy', undefined]]);
  });

  it('is probed and served on ports that it has', () => {
    const objects = rendered(shape, '--set', 'envoy.metrics=true');
    const containers = containersOf(podOf(shape, objects));
    const ports = containers.flatMap((container) => container.ports);
    for (const container of containers.filter(({ name }) => name !== 'fairlane-prepare')) {
      for (const probe of [container.startupProbe, container.livenessProbe, container.readinessProbe]) {
        expect(probe).toBeDefined();
        const asked = z.looseObject({ port: z.union([z.string(), z.number()]) });
        const { httpGet, tcpSocket, grpc } = z
          .looseObject({ httpGet: asked.optional(), tcpSocket: asked.optional(), grpc: asked.optional() })
          .parse(probe);
        const port = (httpGet ?? tcpSocket ?? grpc)?.port;
        if (port === undefined) continue;
        expect(container.ports.flatMap(({ name, containerPort }) => [name, containerPort])).toContain(port);
      }
    }
    const config = parse(theOne(objects, 'ConfigMap').data?.['fairlane.yaml'] ?? '') as {
      service: { metrics: string };
    };
    expect(config.service.metrics).toBe(
      `0.0.0.0:${ports.find(({ name }) => name === 'fairlane-stats')?.containerPort}`,
    );
    for (const { kind, spec, metadata } of objects) {
      if (kind !== 'Service' || metadata.name === 'fairlane-engines') continue;
      const { ports: served } = z
        .looseObject({ ports: z.array(z.looseObject({ targetPort: z.string() })) })
        .parse(spec);
      for (const { targetPort } of served) expect(ports.map(({ name }) => name)).toContain(targetPort);
    }
  });
});

describe('the configuration', () => {
  it('has the engines of a headless Service, whose selector the InferencePool has too', () => {
    const objects = rendered('endpoint-picker', '--set', 'engines.port=8001');
    expect(parse(configOf(objects))).toMatchObject({
      mode: 'endpoint-picker',
      service: { address: '0.0.0.0:9002', drainTimeout: '120s' },
      pools: { main: { endpoints: ['http://fairlane-engines.models.svc:8001'] } },
    });
    expect(theOne(objects, 'Service', 'fairlane-engines').spec).toEqual({
      clusterIP: 'None',
      selector: { app: 'vllm' },
      ports: [{ name: 'http', port: 8001, targetPort: 8001 }],
    });
    expect(theOne(objects, 'InferencePool').spec).toEqual({
      selector: { matchLabels: { app: 'vllm' } },
      targetPorts: [{ number: 8001 }],
      endpointPickerRef: { name: 'fairlane', port: { number: 9002 }, failureMode: 'FailClose' },
    });
    expect(theOne(objects, 'Service').spec).toMatchObject({ ports: [{ port: 9002, appProtocol: 'http2' }] });
  });

  it('keeps large numbers as they are', () => {
    const limits = { tokensPerMinute: 1_000_000_000, tokensPerMonth: 1_000_000_000_000_000 };
    const values = join(folder, 'large.yaml');
    writeFileSync(values, stringify({ config: { tiers: { gold: limits } } }));
    expect(parse(configOf(rendered('gateway', '--values', values)))).toMatchObject({
      tiers: { gold: limits },
    });
  });

  it('restarts pods for what only a start takes over', () => {
    const sum = (...sets: readonly string[]): unknown => {
      const { spec } = theOne(rendered('gateway', ...sets.flatMap((set) => ['--set', set])), 'Deployment');
      return z
        .looseObject({
          template: z.looseObject({ metadata: z.looseObject({ annotations: z.looseObject({}) }) }),
        })
        .parse(spec).template.metadata.annotations['fairlane/restart'];
    };
    const first = sum();
    expect(first).toMatch(/^[0-9a-f]{64}$/);
    expect(sum('config.tenants.carol.limits.weight=2')).toBe(first);
    expect(sum('engines.port=9000')).toBe(first);
    expect(sum('config.envoy.maxBodySize=8MiB')).not.toBe(first);
    expect(sum('envoy.metrics=true')).not.toBe(first);
    expect(sum('config.log.format=json')).not.toBe(first);
    expect(sum('config.cors.origins[0]=https://a.example')).not.toBe(first);
    const template = readFileSync(join(CHART, 'templates/_config.tpl'), 'utf8');
    const [, picked = ''] = /pick \$config (.*) -}}/.exec(template) ?? [];
    for (const name of RESTART_SETTINGS) expect(picked).toContain(`"${name.split('.')[0]}"`);
  });

  it('is read into jobs by the names that our alerts know, and keeps the labels of our metrics', () => {
    const monitor = theOne(
      rendered('gateway', '--set', 'serviceMonitor.enabled=true,envoy.metrics=true'),
      'ServiceMonitor',
    );
    const { endpoints } = z
      .looseObject({
        endpoints: z.array(
          z.looseObject({
            path: z.string(),
            honorLabels: z.boolean().default(false),
            relabelings: z.array(z.looseObject({ replacement: z.string() })),
          }),
        ),
      })
      .parse(monitor.spec);
    const jobs = endpoints.flatMap(({ relabelings }) => relabelings.map(({ replacement }) => replacement));
    const asked = readFileSync('observability/prometheus/alerts.yaml', 'utf8').matchAll(/job="(\w+)"/g);
    expect(new Set(jobs)).toEqual(new Set(Array.from(asked, ([, job = '']) => job)));
    // What the Prometheus Operator calls a port.
    const metrics = readFileSync('docs/reference/metrics.md', 'utf8');
    expect(metrics).toMatch(/\| pool, endpoint, address \|/);
    expect(endpoints.filter(({ path }) => path === '/metrics')).toMatchObject([{ honorLabels: true }]);
  });

  it('scales engines by the queries of the page on autoscaling', () => {
    const keda = ['engineAutoscaling.kind=keda', 'engineAutoscaling.target.name=vllm'].join(',');
    const { spec } = theOne(rendered('gateway', '--set', keda), 'ScaledObject', 'fairlane-engines');
    const page = readFileSync('docs/how-to/autoscaling.md', 'utf8');
    const { triggers } = z
      .looseObject({ triggers: z.array(z.looseObject({ metadata: z.looseObject({ query: z.string() }) })) })
      .parse(spec);
    expect(triggers).toHaveLength(2);
    for (const { metadata } of triggers) expect(page).toContain(`query: ${metadata.query}\n`);
  });
});

describe('the page', () => {
  /** No test runs these: they want a cluster, or Docker. */
  const OTHERS = /^(kubectl|helm (upgrade|install|uninstall)|docker|openssl) /;
  const commands = Array.from(readFileSync(PAGE, 'utf8').matchAll(/^ *```sh\n(.*?)^ *```$/gms)).flatMap(
    ([, text = '']) =>
      text
        .replaceAll('\\\n', ' ')
        .trim()
        .split('\n')
        .map((line) => line.trim()),
  );

  it('has commands that render and lint, which are run here', () => {
    const ours = commands.filter((command) => /^helm (template|lint) /.test(command));
    expect(ours.length).toBeGreaterThan(1);
    const env = { ...process.env, PATH: `${dirname(helm)}:${process.env['PATH'] ?? ''}` };
    for (const command of ours) {
      expect([command, spawnSync('sh', ['-c', command], { env }).status]).toEqual([command, 0]);
    }
    expect(commands.filter((command) => !ours.includes(command) && !OTHERS.test(command))).toEqual([]);
  });

  it('names values that there are', () => {
    const values = parse(readFileSync(join(CHART, 'values.yaml'), 'utf8')) as Record<string, unknown>;
    const set = commands.flatMap((command) =>
      Array.from(command.matchAll(/--set ([\w.]+)=/g), ([, path = '']) => path),
    );
    for (const path of set) {
      let at: unknown = values;
      for (const step of path.split('.')) at = (at as Record<string, unknown>)[step];
      expect([path, at]).not.toEqual([path, undefined]);
    }
  });
});
