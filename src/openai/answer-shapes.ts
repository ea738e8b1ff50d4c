/** What is kept of an answer that is read as it passes. */

/** What is kept of a value, by its place. */
export interface Shape {
  /** Members of an object that are kept. */
  readonly members?: ReadonlyMap<string, Shape>;
  /** All other members are kept as one, under REST: whether there is something in any of them. */
  readonly rest?: Shape;
  /** Elements of a list; without `elements` only their number is kept. */
  readonly isList?: true;
  readonly elements?: Shape;
  /** Strings in it are text of the answer. */
  readonly isText?: true;
}

/** Name of what stands for all members that have no name here. */
export const REST = '*';

const object = (members: Readonly<Record<string, Shape>>, rest?: Shape): Shape => ({
  members: new Map(Object.entries(members)),
  ...(rest !== undefined && { rest }),
});

const LEAF: Shape = {};
const TEXT: Shape = { isText: true };

const leaves = (...names: readonly string[]): Shape =>
  object(Object.fromEntries(names.map((name) => [name, LEAF])));

const USAGE = object(
  {
    prompt_tokens: LEAF,
    completion_tokens: LEAF,
    input_tokens: LEAF,
    output_tokens: LEAF,
    cache_read_input_tokens: LEAF,
    cache_creation_input_tokens: LEAF,
    reasoning_tokens: LEAF,
    total_tokens: LEAF,
    type: LEAF,
    seconds: LEAF,
    prompt_tokens_details: leaves('cached_tokens'),
    input_tokens_details: leaves('cached_tokens'),
    completion_tokens_details: leaves('reasoning_tokens'),
    output_tokens_details: leaves('reasoning_tokens'),
  },
  LEAF,
);
const DELTA: Shape = { ...object({ role: LEAF, type: LEAF }, TEXT), isText: true };
const COMMON = {
  usage: USAGE,
  response: object({ usage: USAGE }),
  message: object({ usage: USAGE }),
  timings: leaves('cache_n', 'prompt_n', 'predicted_n'),
  error: LEAF,
  object: LEAF,
  type: LEAF,
} as const;

/** An answer in one piece. */
export const BODY: Shape = object({
  ...COMMON,
  choices: { isList: true },
  data: { isList: true },
  duration: LEAF,
});
/** An event of a stream. */
export const EVENT: Shape = object({
  ...COMMON,
  choices: {
    isList: true,
    elements: object({ index: LEAF, finish_reason: LEAF, text: TEXT, delta: DELTA }),
  },
  delta: DELTA,
  text: LEAF,
  content: LEAF,
});

/** Text, or something in a list or an object. */
export function hasContent(value: unknown): boolean {
  if (typeof value === 'string' || Array.isArray(value)) return value.length > 0;
  return typeof value === 'object' && value !== null;
}
