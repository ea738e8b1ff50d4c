/** Whom requests of a tenant are counted for. */
export type AttributionConfig = (
  | { readonly by: 'user' }
  /** In lower case. */
  | { readonly by: 'header'; readonly header: string }
) & {
  /** Different ones of a tenant and day. */
  readonly most: number;
};
