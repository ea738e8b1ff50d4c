/** What may be commanded over the metrics port, and how it is answered. */

/** What a drain was answered. */
export type DrainAnswer =
  | { readonly kind: 'draining'; readonly last: boolean }
  | { readonly kind: 'undone' }
  /** The configuration wants it drained. */
  | { readonly kind: 'still' }
  | { readonly kind: 'unknown' };

export interface Explained {
  readonly status: number;
  readonly answer: unknown;
}

/** What commands are answered by. Bodies are JSON. */
export interface Commands {
  drain(endpoint: string, undo: boolean): DrainAnswer;
  /** @param question as it came. A promise where what is left of limits has to be asked for. */
  explain(question: unknown): Explained | Promise<Explained>;
  /** Of a question. */
  readonly maxBodyBytes: number;
}
