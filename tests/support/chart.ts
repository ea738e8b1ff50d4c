/** The chart's rendering, taken apart: objects, pods, containers; and laid out as the kubelet would. */
import { z } from 'zod';
import { type KubernetesObject, kubernetesYaml, objectsOf, template } from './helm.ts';
import { type Container, type Pod, podSchema, seenBy, writeAsKubelet } from './pod.ts';

export const SHAPES = ['gateway', 'endpoint-picker', 'sidecar'] as const;
export type Shape = (typeof SHAPES)[number];
export const valuesOf = (shape: Shape): readonly string[] => [
  '--values',
  `packaging/helm/examples/${shape}.yaml`,
];
export function theOne(
  objects: readonly KubernetesObject[],
  kind: string,
  name = 'fairlane',
): KubernetesObject {
  const found = objects.find((object) => object.kind === kind && object.metadata.name === name);
  if (found === undefined) throw new Error(`there is no ${kind} ${name}`);
  return found;
}

/** A Deployment of somebody's, into which the sidecar goes. */
const ENGINE = {
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'vllm', namespace: 'models', labels: { app: 'vllm' } },
  spec: {
    selector: { matchLabels: { app: 'vllm' } },
    template: {
      metadata: { labels: { app: 'vllm' } },
      spec: {
        containers: [{ name: 'vllm', image: 'vllm/vllm-openai', args: ['--model', 'demo'] }],
        volumes: [{ name: 'models', emptyDir: {} }],
      },
    },
  },
};

/** A strategic merge, as far as the patch goes: lists are merged by the name of their elements, new ones come first. */
function merged(into: unknown, patch: unknown): unknown {
  const isMap = (value: unknown): value is Record<string, unknown> =>
    z.record(z.string(), z.unknown()).safeParse(value).success;
  if (Array.isArray(into) && Array.isArray(patch)) {
    const nameOf = (item: unknown): unknown => (item as { readonly name?: unknown }).name;
    const old = new Map(into.map((item: unknown) => [nameOf(item), item]));
    const changes = new Map(patch.map((item: unknown) => [nameOf(item), item]));
    const added = patch.filter((item: unknown) => !old.has(nameOf(item)));
    const kept = into.map((item: unknown) =>
      changes.has(nameOf(item)) ? merged(item, changes.get(nameOf(item))) : item,
    );
    return [...added, ...kept];
  }
  if (!isMap(into) || !isMap(patch)) return patch;
  const keys = new Set([...Object.keys(into), ...Object.keys(patch)]);
  return Object.fromEntries(
    [...keys].map((key) => [key, key in patch ? merged(into[key], patch[key]) : into[key]]),
  );
}

export function patched(objects: readonly KubernetesObject[]): KubernetesObject {
  const [patch] = kubernetesYaml(theOne(objects, 'ConfigMap', 'fairlane-patch').data?.['patch.yaml'] ?? '');
  return merged(ENGINE, patch) as KubernetesObject;
}

export function podOf(shape: Shape, objects: readonly KubernetesObject[]): Pod {
  const deployment = shape === 'sidecar' ? patched(objects) : theOne(objects, 'Deployment');
  const { spec } = deployment as unknown as {
    spec: { template: { spec: { containers: { name: string }[] } } };
  };
  const pod = spec.template.spec;
  // What is the engine's is not the chart's.
  return podSchema.parse({ ...pod, containers: pod.containers.filter(({ name }) => name !== 'vllm') });
}

export const containersOf = ({ initContainers, containers }: Pod): readonly Container[] => [
  ...initContainers,
  ...containers,
];

export function containerOf(pod: Pod, name: string): Container {
  const found = containersOf(pod).find((container) => container.name === name);
  if (found === undefined) throw new Error(`there is no container ${name}`);
  return found;
}

export const configOf = (objects: readonly KubernetesObject[]): string =>
  theOne(objects, 'ConfigMap').data?.['fairlane.yaml'] ?? '';

/** As `helm template` renders a shape's example with more values. */
export const renderedBy =
  (helm: string) =>
  (shape: Shape, ...args: readonly string[]): readonly KubernetesObject[] =>
    objectsOf(template(helm, ...valuesOf(shape), ...args));

export const KEYS = { alice: 'a-key-of-alice', bob: 'a-key-of-bob', 'redis-url': 'redis://redis:6379' };

/** A configuration and keys in the folders that a container mounts. @returns the path of the configuration. */
export function layOut(container: Container, root: string, files: Readonly<Record<string, string>>): string {
  const here = seenBy(container, root);
  writeAsKubelet(here('/etc/fairlane/config'), {
    ...files,
    'fairlane.yaml': here(files['fairlane.yaml'] ?? ''),
  });
  if (container.volumeMounts.some(({ name }) => name === 'fairlane-keys')) {
    writeAsKubelet(here('/etc/fairlane/keys'), KEYS);
  }
  return here('/etc/fairlane/config/fairlane.yaml');
}
