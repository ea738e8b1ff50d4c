/** A rendered pod as the kubelet would lay it out: volumes as folders, and containers' commands that see them where they mount them. */
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';

const named = z.looseObject({ name: z.string() });
const probe = z.looseObject({}).optional();
const mount = z.looseObject({ name: z.string(), mountPath: z.string(), subPath: z.string().optional() });

const containerSchema = z.looseObject({
  name: z.string(),
  image: z.string(),
  command: z.array(z.string()).default([]),
  args: z.array(z.string()).default([]),
  restartPolicy: z.string().optional(),
  env: z.array(named).default([]),
  ports: z.array(z.looseObject({ name: z.string(), containerPort: z.number() })).default([]),
  securityContext: z.unknown(),
  resources: z.looseObject({ limits: z.looseObject({}), requests: z.looseObject({}) }),
  volumeMounts: z.array(mount),
  startupProbe: probe,
  livenessProbe: probe,
  readinessProbe: probe,
});

export const podSchema = z.looseObject({
  initContainers: z.array(containerSchema).default([]),
  containers: z.array(containerSchema),
  volumes: z.array(named),
  terminationGracePeriodSeconds: z.number(),
});

export type Container = z.infer<typeof containerSchema>;
export type Pod = z.infer<typeof podSchema>;

/** Writes files as the kubelet does: in a folder of their own, to which a link is moved that all of them lead through. */
export function writeAsKubelet(folder: string, files: Readonly<Record<string, string>>): void {
  const version = `..${Object.keys(files).length}-${process.hrtime.bigint()}`;
  mkdirSync(join(folder, version), { recursive: true });
  for (const [name, text] of Object.entries(files)) {
    writeFileSync(join(folder, version, name), text, { mode: 0o440 });
    rmSync(join(folder, name), { force: true });
    symlinkSync(join('..data', name), join(folder, name));
  }
  symlinkSync(version, join(folder, '..data_tmp'));
  renameSync(join(folder, '..data_tmp'), join(folder, '..data'));
}

/** Rewrites the paths that a container sees to those of the volumes in `folder`: /run/fairlane → FOLDER/VOLUME/SUBPATH. */
export function seenBy({ volumeMounts }: Container, folder: string): (text: string) => string {
  const places = new Map(
    volumeMounts.map(({ name, mountPath, subPath = '' }) => [mountPath, join(folder, name, subPath)]),
  );
  const longestFirst = [...places.keys()].toSorted((a, b) => b.length - a.length);
  const pattern = new RegExp(`(?<![\\w.-])(?:${longestFirst.join('|')})(?=[/\\s:"']|$)`, 'g');
  return (text) => text.replaceAll(pattern, (path) => places.get(path) ?? path);
}
