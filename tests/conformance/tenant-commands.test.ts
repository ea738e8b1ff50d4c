/** `fairlane tenant` and `fairlane key` as processes, beside a service that runs. */
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type AdminService,
  type CommandResult,
  runCommand,
  startAdminService,
} from '../support/admin-service.ts';
import { createAuthority } from '../support/certificates.ts';
import { eventually } from '../support/eventually.ts';
import { READ_TOKEN, TOKEN } from '../support/made-tenants.ts';
import { freePorts } from '../support/ports.ts';
import { configYaml, type Draft } from '../support/stack.ts';

const KEY = /^fl_[0-9A-Za-z]{40}\n$/;
const ID = /key_[0-9A-Za-z]{16}/;

let service: AdminService;
beforeAll(async () => {
  service = await startAdminService();
}, 120_000);
afterAll(() => service.close());

/** Words of a command line, none of which has a space. */
const run = (line: string, env?: NodeJS.ProcessEnv): Promise<CommandResult> =>
  service.command(line.split(' '), env);

async function good(line: string): Promise<string> {
  const { code, stdout, stderr } = await run(line);
  expect([line, code, stderr.replace(/^key .*shown this once.*:\n$/, '')]).toEqual([line, 0, '']);
  return stdout;
}

// oxlint-disable-next-line no-explicit-any -- JSON, as a script has it
const json = async (line: string): Promise<any> => JSON.parse(await good(`${line} --json`));

async function bad(line: string, env?: NodeJS.ProcessEnv): Promise<string> {
  const { code, stdout, stderr } = await run(line, env);
  expect([line, code, stdout]).toEqual([line, 1, '']);
  expect(stderr).not.toMatch(/\n {4}at /);
  return stderr;
}

const isNarrow = (text: string): boolean => text.split('\n').every((one) => one.length <= 80);

describe('each command', () => {
  it.each([
    ['tenant', ['create', 'set', 'list', 'show', 'disable', 'enable', 'audit']],
    ['key', ['create', 'rotate', 'revoke', 'list']],
  ])('of fairlane %s has a help', async (group, names) => {
    const help = await runCommand([group, '--help']);
    expect(help.code).toBe(0);
    const owns = await Promise.all(names.map((name) => runCommand([group, name, '--help'])));
    for (const [i, own] of owns.entries()) {
      const name = names[i] ?? '';
      expect(help.stdout).toMatch(new RegExp(`^ {2}${name} `, 'm'));
      expect([name, own.code]).toEqual([name, 0]);
      for (const text of ['--config', '--token-from', '--json', 'Exit codes: 0 if all is well; 1 if']) {
        expect(own.stdout).toContain(text);
      }
    }
    expect((await runCommand([group, 'remove'])).code).toBe(1);
  });
});

describe('a tenant', () => {
  it('is made, changed, shown, disabled and enabled', async () => {
    expect(await good('tenant create acme --tier gold --model demo --limit requestsPerMinute=600')).toBe(
      'tenant acme is made\n',
    );
    expect(await good('tenant set acme --limit tokensPerMinute=1000 --limit weight=2.5')).toBe(
      'tenant acme is changed\n',
    );
    expect((await json('tenant show acme')).settings).toEqual({
      tier: 'gold',
      models: ['demo'],
      limits: { requestsPerMinute: 600, tokensPerMinute: 1000, weight: 2.5 },
    });
    await good('tenant set acme --unset limits.weight,tier --model *');
    expect((await json('tenant show acme')).settings).toEqual({
      models: '*',
      limits: { requestsPerMinute: 600, tokensPerMinute: 1000 },
    });
    expect(await good('tenant disable acme')).toBe('tenant acme is disabled\n');
    expect(await json('tenant disable acme')).toMatchObject({ name: 'acme', disabled: true });
    expect(await good('tenant list')).toMatch(/^acme +made +disabled/m);
    expect(await good('tenant enable acme')).toBe('tenant acme is enabled\n');
    const list = await good('tenant list');
    expect(list).toMatch(/^quiet +file +served/m);
    expect(isNarrow(list)).toBe(true);
    const actions = (await json('tenant audit acme')).map((one: { action: string }) => one.action);
    expect(actions).toEqual(['tenant.enable', 'tenant.disable', 'tenant.set', 'tenant.set', 'tenant.create']);
    const audit = await good('tenant audit -n 2');
    expect(audit.trim().split('\n').length).toBeLessThanOrEqual(4);
    expect(isNarrow(audit)).toBe(true);
  });

  it.each([
    ['tenant show acmee', 'there is no tenant "acmee"; did you mean "acme"?'],
    ['tenant set quit --tier gold', 'did you mean "quiet"?'],
    ['tenant set quiet --tier gold', 'is in the configuration’s files'],
    ['key create acmee', 'did you mean "acme"?'],
    ['key revoke acmee key_x', 'did you mean "acme"?'],
    ['key rotate acme key_x', 'has no key key_x'],
    ['tenant create b --limit requestPerMinute=1', 'did you mean "requestsPerMinute"?'],
    ['tenant create b --limit requestsPerMinute', 'must be NAME=VALUE, for example requestsPerMinute=600'],
    ['tenant create b --limit __proto__=1', '__proto__'],
    ['tenant set acme', 'nothing to change'],
    ['tenant set acme --unset nothing', 'nothing'],
    ['tenant set acme --unset limits.nothing', 'nothing'],
    ['tenant audit -n 0', 'a whole number from 1 to 1000'],
    ['tenant create', "missing required argument 'tenant'"],
    ['key create acme --expires soon', 'must be a date as 2027-01-31'],
    ['key create acme --route chat', 'must be one of'],
    ['key create acme --model nothing', 'nothing'],
  ])('fairlane %s: says what is wrong', async (line, message) => {
    expect(await bad(line)).toContain(message);
  });
});

