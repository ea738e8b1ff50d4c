/**
 * A reload whose variable is not set: the value that stood in its place before stays, and all else is taken over. A process sees the
 * variables that it was started with, so a new one cannot be set for a reload.
 */
import { lookUpEnv, type Sources } from './secrets.ts';
import { isMapping } from './written-data.ts';
import type { Path } from './yaml-source.ts';

/** Where values may be references. */
const SECTIONS: readonly string[] = ['pools', 'redis', 'ledger', 'admin', 'webhooks', 'tenants'];

export interface Kept {
  /** As written now, with what was written before in the places that are kept. */
  readonly root: unknown;
  readonly warnings: readonly { readonly path: Path; readonly message: string }[];
}

/** @param before as it was written when it was taken over, kept values in it; undefined: nothing was. */
export function withKeptValues(root: unknown, before: unknown, env: Sources['env']): Kept {
  const warnings: { path: Path; message: string }[] = [];
  if (!isMapping(root) || !isMapping(before)) return { root, warnings };
  const keep = (now: unknown, old: unknown, path: Path, isTaken: (text: string) => boolean): unknown => {
    if (typeof now === 'string') {
      if (!now.startsWith('env:') || now === old || typeof old !== 'string' || isTaken(old)) return now;
      if (lookUpEnv(now, env).kind === 'ok') return now;
      const name = now.slice('env:'.length);
      // What is no variable's name is wrong in itself, and may be a secret.
      if (!VARIABLE.test(name)) return now;
      warnings.push({
        path,
        message: `environment variable ${name} is not set in this process, which sees only what was set when it was started: the value before stays in use. Restart it with the variable, or use file:PATH`,
      });
      return old;
    }
    if (Array.isArray(now)) {
      // What has moved in its list is not in two places.
      const texts = new Set(now.filter((one) => typeof one === 'string'));
      const olds: readonly unknown[] = Array.isArray(old) ? old : [];
      return now.map((one, i) =>
        keep(one, olds.find((other) => isAt(one, other)) ?? olds[i], [...path, i], (text) => texts.has(text)),
      );
    }
    if (!isMapping(now)) return now;
    // What is elsewhere now is another one: it does not get the secrets of the one before.
    const isSame =
      isMapping(old) &&
      (now['url'] === old['url'] || isUnset(now['url'], env)) &&
      now['name'] === old['name'];
    const olds = isSame ? old : {};
    return Object.fromEntries(
      Object.entries(now).map(([key, value]) => [
        key,
        keep(value, Object.hasOwn(olds, key) ? olds[key] : undefined, [...path, key], () => false),
      ]),
    );
  };
  const kept = Object.entries(root).map(([key, value]) => [
    key,
    SECTIONS.includes(key) ? keep(value, before[key], [key], () => false) : value,
  ]);
  return { root: Object.fromEntries(kept) as unknown, warnings };
}

/** Whether both are of one address, or of one name. */
const isAt = (now: unknown, old: unknown): boolean =>
  isMapping(now) &&
  isMapping(old) &&
  ['url', 'name'].some((member) => now[member] !== undefined && now[member] === old[member]);

const isUnset = (value: unknown, env: Sources['env']): boolean =>
  typeof value === 'string' && lookUpEnv(value, env).kind === 'bad';

const VARIABLE = /^[A-Za-z_][A-Za-z0-9_]*$/;
