/** What a reload changes, and which of it waits for a restart: of Fairlane, of Envoy, or both. */
import { isDeepStrictEqual } from 'node:util';
import type { Config } from './config.ts';
import { SECRET_REFERENCE } from './secrets.ts';
import { isMapping, type Mapping } from './written-data.ts';

const SETTINGS: readonly (readonly [name: string, of: (config: Config) => unknown])[] = [
  ['mode', (config) => config.picker !== undefined],
  ['picker', (config) => config.picker],
  // What is in the files of certificates is read again while Envoy runs.
  [
    'listen',
    (config) =>
      config.listen.map(({ address, tls }) => [address, tls !== undefined, tls?.clientCa !== undefined]),
  ],
  ['cors', (config) => config.cors],
  ['identity.jwt', (config) => config.jwt !== undefined],
  ['envoy.admin', (config) => config.envoy.admin],
  ['envoy.directory', (config) => config.envoy.directory],
  ['envoy.failureMode', (config) => config.envoy.failureMode],
  ['envoy.fallbackPool', (config) => config.envoy.fallbackPool],
  ['envoy.maxBodySize', (config) => config.envoy.maxBodyBytes],
  ['envoy.maxUnsizedBodySize', (config) => config.envoy.maxUnsizedBodyBytes],
  ['envoy.connectionBufferSize', (config) => config.envoy.connectionBufferBytes],
  ['envoy.maxHeapSize', (config) => config.envoy.maxHeapBytes],
  ['envoy.maxConnections', (config) => config.envoy.maxConnections],
  ['envoy.idleTimeout', (config) => config.envoy.idleTimeoutMs],
  ['envoy.uploads', (config) => config.envoy.uploads],
  ['routes', (config) => config.routes],
  ['service.address', (config) => config.service.address],
  // As of listeners. A certificate of one's own is made at the start.
  ['service.tls', ({ service: { tls } }) => [tls !== undefined, tls?.clientCa !== undefined]],
  ['service.metrics', (config) => config.service.metrics],
  ['service.console', (config) => config.service.console],
  // Tokens are read at each request.
  ['admin', ({ admin }) => admin && [admin.address, admin.directory, admin.tls !== undefined]],
  ['redis', (config) => config.redis],
  ['ledger', (config) => config.ledger],
  ['rateLimit.snapshot', (config) => config.rateLimit.snapshot],
  ['rateLimit.http', (config) => config.rateLimit.http],
  ['log.format', (config) => config.log.format],
];

/** The names of settings that only take effect with a restart, in the order of the configuration. */
export const RESTART_SETTINGS: readonly string[] = SETTINGS.map(([name]) => name);

/** The names of changed settings that only take effect with a restart. */
export function restartNeeded(old: Config, next: Config): readonly string[] {
  return SETTINGS.filter(([, of]) => !isDeepStrictEqual(of(old), of(next))).map(([name]) => name);
}

/** A configuration as its user wrote it, with the names of keys of now. */
export interface Written {
  readonly root: unknown;
  /** Replaces its secrets in a text. */
  readonly hide: (text: string) => string;
}

/** The same, as it was read from files. */
export interface ConfigSource extends Written {
  readonly file: string;
  /** Of the text of each file of a secret or a tenant, by its path. */
  readonly digests: ReadonlyMap<string, string>;
}

const MOST_CHANGES = 50;
const MOST_FILES_TOLD = 10;
const LONGEST_VALUE = 60;
/** Names in a list that are shown as added or removed. */
const MOST_NAMES = 5;

/** Keys whose text is never shown, unless it only says where it is kept. */
const SECRET_KEY = /^(?:keys|url|.*(?:[kK]ey|[pP]assword|[sS]ecret|[tT]oken))$/;

/**
 * What another configuration says: `pools.main.concurrencyLimit: auto → 16`, in the order of paths. Secrets are not in it,
 * and what is added whole is only named: at most 50 lines of some hundred characters.
 */