describe('a key', () => {
  it('is printed alone, rotated, listed and revoked', async () => {
    await good('tenant create keyed');
    const made = await run('key create keyed --name ci --expires 2099-01-31 --model demo --route embeddings');
    expect([made.code, made.stdout]).toEqual([0, expect.stringMatching(KEY)]);
    const id = ID.exec(made.stderr)?.[0] ?? '';
    expect(made.stderr).toBe(`key ${id} is made; it is shown this once:\n`);

    const rotated = await run(`key rotate keyed ${id} --grace 30m`);
    expect([rotated.code, rotated.stdout]).toEqual([0, expect.stringMatching(KEY)]);
    expect(rotated.stderr).toContain(`${id} goes on for 30m`);
    expect(rotated.stdout).not.toBe(made.stdout);
    const table = await good('key list keyed');
    expect(table).toContain('1 models, 1 routes');
    expect(isNarrow(table)).toBe(true);
    const { id: third, key } = await json('key create keyed');
    expect([third, key]).toEqual([expect.stringMatching(ID), expect.stringMatching(/^fl_/)]);
    expect(await good(`key revoke keyed ${third}`)).toBe(`key ${third} is revoked\n`);
    const states = (await json('key list keyed')).map((one: { state: string }) => one.state);
    expect(states).toEqual(['active', 'active', 'revoked']);
    for (const secret of [made.stdout.trim(), rotated.stdout.trim(), key, TOKEN, READ_TOKEN]) {
      expect(service.said()).not.toContain(secret);
      expect(JSON.stringify([await json('tenant audit'), await json('key list keyed')])).not.toContain(
        secret,
      );
    }
    expect(service.said()).toContain('tenant-changed');
  });

  it('without grace the old one ends at once, and that is said', async () => {
    const { id } = await json('key create keyed');
    expect((await run(`key rotate keyed ${id} --grace 0s`)).stderr).toContain(`${id} goes on for 0s`);
    expect(await bad(`key rotate keyed ${id}`)).toContain('opens nothing any more');
    expect(await bad(`key rotate keyed ${id} --grace long`)).toContain('graceFor: must be a duration');
  });
});

