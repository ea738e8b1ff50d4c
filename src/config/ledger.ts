/** The ledger, as the program uses it. */

export interface LedgerConfig {
  /** Where records are until the database has them, and the SQLite file. Absolute. */
  readonly directory: string;
  readonly target:
    | { readonly kind: 'sqlite'; readonly path: string }
    | { readonly kind: 'postgresql' /** With user and password. */; readonly url: string };
  /** Of rows by request; sums are kept for ever. */
  readonly keepMs: number;
  /** Most bytes of records that wait for the database. */
  readonly maxSpoolBytes: number;
}
