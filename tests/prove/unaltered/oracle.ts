/**
 * What an engine must get of a body, said by slices of the client's text: an object is written again from its members as they
 * stand, without those that are dropped, with what is set in place of a value, and with what is added in front. It is written to be
 * read, and knows nothing of the reader and the splice that it is compared with.
 */
import type { CommonRoute } from '../../../src/domain/routes.ts';

interface Member {
  /** As it means; `start` and `end` are around its quotes. */
  readonly key: string;
  readonly start: number;
  readonly value: Place;
}

/** Where a value stands in the text. */
interface Place {
  readonly kind: 'object' | 'array' | 'other';
  readonly start: number;
  readonly end: number;
  readonly members: readonly Member[];
  readonly items: readonly Place[];
}

const SPACE = /[ \t\n\r]*/y;
const STRING = /"(?:[^"\\]|\\.)*"/sy;
const OTHER = /[^\s,\]}]+/y;

/** @param text JSON. @throws when it is none that the steps below take for it. */
export function placesOf(text: string): Place {
  let at = 0;
  const take = (pattern: RegExp): string => {
    pattern.lastIndex = at;
    const found = pattern.exec(text)?.[0];
    if (found === undefined) throw new Error(`no JSON at ${at}`);
    at += found.length;
    return found;
  };
  const next = (): string => {
    take(SPACE);
    return text[at] ?? '';
  };
  const value = (): Place => {
    const first = next();
    const start = at;
    const members: Member[] = [];
    const items: Place[] = [];
    if (first !== '{' && first !== '[') {
      take(first === '"' ? STRING : OTHER);
      return { kind: 'other', start, end: at, members, items };
    }
    const close = first === '{' ? '}' : ']';
    at += 1;
    while (next() !== close) {
      if (text[at] === ',') at += 1;
      if (first === '[') items.push(value());
      else {
        next();
        const from = at;
        const key = JSON.parse(take(STRING)) as string;
        next();
        at += 1;
        members.push({ key, start: from, value: value() });
      }
    }
    at += 1;
    return { kind: first === '{' ? 'object' : 'array', start, end: at, members, items };
  };
  const root = value();
  if (next() !== '') throw new Error(`more than JSON at ${at}`);
  return root;
}

/** What is to be changed, as the service is told. */
export interface Wanted {
  readonly model?: string;
  readonly maxOutputTokens?: number;
  readonly includeUsage: boolean;
  readonly cacheSalt?: string;
  readonly priority?: number;
}

const CAPS: Readonly<Record<CommonRoute, readonly string[]>> = {
  'chat.completions': ['max_completion_tokens', 'max_tokens'],
  completions: ['max_tokens'],
  embeddings: [],
  responses: ['max_output_tokens'],
  messages: ['max_tokens'],
};
const EVERY_CAP = ['max_completion_tokens', 'max_tokens', 'max_output_tokens'];
/** Where a cap goes that the client has not set; where usage has to be asked for. */
const ADDED_CAP: Readonly<Partial<Record<CommonRoute, string>>> = {
  'chat.completions': 'max_tokens',
  completions: 'max_tokens',
  responses: 'max_output_tokens',
  messages: 'max_tokens',
};
const ASKED_FOR_USAGE: readonly CommonRoute[] = ['chat.completions', 'completions'];

const folded = (name: string): string => name.toUpperCase().toLowerCase();

/** @param paths `a.b` and `a.b*`, from this object on, in any case; `=a`: exactly so. */
export const isDropped = (key: string, paths: readonly string[]): boolean =>
  paths.some((path) => {
    if (path.includes('.')) return false;
    if (path.startsWith('=')) return key === path.slice(1);
    return path.endsWith('*')
      ? key.startsWith(path.slice(0, -1)) || folded(key).startsWith(path.slice(0, -1))
      : folded(key) === path;
  });

/** Of paths, those that go on in a member. */
export const within = (key: string, paths: readonly string[]): readonly string[] =>
  paths.filter((path) => path.startsWith(`${key}.`)).map((path) => path.slice(key.length + 1));

