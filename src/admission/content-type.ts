/** `application/json`, with no other parameter than UTF-8; also none at all, which engines judge themselves. */
const JSON_TYPE = /^application\/json\s*(;\s*(charset\s*=\s*"?utf-?8"?)?\s*)?$/i;

/** Several headers of that name arrive joined by commas, and are no type. */
export const isJsonType = (value: string): boolean => value === '' || JSON_TYPE.test(value.trim());
