/** `application/json` in UTF-8, of which ASCII is a part; also none at all, which engines judge themselves. */
export function isJsonType(value: string): boolean {
  const [type = '', ...parameters] = value.split(';').map((part) => part.trim().toLowerCase());
  if (type === '' && parameters.length === 0) return true;
  // Several headers of that name arrive joined by commas, and are no type.
  if (type !== 'application/json' || value.includes(',')) return false;
  return parameters.every((parameter) => {
    const [name = '', charset = ''] = parameter.split('=', 2).map((part) => part.trim());
    return name !== 'charset' || /^"?(?:utf-?8|us-ascii)"?$/.test(charset);
  });
}