/** A value without what is dropped in it; lists are passed through. */
function kept(text: string, place: Place, paths: readonly string[]): string {
  if (place.kind === 'other' || paths.length === 0) return text.slice(place.start, place.end);
  if (place.kind === 'object') return objectOf(text, place, paths, new Map(), []);
  let out = '';
  let from = place.start;
  for (const item of place.items) {
    out += text.slice(from, item.start) + kept(text, item, paths);
    from = item.end;
  }
  return out + text.slice(from, place.end);
}

/** @param set by key: the value in place of the client's. @param added whole members. */
function objectOf(
  text: string,
  { start, end, members }: Place,
  paths: readonly string[],
  set: ReadonlyMap<string, string>,
  added: readonly string[],
): string {
  const stay = members.filter(({ key }) => !isDropped(key, paths));
  const all = [...added];
  let out = text.slice(start + 1, members[0]?.start ?? end - 1);
  for (const [i, member] of stay.entries()) {
    const { key, value } = member;
    out += text.slice(member.start, value.start) + (set.get(key) ?? kept(text, value, within(key, paths)));
    // What stands behind a member stays with it, but for the last: a comma must have something to part.
    if (i < stay.length - 1) out += text.slice(value.end, members[members.indexOf(member) + 1]?.start ?? end);
  }
  if (members.length > 0) out += text.slice(members.at(-1)?.value.end ?? end, end - 1);
  if (stay.length > 0 && all.length > 0) all.push('');
  return `{${all.join(',')}${out}}`;
}

/** @param text of a request that was accepted. @param dropped the policy's names. */
export function expectedOf(
  text: string,
  route: CommonRoute,
  dropped: readonly string[],
  wanted: Wanted,
): string {
  const root = placesOf(text);
  const drops = wanted.priority === undefined ? dropped : [...dropped, '=priority'];
  const fields = new Map(root.members.filter(({ key }) => !isDropped(key, dropped)).map((m) => [m.key, m]));
  const valueOf = (name: string): unknown => {
    const place = fields.get(name)?.value;
    return place === undefined ? undefined : (JSON.parse(text.slice(place.start, place.end)) as unknown);
  };
  const set = new Map<string, string>();
  const added: string[] = [];
  const put = (name: string, json: string): void => {
    if (fields.has(name)) set.set(name, json);
    else added.push(`"${name}":${json}`);
  };

  if (wanted.model !== undefined) put('model', JSON.stringify(wanted.model));
  // Below one it is no cap; scoring a given text, completions with `echo`, generates nothing.
  const least = route === 'completions' && valueOf('echo') === true ? 0 : 1;
  const isCap = (value: unknown): value is number => typeof value === 'number' && value >= least;
  const own = CAPS[route].map(valueOf).find(isCap);
  const cap = Math.min(own ?? Infinity, wanted.maxOutputTokens ?? Infinity);
  const addedCap = ADDED_CAP[route];
  if (addedCap !== undefined && cap !== Infinity) {
    for (const name of EVERY_CAP) {
      const value = valueOf(name);
      const isMissing = name === addedCap && wanted.maxOutputTokens !== undefined;
      if ((typeof value === 'number' || isMissing) && value !== cap) put(name, String(cap));
    }
  }
  if (wanted.includeUsage && ASKED_FOR_USAGE.includes(route) && valueOf('stream') === true) {
    const place = fields.get('stream_options')?.value;
    const inOptions = within('stream_options', drops);
    const options = place?.kind === 'object' ? place : undefined;
    const asked = options?.members.find(
      ({ key }) => key === 'include_usage' && !isDropped(key, inOptions),
    )?.value;
    if (options === undefined) put('stream_options', '{"include_usage":true}');
    else if (asked === undefined)
      put('stream_options', objectOf(text, options, inOptions, new Map(), ['"include_usage":true']));
    else if (text.slice(asked.start, asked.end) !== 'true')
      put('stream_options', objectOf(text, options, inOptions, new Map([['include_usage', 'true']]), []));
  }
  if (wanted.cacheSalt !== undefined) put('cache_salt', JSON.stringify(wanted.cacheSalt));
  if (wanted.priority !== undefined) added.unshift(`"priority":${wanted.priority}`);
  return text.slice(0, root.start) + objectOf(text, root, drops, set, added) + text.slice(root.end);
}
