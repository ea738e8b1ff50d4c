/** URLs of whoever is told something over HTTP. */

/** Undefined: it is no http:// or https:// URL, or has what does not belong into one. */
export const httpUrlOf = (text: string): URL | undefined =>
  /^https?:\/\/[^\s\\\p{C}]+$/iu.test(text) && URL.canParse(text) ? new URL(text) : undefined;
