/** Whose limit it is, where it is not the tenant's own: of one of its keys, or of what it asks of one model. */
export type LimitScope = { readonly kind: 'key' } | { readonly kind: 'model'; readonly model: string };
