/** `fairlane tenant`: tenants of the running service, by its admin API. */
import { Command } from 'commander';
import type { KeyShown, TenantShown } from '../admin/tenant-views.ts';
import { type AdminOptions, adminClient, adminOptions } from './admin-client.ts';
import { auditText, type EntryShown, tenantsText, tenantText } from './admin-text.ts';
import { textArgument, wholeNumber } from './arguments.ts';
import { print, printError } from './terminal.ts';
import { UserError } from './user-error.ts';

interface Options extends AdminOptions {
  readonly json?: true;
}

interface SettingOptions extends Options {
  readonly tier?: string;
  readonly model?: readonly string[];
  readonly trustGroup?: string;
  readonly limit?: Readonly<Record<string, string | number>>;
  readonly unset?: readonly string[];
  readonly raise?: Readonly<Record<string, string | number>>;
  readonly until?: string;
}

export const pathOf = (tenant: string): string => `/v1/tenants/${encodeURIComponent(tenant)}`;

/** `a,b`, also several times. */
export const listArgument = (text: string, before: readonly string[] = []): readonly string[] => {
  const names = text.split(',').map((name) => name.trim());
  for (const name of names) textArgument(name);
  return [...before, ...names];
};

type Named = Readonly<Record<string, string | number>>;

export const limitArgument = (text: string, before?: Named): Named => namedValue('--limit', text, before);
const raiseArgument = (text: string, before?: Named): Named => namedValue('--raise', text, before);

function namedValue(option: string, text: string, before: Named = {}): Named {
  const at = text.indexOf('=');
  if (at <= 0 || at === text.length - 1)
    throw new UserError(`${option} ${text}: must be NAME=VALUE, for example requestsPerMinute=600`);
  const value = text.slice(at + 1);
  return { ...before, [text.slice(0, at)]: /^\d+(\.\d+)?$/.test(value) ? Number(value) : value };
}

/** @param raises that go on. */
function settingsOf(options: SettingOptions, raises: readonly unknown[] = []): Record<string, unknown> {
  const { tier, model, trustGroup, limit, unset = [] } = options;
  const settings: Record<string, unknown> = {
    ...(tier !== undefined && { tier }),
    ...(model !== undefined && { models: model.length === 1 && model[0] === '*' ? '*' : model }),
    ...(trustGroup !== undefined && { trustGroup }),
  };
  const raise = raiseOf(options);
  const limits: Record<string, unknown> = {
    ...limit,
    ...(raise !== undefined && { raises: [...raises, raise] }),
  };
  for (const name of unset) {
    if (name.startsWith('limits.')) limits[name.slice('limits.'.length)] = null;
    else settings[name] = null;
  }
  return { ...settings, ...(Object.keys(limits).length > 0 && { limits }) };
}

function raiseOf({ raise, until }: SettingOptions): Readonly<Record<string, unknown>> | undefined {
  if ((raise === undefined) !== (until === undefined))
    throw new UserError('--raise and --until go together: what is raised, and when that is over');
  return raise && { until, ...raise };
}

/** Raises of a tenant that was made, but for those that are over. */
async function raisesOf(name: string, options: SettingOptions): Promise<readonly unknown[]> {
  const { settings } = (await adminClient(options).ask('GET', pathOf(name))) as TenantShown;
  const { raises } = (settings?.['limits'] ?? {}) as { readonly raises?: unknown };
  const isOver = (one: unknown): boolean =>
    Date.parse(String((one as { readonly until?: unknown }).until)) <= Date.now();
  return Array.isArray(raises) ? raises.filter((one: unknown) => !isOver(one)) : [];
}

/** What the commands of an API have. */
export function adminCommand(name: string, description: string): Command {
  const command = new Command(name).description(description);
  for (const option of adminOptions()) command.addOption(option);
  return command.option('--json', 'print the answer as JSON');
}

function settingCommand(name: string, description: string): Command {
  return adminCommand(name, description)
    .argument('<tenant>', 'its name', textArgument)
    .option('--tier <tier>', 'tier whose limits apply', textArgument)
    .option(
      '--model <models>',
      'models that it may use, as a,b; "*" for all; may be given several times',
      listArgument,
    )
    .option('--trust-group <group>', 'tenants of one group may share the engines’ prefix cache', textArgument)
    .option(
      '--limit <name=value>',
      'a limit, as requestsPerMinute=600; may be given several times',
      limitArgument,
    )
    .option(
      '--raise <name=value>',
      'a limit that is higher until --until, as tokensPerMonth=200000 or "budgetPerMonth=800 EUR"; may be given several times',
      raiseArgument,
    )
    .option('--until <when>', 'when --raise is over: a date as 2026-12-01 (UTC) or a time with its zone');
}

