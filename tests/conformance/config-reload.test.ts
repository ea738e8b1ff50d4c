import {
  appendFileSync,
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Config } from '../../src/config/config.ts';
import { type ConfigWatch, loadConfig, watchConfig } from '../../src/config/fs-config.ts';
import { plainTexts } from '../support/plain-key.ts';

const yaml = (concurrencyLimit: number, key = 'literal-key'): string => `pools:
  main: { endpoints: ["http://127.0.0.1:8000"], concurrencyLimit: ${concurrencyLimit} }
tenants:
  alice: { keys: [${key}] }
`;
/** Longer than the time that files must be quiet, shorter than a regular look. */
const QUIET_MS = 400;
/** Longer than a regular look. */
const LOOKED_MS = 1_600;

let folder = '';
let path = '';
let watch: ConfigWatch | undefined;
let changes: Config[] = [];
let bad: (readonly string[])[] = [];
let warned: (readonly string[])[] = [];

function start(version?: string): void {
  watch = watchConfig({
    path,
    env: {},
    ...(version === undefined ? {} : { version }),
    onChange: (config, warnings) => {
      changes.push(config);
      warned.push(warnings);
    },
    onBad: (problems) => bad.push(problems),
  });
}

const windows = () => changes.map((config) => config.pools.get('main')?.concurrencyLimit);
const keys = () => changes.map((config) => plainTexts(config.tenants.get('alice')?.keys)[0]);
const eventually = (claim: () => void) => vi.waitFor(claim, { timeout: 5_000, interval: 20 });

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'fairlane-config-'));
  path = join(folder, 'config.yaml');
  writeFileSync(path, yaml(1));
  changes = [];
  bad = [];
  warned = [];
});
afterEach(() => {
  watch?.close();
  rmSync(folder, { recursive: true, force: true });
});

