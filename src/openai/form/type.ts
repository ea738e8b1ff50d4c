/** The `content-type` of a form. */

/** In bytes, as RFC 2046 has it. */
const BOUNDARY_BYTES = 70;
/** One parameter, and nothing that a reader may take for another one. Quoted or not, it is the same text to all. */
const FORM_TYPE = /^multipart\/form-data;[ \t]*boundary=(?:"([\w'+./:=?-]+)"|([\w'+.-]+))$/i;

/** Its boundary; undefined: it is no form, or one that readers could take apart in other ways. */
export function boundaryOf(contentType: string): string | undefined {
  const found = FORM_TYPE.exec(contentType.trim());
  const boundary = found?.[1] ?? found?.[2] ?? '';
  // Hyphens at its end would be read for those that end the last part.
  return boundary.length <= BOUNDARY_BYTES && /[A-Za-z0-9]$/.test(boundary) ? boundary : undefined;
}
