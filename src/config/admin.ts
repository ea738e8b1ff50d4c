/** The admin API's part of the configuration, and what tenants that are made by it go by. */
import type { WrittenConfig } from './schema/schema.ts';

/** Names that tenants may name. */
export interface KnownNames {
  readonly tiers: readonly string[];
  /** Models, adapters and aliases. */
  readonly usable: ReadonlySet<string>;
  /** Without configured models every name comes from an engine, and none can be checked. */
  readonly hasModels: boolean;
  /** An engine may announce models. */
  readonly discovering: boolean;
}

/** Limits as they are written. */
export type WrittenLimits = WrittenConfig['tiers'][string];

export interface AdminConfig {
  readonly address: { readonly host: string; readonly port: number };
  /** May do everything. */
  readonly token: string;
  /** May read. Absent: nobody may who may not write. */
  readonly readToken?: string;
  /** PEM texts; absent: none is spoken. */
  readonly tls?: { readonly cert: string; readonly key: string };
  /** Of what is made. Absolute. */
  readonly directory: string;
  readonly tenants: TenantBasis;
}

/** What the settings of a tenant are checked against and completed with. */
export interface TenantBasis {
  readonly known: KnownNames;
  readonly tiers: ReadonlyMap<string, WrittenLimits>;
  /** `tiers` and `aliases` as they stand in the file: checks look there. */
  readonly root: Readonly<Record<string, unknown>>;
  /** Of bodies, by default. */
  readonly heldBytes: number;
  readonly maxBodyBytes: number;
  /** That prices are in; absent: nothing has a price. */
  readonly currencies?: ReadonlySet<string>;
}
