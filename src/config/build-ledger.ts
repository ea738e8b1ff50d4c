/** The ledger as the program uses it, from a configuration that has been checked. */
import { join } from 'node:path';
import type { LedgerConfig } from './ledger.ts';
import type { WrittenConfig } from './schema/schema.ts';
import type { Looked } from './secrets.ts';

/** Where nobody is to connect. */
const UNRESOLVED_URL = 'postgresql://unresolved.invalid/unresolved';
const SQLITE_FILE = 'ledger.db';

/** @param runtime the folder that Envoy's files are in. @param locate of a path that is relative to the configuration's folder. */
export function ledgerOf(
  written: NonNullable<WrittenConfig['ledger']>,
  url: Looked | undefined,
  runtime: string,
  locate: (path: string) => string,
): LedgerConfig {
  const { directory: place, keep, maxSpool } = written;
  const directory = place === undefined ? join(runtime, 'ledger') : locate(place);
  return {
    directory,
    target:
      url === undefined
        ? { kind: 'sqlite', path: join(directory, SQLITE_FILE) }
        : { kind: 'postgresql', url: url.kind === 'ok' ? url.value : UNRESOLVED_URL },
    keepMs: keep,
    maxSpoolBytes: maxSpool,
  };
}
