/** API keys: where they are taken from, and what may be one. */

export interface Sources {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Throws what node:fs throws. */
  readonly readFile: (path: string) => string;
  /** A `file:` path as readFile wants it. */
  readonly locate: (path: string) => string;
  /** References are left as they are: neither variables nor files are looked at. */
  readonly isUnresolved?: boolean;
}

export type Resolved =
  | { readonly kind: 'ok'; readonly value: string }
  | { readonly kind: 'bad'; readonly problem: string };

/** `unresolved`: a reference that nobody was to follow. */
export type Looked = Resolved | { readonly kind: 'unresolved' };

/** A shorter key can be guessed. */
export const SHORT_KEY = 8;
/** Envoy compares keys with a header; longer ones come near its limits for headers. */
const LONGEST_KEY = 512;
/** A value that is kept elsewhere: in a variable, or in a file. */
export const SECRET_REFERENCE = /^(env|file):./;
const ENV_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

const bad = (problem: string) => ({ kind: 'bad', problem }) as const;

/** An optional reference where what it stands in may not be absent. */
const NOT_OPTIONAL =
  'may not be optional: a "?" at the end is for redis.url, an endpoint, a drained endpoint, a key of a tenant (not in a file of tenantDirectory) and a webhook’s url; remove it';

/** `env:NAME` → the variable's value, anything else as it is. */
export function lookUpEnv(text: string, env: Sources['env']): Resolved {
  if (!text.startsWith('env:')) return { kind: 'ok', value: text };
  const name = text.slice('env:'.length);
  if (name.endsWith('?') && ENV_NAME.test(name.slice(0, -1))) return bad(NOT_OPTIONAL);
  // What is no variable's name may be a secret that was pasted there.
  if (!ENV_NAME.test(name)) {
    return bad('needs a variable’s name after env: (letters, digits and "_"), for example env:ALICE_KEY');
  }
  const value = Object.hasOwn(env, name) ? env[name] : undefined;
  if (value === undefined) return bad(`environment variable ${name} is not set; set it or remove this line`);
  if (value.trim() === '') return bad(`environment variable ${name} is empty; give it a value`);
  return { kind: 'ok', value };
}

/** What a secret stands for, unless references are to be left as they are. */
export const lookUpKey = (text: string, sources: Sources): Looked =>
  sources.isUnresolved === true && SECRET_REFERENCE.test(text)
    ? { kind: 'unresolved' }
    : lookUpSecret(text, sources);

export function lookUpSecret(text: string, { env, readFile, locate }: Sources): Resolved {
  let value: string;
  let origin = 'the key';
  if (text.startsWith('file:')) {
    const path = text.slice('file:'.length);
    if (path === '' || path.includes('\0')) return bad('needs a path after file:');
    const located = locate(path);
    origin = `the content of ${located}`;
    try {
      value = readFile(located).trim();
    } catch (error) {
      if (path.endsWith('?')) return bad(NOT_OPTIONAL);
      return bad(`cannot read ${located} (${readFailure(error)}); create it or correct the path`);
    }
  } else {
    const looked = lookUpEnv(text, env);
    if (looked.kind === 'bad') return looked;
    if (text.startsWith('env:')) origin = `environment variable ${text.slice('env:'.length)}`;
    value = looked.value;
  }
  if (value === '') return bad(`${origin} is empty; a key has at least ${SHORT_KEY} characters`);
  if (value.length > LONGEST_KEY) return bad(`${origin} is longer than ${LONGEST_KEY} characters`);
  if (!/^[\x21-\x7e]+$/.test(value)) {
    return bad(
      `${origin} has white space, control or non-ASCII characters; a key is one word of visible ASCII`,
    );
  }
  return { kind: 'ok', value };
}

/** Says it without the message, which may quote what was read. */
export function readFailure(error: unknown): string {
  const code = typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined;
  switch (code) {
    case 'ENOENT':
    case 'ENOTDIR':
      return 'no such file';
    case 'EISDIR':
      return 'it is a directory';
    case 'EACCES':
    case 'EPERM':
      return 'permission denied';
    case 'EFBIG':
      return 'it is too large';
    default:
      return typeof code === 'string' ? code : 'unreadable';
  }
}
