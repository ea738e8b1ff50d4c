/** The head of a part of a form, read so that every reader takes it for the same. */

export interface PartHead {
  readonly name: string;
  /** Readers hand it on as a file. */
  readonly isFile: boolean;
  /** Lower case, with parameters; empty: none. */
  readonly type: string;
  /** Bytes that it says it has; undefined: it says nothing. */
  readonly length: number | undefined;
}

const LINE = /^([a-z-]+):[ \t]*([\x20-\x7e\x80-\xff]*)$/i;
const TAKEN = ['content-disposition', 'content-type', 'content-transfer-encoding', 'content-length'];
/**
 * The name comes first: a reader that looks for `name="` would find it in `filename="`. Without backslashes, quotes and semicolons
 * within the quotes there is one way to take it apart.
 */
const DISPOSITION =
  /^form-data;[ \t]*name="([\w.-]{1,64}(?:\[\])?)"(;[ \t]*filename="[^"\\;]*")?(;[ \t]*filename\*=utf-8''[\w%!#$&+.^`|~-]*)?$/i;
const TYPE = /^[\w!#$&^.+-]+\/[\w!#$&^.+-]+(?:;[ \t]*[\w-]+=(?:[\w.+:/-]+|"[\w .+:/,-]*"))*$/;
const TEXT = /^text\/plain(?:;[ \t]*charset="?(?:utf-?8|us-ascii)"?)?$/;
const SAME_BYTES = /^(?:7bit|8bit|binary)$/;

/** @param text of all its lines, as latin1. @returns what is wrong with it, or what it says. */
export function readPartHead(text: string): PartHead | string {
  const fields = new Map<string, string>();
  for (const line of text.split('\r\n')) {
    const [, written = '', value = ''] = LINE.exec(line) ?? [];
    const name = written.toLowerCase();
    if (!TAKEN.includes(name)) return `a part has a header that is not one of ${TAKEN.join(', ')}`;
    if (fields.has(name)) return `a part has two headers \`${name}\``;
    fields.set(name, value.trimEnd());
  }
  const disposition = DISPOSITION.exec(fields.get('content-disposition') ?? '');
  if (disposition === null) {
    return 'each part needs `content-disposition: form-data; name="NAME"`, then `filename` if it is a file, both in quotes, without backslashes and semicolons';
  }
  const [, name = '', filename, extended] = disposition;
  const isFile = filename !== undefined || extended !== undefined;
  const type = (fields.get('content-type') ?? '').toLowerCase();
  if (type !== '' && !TYPE.test(type)) return 'the `content-type` of a part is no type';
  if (/^(?:multipart|message)\//.test(type)) return 'a part holds other parts';
  if (!isFile && type !== '' && !TEXT.test(type)) {
    return 'a field that is no file must be `text/plain` in UTF-8, or have no `content-type`';
  }
  if (!SAME_BYTES.test((fields.get('content-transfer-encoding') ?? 'binary').toLowerCase())) {
    return 'a part has a transfer encoding';
  }
  const length = fields.get('content-length');
  if (length !== undefined && !/^\d{1,10}$/.test(length))
    return 'the `content-length` of a part is no number';
  return { name, isFile, type, length: length === undefined ? undefined : Number(length) };
}