describe('a watched configuration', () => {
  it('is taken over when it is written in place', async () => {
    start();
    writeFileSync(path, yaml(2));
    await eventually(() => expect(windows()).toEqual([2]));
    writeFileSync(path, yaml(3));
    await eventually(() => expect(windows()).toEqual([2, 3]));
    expect(bad).toEqual([]);
  });

  it('is taken over when an editor replaces it by renaming, again and again', async () => {
    start();
    for (const next of [2, 3, 4]) {
      writeFileSync(`${path}.new`, yaml(next));
      renameSync(`${path}.new`, path);
      await eventually(() => expect(windows().at(-1)).toBe(next));
    }
    expect(bad).toEqual([]);
  });

  it('is taken over when a symlinked folder is swapped, as Kubernetes does', async () => {
    for (const [name, window] of [
      ['v1', 1],
      ['v2', 2],
    ] as const) {
      mkdirSync(join(folder, name));
      writeFileSync(join(folder, name, 'config.yaml'), yaml(window, 'file:key'));
      writeFileSync(join(folder, name, 'key'), `key-of-${name}`);
    }
    unlinkSync(path);
    symlinkSync('v1', join(folder, '..data'));
    symlinkSync('..data/config.yaml', path);
    symlinkSync('..data/key', join(folder, 'key'));
    start();
    symlinkSync('v2', join(folder, '..data_tmp'));
    renameSync(join(folder, '..data_tmp'), join(folder, '..data'));
    await eventually(() => expect(windows()).toEqual([2]));
    expect(keys()).toEqual(['key-of-v2']);
  });

  it('is taken over when the target of its symlink changes in another folder', async () => {
    mkdirSync(join(folder, 'elsewhere'));
    const target = join(folder, 'elsewhere', 'real.yaml');
    renameSync(path, target);
    symlinkSync(target, path);
    start();
    writeFileSync(target, yaml(2));
    await eventually(() => expect(windows()).toEqual([2]));
  });

  it('is taken over when a key file that it names changes', async () => {
    mkdirSync(join(folder, 'secrets'));
    writeFileSync(join(folder, 'secrets', 'alice'), 'the-first-key');
    writeFileSync(path, yaml(1, 'file:secrets/alice'));
    start();
    writeFileSync(join(folder, 'secrets', 'alice'), 'another-key-1');
    await eventually(() => expect(keys()).toEqual(['another-key-1']));
    writeFileSync(join(folder, 'secrets', 'alice'), '');
    await eventually(() => expect(bad).toHaveLength(1));
    writeFileSync(join(folder, 'secrets', 'alice'), 'another-key-2');
    await eventually(() => expect(keys()).toEqual(['another-key-1', 'another-key-2']));
  });

  it('keeps what a file held that is gone, says so once, and takes over the rest', async () => {
    writeFileSync(join(folder, 'alice'), 'the-first-key');
    writeFileSync(path, yaml(1, 'file:alice'));
    start();
    unlinkSync(join(folder, 'alice'));
    await eventually(() => expect(keys()).toEqual(['the-first-key']));
    const kept = `cannot read ${join(folder, 'alice')} (no such file): what it held before stays in use`;
    expect(warned).toEqual([[kept]]);
    writeFileSync(path, yaml(2, 'file:alice'));
    await eventually(() => expect(windows()).toEqual([1, 2]));
    expect(keys()).toEqual(['the-first-key', 'the-first-key']);
    expect(warned[1]).toEqual([]);
    writeFileSync(join(folder, 'alice'), 'the-second-key');
    await eventually(() => expect(keys().at(-1)).toBe('the-second-key'));
    expect(bad).toEqual([]);
    // One that was never read has nothing to stay.
    writeFileSync(path, yaml(3, 'file:nobody'));
    await eventually(() => expect(bad).toHaveLength(1));
    expect(bad[0]?.join()).toContain('no such file');
  });

  it('follows an optional file that comes, changes and goes, and an empty one is none', async () => {
    const more = join(folder, 'more');
    writeFileSync(path, yaml(1, 'literal-key, "file:more?"'));
    start();
    const all = () => changes.map((config) => plainTexts(config.tenants.get('alice')?.keys));
    const now = () => all().at(-1);
    writeFileSync(more, 'key-that-came');
    await eventually(() => expect(now()).toEqual(['literal-key', 'key-that-came']));
    writeFileSync(`${more}.new`, 'key-that-changed');
    renameSync(`${more}.new`, more);
    await eventually(() => expect(now()).toEqual(['literal-key', 'key-that-changed']));
    unlinkSync(more);
    await eventually(() => expect(now()).toEqual(['literal-key']));
    writeFileSync(more, 'key-that-is-back');
    await eventually(() => expect(now()).toEqual(['literal-key', 'key-that-is-back']));
    writeFileSync(more, '');
    await eventually(() => expect(now()).toEqual(['literal-key']));
    expect(bad).toEqual([]);
    expect(warned.flat().filter((text) => text.includes('stays in use'))).toEqual([]);
  });

  it('follows an optional file of a Redis and of a webhook likewise', async () => {
    const secret = 'whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=';
    const more = ['redis: { url: "file:redis?" }', `webhooks: [{ url: "file:hook?", secret: ${secret} }]`];
    writeFileSync(path, `${yaml(1)}${more.join('\n')}\n`);
    start();
    const shape = () => changes.map((config) => [config.redis !== undefined, config.webhooks?.length ?? 0]);
    const files = { redis: 'redis://127.0.0.1:6379', hook: 'https://hooks.example/x' };
    for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
    await eventually(() => expect([...shape(), ...bad].at(-1)).toEqual([true, 1]));
    for (const name of Object.keys(files)) unlinkSync(join(folder, name));
    await eventually(() => expect(shape().at(-1)).toEqual([false, 0]));
    expect(bad).toEqual([]);
  });

  it('keeps the value in the place of a variable that is not set, names it, and takes over the rest', async () => {
    start();
    writeFileSync(path, yaml(2, 'env:NEW_KEY'));
    await eventually(() => expect(windows()).toEqual([2]));
    expect(keys()).toEqual(['literal-key']);
    expect(warned[0]?.join()).toMatch(
      /config\.yaml:4:19: tenants\.alice\.keys\[0\]: environment variable NEW_KEY is not set in this process, .* the value before stays/,
    );
    // It stays as long as it is written so.
    writeFileSync(path, yaml(3, 'env:NEW_KEY'));
    await eventually(() => expect(windows()).toEqual([2, 3]));
    expect(keys()).toEqual(['literal-key', 'literal-key']);
    expect(bad).toEqual([]);
    writeFileSync(path, `${yaml(4, 'env:NEW_KEY')}  bob: { keys: [env:BOBS_KEY] }\n`);
    await eventually(() => expect(bad).toHaveLength(1));
    expect(bad[0]?.join()).toContain('tenants.bob.keys[0]: environment variable BOBS_KEY is not set');
  });

  it('stays when the new one is bad; the same problems are told once; a good one ends it', async () => {
    start();
    writeFileSync(path, 'pools: {}\n');
    await eventually(() => expect(bad).toHaveLength(1));
    expect(bad[0]?.join()).toContain('config.yaml:1:8: pools: must be a mapping of 1 to 64 pools');
    writeFileSync(path, 'pools: {}\n# still\n');
    await sleep(QUIET_MS);
    expect(bad).toHaveLength(1);
    writeFileSync(path, yaml(2));
    await eventually(() => expect(windows()).toEqual([2]));
    writeFileSync(path, 'pools: {}\n');
    await eventually(() => expect(bad).toHaveLength(2));
  });

  it('stays when its file is away, and is told when the same one is back', async () => {
    start();
    unlinkSync(path);
    await eventually(() => expect(bad).toHaveLength(1));
    expect(bad[0]?.join()).toContain('no such file');
    writeFileSync(path, yaml(1));
    await eventually(() => expect(windows()).toEqual([1]));
  });

  it('is not read half-written', async () => {
    start();
    const text = yaml(2);
    writeFileSync(path, '');
    for (let i = 0; i < text.length; i += 20) {
      appendFileSync(path, text.slice(i, i + 20));
      await sleep(20);
    }
    await eventually(() => expect(windows()).toEqual([2]));
    expect(bad).toEqual([]);
  });

  it('is left alone when only its time changes, or a neighbour', async () => {
    start();
    writeFileSync(path, yaml(1));
    writeFileSync(join(folder, 'neighbour'), 'x');
    await sleep(LOOKED_MS);
    expect([changes, bad]).toEqual([[], []]);
  });

  it('survives that its folder is removed and made again', async () => {
    start();
    rmSync(folder, { recursive: true });
    await eventually(() => expect(bad).toHaveLength(1));
    mkdirSync(folder);
    writeFileSync(path, yaml(2));
    await eventually(() => expect(windows()).toEqual([2]));
    writeFileSync(path, yaml(3));
    await eventually(() => expect(windows()).toEqual([2, 3]));
  });

  it('tells a warning once, however often it is read again, and again when somebody asks or it is another', async () => {
    const old = (key: string, more = '') =>
      yaml(1, key).replace('concurrencyLimit', 'windowPerEndpoint') + more;
    writeFileSync(path, old('a-first-key'));
    start();
    for (const n of [2, 3, 4]) {
      writeFileSync(path, old(`key-number-${n}`));
      await eventually(() => expect(keys().at(-1)).toBe(`key-number-${n}`));
    }
    expect(warned).toEqual([[], [], []]);
    watch?.reload();
    expect(warned.at(-1)).toEqual([
      expect.stringContaining('windowPerEndpoint: is now called concurrencyLimit'),
    ]);
    writeFileSync(path, old('key-number-4', 'rateLimit: { shadow: on }\n'));
    await eventually(() => expect(warned).toHaveLength(5));
    expect(warned.at(-1)).toEqual([expect.stringContaining('rateLimit.shadow: is now called shadowMode')]);
  });

  it('misses no change between loading and watching', async () => {
    const loaded = loadConfig(path, {});
    writeFileSync(path, yaml(2));
    start(loaded.kind === 'ok' ? loaded.version : '');
    await eventually(() => expect(windows()).toEqual([2]));
  });

  it('is read at once on reload, changed or not', () => {
    start();
    watch?.reload();
    expect(windows()).toEqual([1]);
    writeFileSync(path, 'pools: {}\n');
    watch?.reload();
    watch?.reload();
    expect(bad).toHaveLength(2);
  });

  it('is watched no more once closed', async () => {
    start();
    watch?.close();
    writeFileSync(path, yaml(2));
    await sleep(LOOKED_MS);
    expect([changes, bad]).toEqual([[], []]);
  });
});

