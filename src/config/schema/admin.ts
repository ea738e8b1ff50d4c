/** `admin`: the API by which tenants and keys are made while Fairlane runs. */
import { filePath, listenAddress, secret, section, serverCertificate } from './dsl.ts';

export const admin = section(
  {
    address: listenAddress(
      '127.0.0.1:9465',
      'Where the admin API listens. An address that is not of this machine alone needs `admin.tls`.',
    ).prefault('127.0.0.1:9465'),
    token: secret(
      'Token of who may change tenants and keys, at least 32 characters, sent as `Authorization: Bearer TOKEN`.',
    ),
    readToken: secret('Token of who may only read. Default: there is none.').optional(),
    directory: filePath(
      '/var/lib/fairlane',
      'Folder of what is made: `tenants.db` (SQLite), unless the ledger’s database or `redis` has it, and `tenants.json`, a copy of the last known state with which a start goes on while that is away. Keys are in it as SHA-256 only. Relative to the configuration file’s folder. Default: `ledger.directory`, or else `$STATE_DIRECTORY`, `$XDG_STATE_HOME/fairlane` or `~/.local/state/fairlane`.',
    ).optional(),
    tls: section(serverCertificate, 'TLS from version 1.2 at `admin.address`.').optional(),
  },
  'The admin API: tenants and keys that are made while Fairlane runs; see [tenants](tenants.md). Default: off, and there are no such tenants.',
).optional();
