/** Tenants in files of their own, through a real Envoy: they come, change and go while it runs. */
import { mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type ConfigWatch, watchConfig } from '../../src/config/fs-config.ts';
import { type Answer, chatBody, send } from '../support/client.ts';
import { eventually } from '../support/eventually.ts';
import { answerChat, type ReadyStack, startReadyStack } from '../support/ready-engine.ts';
import { KEYS, type Stack } from '../support/stack.ts';

let ready: ReadyStack;
let stack: Stack;
let folder: string;
let watch: ConfigWatch;

beforeAll(async () => {
  ready = await startReadyStack(
    (request, response) => {
      request.resume();
      answerChat(response);
    },
    (config) => {
      folder = join(config['envoy'].directory, 'tenants.d');
      mkdirSync(folder);
      config['tenantDirectory'] = 'tenants.d';
      config['tiers'] = { small: { requestsPerMinute: 60 } };
    },
  );
  stack = ready.stack;
  watch = watchConfig({
    path: stack.configPath,
    env: { ...process.env, CAROL_KEY: 'key-of-carol' },
    onChange: (config, warnings) => void stack.service().reload(config, warnings),
    onBad: (problems) => stack.service().refuseReload(problems),
  });
});
afterAll(async () => {
  watch.close();
  await ready.close();
});

const put = (name: string, text: string): void => writeFileSync(join(folder, name), text);
const ask = (key: string): Promise<Answer> => send(stack.url, { key, body: chatBody() });
const becomes = (key: string, status: number): Promise<Answer> =>
  eventually(
    () => ask(key),
    (answer) => answer.status === status,
  );
const refused = async (): Promise<
  Readonly<Record<string, { readonly problem: string; readonly kept: boolean }>>
> => {
  const health = await (await fetch(`${stack.metricsUrl}/health`)).json();
  return (health as { readonly refusedTenantFiles?: never }).refusedTenantFiles ?? {};
};
const namesRefused = async (): Promise<readonly string[]> =>
  Object.keys(await refused()).map((path) => path.slice(folder.length + 1));

it('come, change and go, and the configuration stays as it is', async () => {
  const before = readFileSync(stack.configPath, 'utf8');
  expect((await ask('key-of-alice')).status).toBe(401);
  put('alice.yaml', 'keys: [key-of-alice]\n');
  expect((await becomes('key-of-alice', 200)).headers['x-ratelimit-limit-requests']).toBeUndefined();
  await stack.record(({ tenant }) => tenant === 'alice');

  put('alice.yaml', 'keys: [key-of-alice]\ntier: small\n');
  await eventually(
    () => ask('key-of-alice'),
    ({ headers }) => headers['x-ratelimit-limit-requests'] === '60',
  );

  put('alice.yaml', 'keys: [key-of-alice-anew]\n');
  await becomes('key-of-alice-anew', 200);
  expect((await ask('key-of-alice')).status).toBe(401);

  unlinkSync(join(folder, 'alice.yaml'));
  await becomes('key-of-alice-anew', 401);
  expect(readFileSync(stack.configPath, 'utf8')).toBe(before);
  expect(await namesRefused()).toEqual([]);
});

it('are refused alone, and named; what was right before goes on', async () => {
  put('bob.yaml', 'keys: [key-of-bob]\n');
  put('carol.yaml', 'name: carol.c\nkeys: [env:CAROL_KEY]\n');
  await becomes('key-of-bob', 200);
  await becomes('key-of-carol', 200);

  put('bob.yaml', 'keys: [key-of-bob\n');
  put('dave.yaml', 'keys: [env:DAVE_KEY]\n');
  put('again.yaml', `keys: [${KEYS.quiet}]\n`);
  put('quiet.yaml', 'keys: [another-key]\n');
  await eventually(namesRefused, (names) => names.length === 4);
  const told = await refused();
  const problemOf = (name: string) => told[join(folder, name)];
  expect(problemOf('bob.yaml')).toMatchObject({ kept: true });
  expect(problemOf('dave.yaml')?.problem).toMatch(/keys\[0\]: environment variable DAVE_KEY is not set/);
  expect(problemOf('again.yaml')?.problem).toMatch(/tenant "quiet" has the same key already/);
  expect(problemOf('quiet.yaml')?.problem).toMatch(/tenant "quiet" is in the configuration already/);
  expect(stack.logText()).toContain('tenant-file-refused');

  for (const key of ['key-of-bob', 'key-of-carol', KEYS.quiet]) expect((await ask(key)).status).toBe(200);
  expect((await ask('another-key')).status).toBe(401);
  for (const text of [stack.logText(), JSON.stringify(told)]) {
    for (const secret of ['key-of-bob', 'key-of-carol', 'another-key', KEYS.quiet]) {
      expect(text).not.toContain(secret);
    }
  }

  put('bob.yaml', 'keys: [key-of-bob]\n');
  for (const name of ['dave', 'again', 'quiet']) unlinkSync(join(folder, `${name}.yaml`));
  await eventually(namesRefused, (names) => names.length === 0);
  expect(stack.logText()).toContain('tenant-file-mended');
});

it('are not what editors leave behind, and a link that leads nowhere is nobody', async () => {
  for (const name of [
    '.bob.yaml.swp',
    'bob.yaml~',
    '#bob.yaml#',
    'notes.txt',
    '.hidden.yaml',
    'bob.yaml.bak',
  ]) {
    put(name, 'keys: [key-of-nobody]\n');
  }
  symlinkSync('/nowhere/at/all', join(folder, 'lost.yaml'));
  mkdirSync(join(folder, 'folder.yaml'));
  await eventually(namesRefused, (names) => names.length === 2);
  expect(await namesRefused()).toEqual(['folder.yaml', 'lost.yaml']);
  expect((await ask('key-of-nobody')).status).toBe(401);
  // As an editor saves: a new file in the place of the old one.
  put('.bob.yaml.new', 'keys: [key-of-bob-anew]\n');
  renameSync(join(folder, '.bob.yaml.new'), join(folder, 'bob.yaml'));
  await becomes('key-of-bob-anew', 200);
});

it('a folder that is gone is told, and its tenants stay', async () => {
  renameSync(folder, join(dirname(folder), 'elsewhere'));
  await eventually(
    () => stack.logText(),
    (log) => log.includes('cannot read') && log.includes('tenants.d'),
  );
  expect((await ask('key-of-bob-anew')).status).toBe(200);
  renameSync(join(dirname(folder), 'elsewhere'), folder);
  rmSync(join(folder, 'bob.yaml'));
  await becomes('key-of-bob-anew', 401);
});
