/** `admin`: tokens that nobody guesses, and an address at which nobody listens in. */
import { resolve } from 'node:path';
import type { KnownNames, TenantBasis } from '../admin.ts';
import { type Looked, lookUpKey, type Sources } from '../secrets.ts';
import { stateDirectoryOf } from '../state-directory.ts';
import { hostPort } from '../values.ts';
import { at } from '../written-data.ts';
import type { Check } from './check.ts';
import { checkServiceTls, type FoundTls, findTls, type Unshowable } from './listeners.ts';
import { knownNamesOf } from './references.ts';

/** A token of fewer characters can be guessed by whoever has time. */
const SHORT_TOKEN = 32;
const TOKENS = ['token', 'readToken'] as const;
const LOOPBACK = /^(127\.\d{1,3}\.\d{1,3}\.\d{1,3}|::1)$/;

export interface FoundAdmin {
  readonly token: Looked | undefined;
  readonly readToken: Looked | undefined;
  readonly tls: FoundTls;
  /** What tenants may name. */
  readonly known: KnownNames;
  readonly written: TenantBasis['root'];
  /** Of what is made. */
  readonly directory: string;
}

/** @param otherwise folder where there is neither a home nor a setting. */
export function findAdmin(root: unknown, sources: Sources, otherwise: string): FoundAdmin {
  const of = (key: string): Looked | undefined => {
    const text = at(root, 'admin', key);
    return typeof text === 'string' ? lookUpKey(text, sources) : undefined;
  };
  const directory = at(root, 'admin', 'directory') ?? at(root, 'ledger', 'directory');
  return {
    token: of('token'),
    readToken: of('readToken'),
    tls: findTls(at(root, 'admin', 'tls'), sources),
    known: knownNamesOf(root),
    written: { tiers: at(root, 'tiers'), aliases: at(root, 'aliases') },
    directory: resolve(
      typeof directory === 'string' ? sources.locate(directory) : stateDirectoryOf(sources.env, otherwise),
    ),
  };
}

/** For hiding: what was written, and what it stands for. */
export const adminSecretTexts = (
  root: unknown,
  found: FoundAdmin,
): readonly { readonly text: string; readonly looked: Looked }[] =>
  TOKENS.flatMap((key) => {
    const text = at(root, 'admin', key);
    const looked = found[key];
    return typeof text === 'string' && looked !== undefined ? [{ text, looked }] : [];
  });

export function checkAdmin(found: FoundAdmin, check: Check, unshowable: Unshowable): void {
  const { root, report } = check;
  for (const key of TOKENS) {
    const looked = found[key];
    if (looked?.kind === 'bad') report.problem(['admin', key], looked.problem);
    else if (looked?.kind === 'ok' && looked.value.length < SHORT_TOKEN) {
      report.problem(
        ['admin', key],
        `the token has fewer than ${SHORT_TOKEN} characters; make one with: openssl rand -hex 32`,
      );
    }
  }
  const { token, readToken } = found;
  if (token?.kind === 'ok' && readToken?.kind === 'ok' && token.value === readToken.value) {
    report.problem(
      ['admin', 'readToken'],
      'is the same as admin.token, so who may read may write; make another',
    );
  }
  checkServiceTls(['admin', 'tls'], found.tls, check, unshowable);
  const address = at(root, 'admin', 'address');
  const read = typeof address === 'string' ? hostPort(address, 'ip') : undefined;
  if (read !== undefined && !LOOPBACK.test(read.host) && found.tls === undefined) {
    report.problem(
      ['admin', 'address'],
      `is not an address of this machine alone, and tokens would pass in plain text; set admin.tls, or listen on 127.0.0.1`,
    );
  }
}