export function changesOf(before: Written, after: Written): readonly string[] {
  const changes: string[] = [];
  let count = 0;
  const hide = (text: string): string => before.hide(after.hide(text));
  compare(before.root, after.root, [], {
    hide,
    changed(path, text) {
      count += 1;
      // To hide ten thousand keys in ten thousand texts takes seconds.
      if (count <= MOST_CHANGES) changes.push(`${shownPath(path, hide)}: ${text()}`);
    },
  });
  return count > MOST_CHANGES ? [...changes, `and ${count - MOST_CHANGES} more`] : changes;
}

/** The same, and which files of secrets have other contents. */
export function sourceChanges(before: ConfigSource, after: ConfigSource): readonly string[] {
  const other = [...after.digests].filter(
    ([path, digest]) => (before.digests.get(path) ?? digest) !== digest,
  );
  const files = other.slice(0, MOST_FILES_TOLD).map(([path]) => `${path}: other content`);
  if (other.length > MOST_FILES_TOLD)
    files.push(`${other.length - MOST_FILES_TOLD} more files: other content`);
  return [...changesOf(before, after), ...files];
}

const cut = (text: string): string =>
  text.length > LONGEST_VALUE ? `${text.slice(0, LONGEST_VALUE)}…` : text;

const shownPath = (path: readonly string[], hide: Written['hide']): string =>
  path
    .map((step) => (/^[A-Za-z0-9_.-]{1,80}$/.test(step) ? hide(step) : JSON.stringify(cut(hide(step)))))
    .join('.');

interface Tell {
  readonly hide: Written['hide'];
  readonly changed: (path: readonly string[], text: () => string) => void;
}

function compare(before: unknown, after: unknown, path: readonly string[], tell: Tell): void {
  if (isDeepStrictEqual(before, after)) return;
  if (isMapping(before) && isMapping(after)) {
    for (const key of new Set([...Object.keys(before), ...Object.keys(after)])) {
      compare(own(before, key), own(after, key), [...path, key], tell);
    }
    return;
  }
  const isSecret = SECRET_KEY.test(path.at(-1) ?? '');
  const show = (value: unknown): string => valueText(value, isSecret, tell.hide);
  if (Array.isArray(before) && Array.isArray(after))
    tell.changed(path, () => listChange(before, after, show));
  else if (before === undefined && isCompound(after)) tell.changed(path, () => 'added');
  else if (after === undefined && isCompound(before)) tell.changed(path, () => 'removed');
  else tell.changed(path, () => `${show(before)} → ${show(after)}`);
}

const own = (mapping: Mapping, key: string): unknown =>
  Object.hasOwn(mapping, key) ? mapping[key] : undefined;

const isCompound = (value: unknown): boolean => typeof value === 'object' && value !== null;

function valueText(value: unknown, isSecret: boolean, hide: Written['hide']): string {
  if (value === undefined) return 'default';
  if (isCompound(value)) return Array.isArray(value) ? `list of ${value.length}` : 'mapping';
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  if (isSecret && typeof value === 'string' && !SECRET_REFERENCE.test(text)) return '(hidden)';
  return cut(hide(text));
}

/** Of lists of words what came and went; of others that they changed. */
function listChange(
  before: readonly unknown[],
  after: readonly unknown[],
  show: (value: unknown) => string,
): string {
  if ([...before, ...after].some(isCompound)) return 'changed';
  const added = after.filter((one) => !before.includes(one)).map((one) => `+ ${show(one)}`);
  const gone = before.filter((one) => !after.includes(one)).map((one) => `- ${show(one)}`);
  const names = [...gone, ...added];
  if (names.length === 0) return 'another order';
  const more = names.length > MOST_NAMES ? ` and ${names.length - MOST_NAMES} more` : '';
  return `${names.slice(0, MOST_NAMES).join(', ')}${more}`;
}
