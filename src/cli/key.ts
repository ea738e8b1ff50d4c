/** `fairlane key`: keys of tenants of the running service, by its admin API. */
import { Command } from 'commander';
import type { KeyShown } from '../admin/tenant-views.ts';
import { type AdminOptions, adminClient } from './admin-client.ts';
import { keysText } from './admin-text.ts';
import { textArgument } from './arguments.ts';
import { adminCommand, limitArgument, listArgument, pathOf } from './tenant.ts';
import { print, printError } from './terminal.ts';

interface Options extends AdminOptions {
  readonly json?: true;
}

interface KeyOptions extends Options {
  readonly name?: string;
  readonly expires?: string;
  readonly model?: readonly string[];
  readonly route?: readonly string[];
  readonly grace?: string;
  readonly limit?: Readonly<Record<string, string | number>>;
}

const keyPath = (tenant: string, id: string): string => `${pathOf(tenant)}/keys/${encodeURIComponent(id)}`;

/** The key alone goes to the standard output: a script takes it from there. */
function showMade(made: KeyShown & { readonly key: string }, options: Options, note: string): void {
  if (options.json === true) print(JSON.stringify(made, undefined, 2));
  else {
    printError(`key ${made.id} is made; it is shown this once${note}:`);
    print(made.key);
  }
}

function createCommand(): Command {
  return adminCommand('create', 'Make a key. It is printed this once; what is kept of it is a hash.')
    .argument('<tenant>', 'whose', textArgument)
    .option('--name <name>', 'what people call it', textArgument)
    .option(
      '--expires <when>',
      'when it ends: a date as 2027-01-31 or a time as 2027-01-31T12:00:00Z; default: never',
    )
    .option(
      '--model <models>',
      'models that it may be used for, as a,b; default: all of the tenant’s',
      listArgument,
    )
    .option(
      '--route <routes>',
      'routes that it may be used for, as chat.completions,embeddings; default: all',
      listArgument,
    )
    .option(
      '--limit <name=value>',
      'a limit of what is asked with it, as tokensPerMonth=1000000 or "budgetPerMonth=50 EUR"; may be given several times',
      limitArgument,
    )
    .action(async (tenant: string, options: KeyOptions) => {
      const { name, expires, model, route, limit } = options;
      const body = {
        ...(name !== undefined && { name }),
        ...(expires !== undefined && { expires }),
        ...(model !== undefined && { models: model }),
        ...(route !== undefined && { routes: route }),
        ...(limit !== undefined && { limits: limit }),
      };
      const made = await adminClient(options).ask('POST', `${pathOf(tenant)}/keys`, body);
      showMade(made as KeyShown & { key: string }, options, '');
    });
}

function rotateCommand(): Command {
  return adminCommand('rotate', 'Make a key in place of another, which goes on for a while.')
    .argument('<tenant>', 'whose', textArgument)
    .argument('<id>', 'the old key’s id', textArgument)
    .option('--grace <duration>', 'how long the old key goes on, as 24h or 30m; 0s: not at all', '24h')
    .option('--expires <when>', 'when the new key ends; default: after as long as the old one was made for')
    .action(async (tenant: string, id: string, options: KeyOptions) => {
      const { grace = '24h', expires } = options;
      const body = { graceFor: grace, ...(expires !== undefined && { expires }) };
      const made = await adminClient(options).ask('POST', `${keyPath(tenant, id)}/rotate`, body);
      showMade(made as KeyShown & { key: string }, options, `, and ${id} goes on for ${grace}`);
    });
}

function revokeCommand(): Command {
  return adminCommand('revoke', 'Revoke a key: within a second it opens nothing any more; what runs goes on.')
    .argument('<tenant>', 'whose', textArgument)
    .argument('<id>', 'the key’s id', textArgument)
    .action(async (tenant: string, id: string, options: Options) => {
      const key = await adminClient(options).ask('DELETE', keyPath(tenant, id));
      if (options.json === true) print(JSON.stringify(key, undefined, 2));
      else print(`key ${id} is revoked`);
    });
}

function listCommand(): Command {
  return adminCommand('list', 'List the keys of a tenant, without themselves.')
    .argument('<tenant>', 'whose', textArgument)
    .action(async (tenant: string, options: Options) => {
      const { keys } = (await adminClient(options).ask('GET', `${pathOf(tenant)}/keys`)) as {
        readonly keys: readonly KeyShown[];
      };
      print(options.json === true ? JSON.stringify(keys, undefined, 2) : keysText(keys));
    });
}

export function keyCommand(): Command {
  return new Command('key')
    .description(
      'Make, rotate, revoke and list keys of tenants of the running service. Needs admin in its configuration.',
    )
    .addCommand(createCommand())
    .addCommand(rotateCommand())
    .addCommand(revokeCommand())
    .addCommand(listCommand());
}