const json = (value: unknown): void => print(JSON.stringify(value, undefined, 2));

function show(tenant: TenantShown, options: Options, done: string): void {
  if (options.json === true) json(tenant);
  else print(`tenant ${tenant.name} ${done}`);
  for (const difference of tenant.differs ?? []) {
    printError(`fairlane: warning: the file wins: ${difference}`);
  }
}

async function change(name: string, body: unknown, options: Options, done: string): Promise<void> {
  show((await adminClient(options).ask('PATCH', pathOf(name), body)) as TenantShown, options, done);
}

function createCommand(): Command {
  return settingCommand('create', 'Make a tenant. It has no key yet: fairlane key create makes one.').action(
    async (name: string, options: SettingOptions) => {
      const body = { name, ...settingsOf(options) };
      show((await adminClient(options).ask('POST', '/v1/tenants', body)) as TenantShown, options, 'is made');
    },
  );
}

function setCommand(): Command {
  return settingCommand('set', 'Change settings of a tenant that was made by a command or the API.')
    .option(
      '--unset <settings>',
      'settings to set back to their defaults, as tier,limits.requestsPerMinute; may be given several times',
      listArgument,
    )
    .action(async (name: string, options: SettingOptions) => {
      const raises = raiseOf(options) === undefined ? [] : await raisesOf(name, options);
      const body = settingsOf(options, raises);
      if (Object.keys(body).length === 0)
        throw new UserError(
          'nothing to change: give --tier, --model, --trust-group, --limit, --raise or --unset',
        );
      await change(name, body, options, 'is changed');
    });
}

function listCommand(): Command {
  return adminCommand('list', 'List all tenants, of the configuration’s files and made ones.').action(
    async (options: Options) => {
      const client = adminClient(options);
      const tenants: TenantShown[] = [];
      for (let after: string | undefined = ''; after !== undefined; ) {
        const page = (await client.ask(
          'GET',
          `/v1/tenants?limit=1000&after=${encodeURIComponent(after)}`,
        )) as {
          readonly tenants: readonly TenantShown[];
          readonly next?: string;
        };
        tenants.push(...page.tenants);
        after = page.next;
      }
      if (options.json === true) json(tenants);
      else print(tenantsText(tenants));
    },
  );
}

function showCommand(): Command {
  return adminCommand('show', 'Show a tenant, what is in force for it, and its keys.')
    .argument('<tenant>', 'its name', textArgument)
    .action(async (name: string, options: Options) => {
      const client = adminClient(options);
      const tenant = (await client.ask('GET', pathOf(name))) as TenantShown;
      const { keys } = (await client.ask('GET', `${pathOf(name)}/keys`)) as {
        readonly keys: readonly KeyShown[];
      };
      if (options.json === true) json({ ...tenant, keys });
      else print(tenantText(tenant, keys));
    });
}

function switchCommand(name: 'disable' | 'enable', description: string): Command {
  const disabled = name === 'disable';
  return adminCommand(name, description)
    .argument('<tenant>', 'its name', textArgument)
    .action((tenant: string, options: Options) => change(tenant, { disabled }, options, `is ${name}d`));
}

function auditCommand(): Command {
  return adminCommand(
    'audit',
    'List changes of tenants and keys, the last ones first; --json has what was before and after.',
  )
    .argument('[tenant]', 'only its changes', textArgument)
    .option('-n, --limit <count>', 'at most so many', wholeNumber('a count', 1, 1_000), 50)
    .action(async (tenant: string | undefined, options: Options & { readonly limit: number }) => {
      const query = new URLSearchParams({
        limit: String(options.limit),
        ...(tenant !== undefined && { tenant }),
      });
      const { entries } = (await adminClient(options).ask('GET', `/v1/audit?${query.toString()}`)) as {
        readonly entries: readonly EntryShown[];
      };
      if (options.json === true) json(entries);
      else print(auditText(entries));
    });
}

export function tenantCommand(): Command {
  return new Command('tenant')
    .description(
      'Make, change and show tenants of the running service, without editing files. Needs admin in its configuration.',
    )
    .addCommand(createCommand())
    .addCommand(setCommand())
    .addCommand(listCommand())
    .addCommand(showCommand())
    .addCommand(switchCommand('disable', 'Disable a tenant: its keys open nothing, and it stays to be seen.'))
    .addCommand(switchCommand('enable', 'Enable a tenant that was disabled.'))
    .addCommand(auditCommand());
}
