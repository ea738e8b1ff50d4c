/** `ledger`: a place for what it keeps, and a URL that can be read. */
import { type Looked, lookUpKey, type Sources } from '../secrets.ts';
import { at, isMapping } from '../written-data.ts';
import type { Check } from './check.ts';

/** What stands at `ledger.url`, looked up; undefined: nothing does. */
export function findLedgerUrl(value: unknown, sources: Sources): Looked | undefined {
  const text = at(value, 'ledger', 'url');
  return typeof text === 'string' ? lookUpKey(text, sources) : undefined;
}

/** For hiding: what was written, and what it stands for. */
export function ledgerSecretTexts(
  value: unknown,
  looked: Looked | undefined,
): readonly { readonly text: string; readonly looked: Looked }[] {
  const text = at(value, 'ledger', 'url');
  return typeof text === 'string' && looked !== undefined ? [{ text, looked }] : [];
}

const POSTGRESQL_URL = /^postgres(?:ql)?:\/\/[^\s/?#]+\/[^\s/?#]+(?:\?[^\s#]*)?$/;

function isReadable(url: string): boolean {
  if (!POSTGRESQL_URL.test(url) || !URL.canParse(url)) return false;
  const { username, password, pathname } = new URL(url);
  try {
    for (const part of [username, password, pathname]) decodeURIComponent(part);
    return true;
  } catch {
    return false;
  }
}

export function checkLedger(url: Looked | undefined, { root, report }: Check): void {
  const ledger = at(root, 'ledger');
  if (!isMapping(ledger)) return;
  if (ledger['url'] === undefined && ledger['directory'] === undefined) {
    report.problem(
      ['ledger'],
      'needs directory (for a SQLite file) or url (of a PostgreSQL database)',
      'key',
    );
  }
  if (url?.kind === 'bad') report.problem(['ledger', 'url'], url.problem);
  else if (url?.kind === 'ok' && !isReadable(url.value)) {
    report.problem(
      ['ledger', 'url'],
      'must be postgresql://[user[:password]@]host[:port]/database, with % in a password written as %25',
    );
  }
}
