/**
 * While it is made. What is made for each request gets its optional members one by one: objects that are put together
 * of others cost many times as much, as their shape is looked for anew each time.
 */
export type Mutable<T> = { -readonly [Name in keyof T]: T[Name] };