describe('a command finds out why there is no answer', () => {
  const elsewhere = async (change: (config: Draft) => void): Promise<string> => {
    const path = join(service.directory, 'elsewhere.yaml');
    const ports = { api: 1, admin: 2, metrics: 3 };
    writeFileSync(path, configYaml(['http://127.0.0.1:9'], ports, join(service.directory, 'e'), change));
    const { code, stderr } = await runCommand(['tenant', 'list', '--config', path]);
    expect(code).toBe(1);
    return stderr;
  };
  const admin = (address: string) => (config: Draft) => {
    config['admin'] = { address, token: 'env:FAIRLANE_TEST_ADMIN' };
  };

  it('admin is off: how it is turned on', async () => {
    const said = await elsewhere(() => undefined);
    expect(said).toContain('add "admin: { token: env:FAIRLANE_ADMIN_TOKEN }"');
  });

  it('no service, or another one', async () => {
    const [port = 0] = await freePorts(1);
    expect(await elsewhere(admin(`127.0.0.1:${port}`))).toContain(`no service answers on 127.0.0.1:${port}`);
    const other = createServer((_, response) => response.end('<html>'));
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    const there = (other.address() as AddressInfo).port;
    expect(await elsewhere(admin(`127.0.0.1:${there}`))).toContain('is no admin API of Fairlane');
    other.close();
  });

  it('the token is wrong, may only read, or is nowhere', async () => {
    const env = { OTHER: 'a-token-of-somebody-else-0123456789ab', READER: READ_TOKEN };
    expect(await bad('tenant list --token-from env:OTHER', env)).toContain('the token is missing or wrong');
    expect((await run('tenant list --token-from env:READER', env)).code).toBe(0);
    expect(await bad('tenant create c --token-from env:READER', env)).toContain('this token may only read');
    expect(await bad('tenant list --token-from env:NOWHERE')).toContain('NOWHERE is not set');
    const plain = await bad(`tenant list --token-from ${TOKEN}`);
    expect(plain).toContain('--token-from: must be env:NAME or file:PATH');
    expect(plain).not.toContain(TOKEN);
    expect(await bad('tenant list', { FAIRLANE_TEST_ADMIN: '' })).toContain('admin.token');
  });

  it('there is no configuration', async () => {
    const { code, stderr } = await runCommand(['key', 'list', 'acme', '--config', '/nowhere/fairlane.yaml']);
    expect([code, stderr]).toEqual([1, expect.stringContaining('/nowhere/fairlane.yaml')]);
  });
});

it('hostile names are refused in one line', async () => {
  for (const name of ['a\nb', '🛣️', 'x'.repeat(100_000), '../../v1/audit?tenant=x']) {
    const { code, stdout, stderr } = await service.command(['tenant', 'create', name]);
    expect([name.slice(0, 20), code, stdout]).toEqual([name.slice(0, 20), 1, '']);
    expect(stderr.length).toBeLessThan(1_000);
    const shown = await service.command(['tenant', 'show', name]);
    expect([name.slice(0, 20), shown.code, shown.stdout]).toEqual([name.slice(0, 20), 1, '']);
    expect(shown.stderr.trim().split('\n')).toHaveLength(1);
    expect(shown.stderr.length).toBeLessThan(1_000);
  }
});

it('a thousand keys are made, listed, and in the file for Envoy', async () => {
  const tenants = Array.from({ length: 16 }, (_, i) => `many-${i}`);
  await Promise.all(tenants.map((name) => service.ask('POST', '/v1/tenants', { name })));
  await Promise.all(
    tenants.map(async (name) => {
      for (let i = 0; i < 63; i += 1) {
        expect((await service.ask('POST', `/v1/tenants/${name}/keys`)).status).toBe(201);
      }
    }),
  );
  expect(await json('key list many-7')).toHaveLength(63);
  const file = readFileSync(join(service.directory, 'envoy', 'hashed-keys.json'), 'utf8');
  expect(file.match(/[0-9a-f]{64}/g)?.length).toBeGreaterThanOrEqual(1_008);
  expect(file).not.toMatch(/fl_[0-9A-Za-z]{40}/);
}, 120_000);

it('with TLS a command talks to who shows the very certificate of the configuration', async () => {
  const { cert, key } = createAuthority().issue(['fairlane.test']);
  const files = { 'cert.pem': cert, 'key.pem': key };
  const secure = await startAdminService((config) => {
    config['admin'].tls = { cert: 'cert.pem', key: 'key.pem' };
  }, files);
  try {
    expect((await secure.command(['tenant', 'list'])).code).toBe(0);
    const other = createAuthority().issue(['fairlane.test']);
    writeFileSync(join(secure.directory, 'cert.pem'), other.cert);
    writeFileSync(join(secure.directory, 'key.pem'), other.key);
    // It shows the new one as soon as it has read it; before that nothing is said to it.
    const shown = await eventually(
      () => secure.command(['tenant', 'list']),
      ({ code, stderr }) => code === 0 || !stderr.includes('does not show the certificate'),
      20_000,
    );
    expect(shown.code).toBe(0);
  } finally {
    await secure.close();
  }
}, 120_000);