describe('a configuration that cannot be read', () => {
  it.each([
    ['is missing', () => unlinkSync(path), 'no such file'],
    [
      'is a folder',
      () => {
        unlinkSync(path);
        mkdirSync(path);
      },
      'it is a directory',
    ],
    ['is huge', () => writeFileSync(path, `# ${'x'.repeat(5 * 1024 ** 2)}`), 'it is too large'],
  ])('because it %s is a problem that says so', (_, prepare, expected) => {
    prepare();
    const loaded = loadConfig(path, {});
    expect(loaded.kind === 'bad' && loaded.problems).toEqual([
      `${path}: cannot read the configuration (${expected}); give the path of a readable YAML file`,
    ]);
  });

  it('because a key is a device is one too, and does not block', () => {
    writeFileSync(path, yaml(1, 'file:/dev/zero'));
    const loaded = loadConfig(path, {});
    expect(loaded.kind === 'bad' && loaded.problems[0]).toContain('/dev/zero (not a regular file)');
  });
});

describe('a secret in a file', () => {
  it('that every user of the machine may read is told of; one for its owner or group is not, nor a certificate', () => {
    const key = join(folder, 'alice.key');
    writeFileSync(path, yaml(1, `file:${key}`));
    writeFileSync(key, 'the-key-of-alice');
    const warningsOf = (mode: number): readonly string[] => {
      chmodSync(key, mode);
      const loaded = loadConfig(path, {});
      if (loaded.kind === 'bad') throw new Error(loaded.problems.join());
      return loaded.warnings.filter((warning) => warning.includes(key));
    };
    expect(warningsOf(0o644)).toEqual([
      expect.stringMatching(/every user of this machine may read: chmod o-r/),
    ]);
    expect(warningsOf(0o440)).toEqual([]);
    expect(warningsOf(0o600)).toEqual([]);
    const ca = join(folder, 'ca.pem');
    writeFileSync(ca, readFileSync(join('tests', 'fixtures', 'tls', 'ca.pem')), { mode: 0o644 });
    appendFileSync(path, `redis: { url: "rediss://localhost:6390", caFile: "${ca}" }\n`);
    expect(warningsOf(0o644)).toHaveLength(1);
    const loaded = loadConfig(path, {});
    expect(loaded).toMatchObject({ kind: 'ok' });
    expect(JSON.stringify(loaded.kind === 'ok' && loaded.warnings)).not.toContain(ca);
  });
});
