/** Which database it is to be, and how it is used. */

export type DatabaseTarget =
  /** A file, which is made where it is missing, in a folder that exists. */
  | { readonly kind: 'sqlite'; readonly path: string }
  /** `postgresql://…`, with user and password. */
  | { readonly kind: 'postgresql'; readonly url: string };

export interface DatabaseOptions {
  /** Nothing is made or changed; a file must exist. Default: false. */
  readonly readOnly?: boolean;
  /** Longest time that one batch may take, in milliseconds. Default: 30,000; reports need more. */
  readonly timeoutMs?: number;
}
