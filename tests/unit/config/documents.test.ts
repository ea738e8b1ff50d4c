import { readdirSync, readFileSync } from 'node:fs';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, it } from 'vitest';
import { parse as parseYaml } from 'yaml';
import { DEFAULT_FORBIDDEN_FIELDS } from '../../../src/config/forbidden-fields.ts';
import { type LoadedConfig, loadConfig } from '../../../src/config/fs-config.ts';
import { QUICKSTART_CONFIG, QUICKSTART_ENGINE_VARIABLE } from '../../../src/config/quickstart.ts';
import { configJsonSchema, configReference } from '../../../src/config/reference.ts';
import { writtenSchema } from '../../../src/config/schema/schema.ts';
import { plainTexts } from '../../support/plain-key.ts';
import { full, put } from './parse.ts';

const EXAMPLES = new URL('../../../examples/', import.meta.url);
const examples = readdirSync(EXAMPLES).filter((name) => name.endsWith('.yaml'));
const textOf = (name: string) => readFileSync(new URL(name, EXAMPLES), 'utf8');

const env = {
  ...Object.fromEntries(
    ['ALICE_KEY', 'BOB_KEY', 'BOB_NEXT_KEY', 'BOB_CI_KEY', 'NIGHTLY_KEY', 'QUIET_KEY', 'NOISY_KEY'].map(
      (name) => [name, `example-${name}`],
    ),
  ),
  ENGINE_URL: 'http://engine:8000',
  REDIS_URL: 'redis://redis:6379',
  FAIRLANE_ADMIN_TOKEN: 'example-token-of-who-may-change-it',
  FAIRLANE_READ_TOKEN: 'example-token-of-who-may-only-read',
  [QUICKSTART_ENGINE_VARIABLE]: 'http://127.0.0.1:8000',
  XDG_RUNTIME_DIR: '/run/user/1',
};

function load(name: string): Extract<LoadedConfig, { kind: 'ok' }> {
  const loaded = loadConfig(new URL(name, EXAMPLES).pathname, env);
  if (loaded.kind === 'bad') throw new Error(loaded.problems.join('\n'));
  return loaded;
}

describe('the examples', () => {
  it.each(examples)('%s is right, without a warning', (name) => {
    expect(load(name).warnings).toEqual([]);
  });

  it('quickstart.yaml shares one engine between a quiet and a noisy tenant', () => {
    expect(QUICKSTART_CONFIG.pathname).toBe(new URL('quickstart.yaml', EXAMPLES).pathname);
    const { tenants, pools, models } = load('quickstart.yaml').config;
    expect([...tenants].map(([name, { keys }]) => [name, ...plainTexts(keys)])).toEqual([
      ['quiet', 'demo-quiet-key'],
      ['noisy', 'demo-noisy-key'],
    ]);
    expect(pools.get('main')).toMatchObject({ concurrencyLimit: 'auto', discoverModels: false });
    expect([...models.keys()]).toEqual(['demo']);
  });

  it('existing-vllm.yaml asks the engine for its models', () => {
    expect(load('existing-vllm.yaml').config.pools.get('main')?.discoverModels).toBe(true);
  });

  it('full.yaml has every setting', () => {
    const text = textOf('full.yaml');
    const keys = configReference().matchAll(/^\| `[a-zA-Z.]*?(\w+)` \|/gm);
    for (const [, key] of keys) expect(text).toContain(`${key}:`);
  });

  it('full.yaml forbids no less than the built-in list', () => {
    expect(load('full.yaml').config.fields.forbidden).toEqual(DEFAULT_FORBIDDEN_FIELDS);
  });
});

describe('the JSON schema', () => {
  const validate = new Ajv2020({ allErrors: true }).compile(configJsonSchema());

  it.each(examples)('accepts %s', (name) => {
    validate(parseYaml(textOf(name)));
    expect(validate.errors).toBeNull();
  });

  it('refuses what the program refuses', () => {
    expect(validate(full())).toBe(true);
    expect(validate(put(full(), 'queue.maxWait', 30))).toBe(false);
    expect(validate(put(full(), 'queue.maxWiat', '30s'))).toBe(false);
    expect(validate(put(full(), 'pools', undefined))).toBe(false);
  });
});

/** Settings whose absence means nothing. */
const WITHOUT_DEFAULT = /\.(?:tier|keys\[\]\.(?:key|sha256|name)|when\[\]\.\w+)`/;

interface Node {
  readonly shown?: string;
  readonly properties?: Readonly<Record<string, Node>>;
  readonly additionalProperties?: Node | boolean;
  readonly items?: Node;
  readonly anyOf?: readonly Node[];
}

/** Paths of what may be written, also in lists and in one of several forms; of mappings what is in them. */
function settingsIn(node: Node, path: string): readonly string[] {
  const { properties, additionalProperties: others, items, anyOf = [] } = node;
  const inner = [
    ...Object.entries(properties ?? {}).flatMap(([key, child]) => settingsIn(child, `${path}.${key}`)),
    ...(typeof others === 'object' ? settingsIn(others, `${path}.NAME`) : []),
    ...(items === undefined ? [] : settingsIn(items, `${path}[]`)),
    ...anyOf.flatMap((form) => settingsIn(form, path)),
  ];
  return inner.length > 0 ? inner : [path];
}

describe('the reference', () => {
  it('has one line for each setting, with type, default and meaning', () => {
    const rows = configReference()
      .split('\n')
      .filter((line) => line.startsWith('| `'));
    expect(rows.length).toBeGreaterThan(30);
    expect(new Set(rows).size).toBe(rows.length);
    for (const row of rows) {
      const cells = row.split(/(?<!\\) \| |^\| | \|$/).slice(1, -1);
      const empty = cells.filter((cell) => cell === '').length;
      expect({ row, cells: cells.length, empty }).toEqual({
        row,
        cells: 4,
        empty: WITHOUT_DEFAULT.test(row) ? 1 : 0,
      });
    }
  });

  it('leaves out no setting, nor those of lists; what is the same in two places is told in one', () => {
    const told = Array.from(configReference().matchAll(/^\| `([^`]+)` \|/gm), ([, path = '']) => path);
    const last = (path: string): string => path.replace(/(?:\[\]|\.NAME)+$/, '').replace(/^.*\./, '');
    const names = new Set(told.map(last));
    const missing = settingsIn(writtenSchema() as Node, '').filter((path) => !names.has(last(path)));
    expect(missing).toEqual([]);
    expect(told).toEqual(expect.arrayContaining(['webhooks[].secret', 'telemetry.otlp.headers']));
  });
});
