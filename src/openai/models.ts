/** What `GET /v1/models` and `GET /v1/models/{id}` answer, in OpenAI's shape and in Anthropic's. Pure. */

export interface ModelInfo {
  /** The name that the tenant knows it by. */
  readonly id: string;
  /** Tokens that a prompt and an output have room for; undefined: nobody says. */
  readonly maxTokens: number | undefined;
  /** What else the engine says. */
  readonly facts: Readonly<Record<string, unknown>>;
}

/** Of a list's facts, in characters of JSON: the rest of the models have their names alone. */
const MAX_FACTS = 524_288;

/** @param createdS Unix time in seconds. */
const openAiModel = ({ id, maxTokens, facts }: ModelInfo, createdS: number): object => ({
  id,
  object: 'model',
  created: Math.trunc(createdS),
  owned_by: 'fairlane',
  ...(maxTokens !== undefined && { max_model_len: maxTokens }),
  ...facts,
});

/** Body of `GET /v1/models` in OpenAI's shape. `createdS`: Unix time in seconds. */
export function modelList(models: Iterable<ModelInfo>, createdS: number): string {
  let left = MAX_FACTS;
  const data = Array.from(models, (model) => {
    left -= JSON.stringify(model.facts).length;
    return openAiModel(left >= 0 ? model : { ...model, facts: {} }, createdS);
  });
  return JSON.stringify({ object: 'list', data });
}

/** Body of `GET /v1/models/{id}` in OpenAI's shape. */
export const oneModel = (model: ModelInfo, createdS: number): string =>
  JSON.stringify(openAiModel(model, createdS));

// Anthropic: https://docs.anthropic.com/en/api/models-list

const anthropicModel = ({ id, maxTokens }: ModelInfo, createdS: number): object => ({
  type: 'model',
  id,
  display_name: id,
  created_at: new Date(Math.trunc(createdS) * 1_000).toISOString().replace('.000Z', 'Z'),
  max_input_tokens: maxTokens ?? null,
  lifecycle: 'active',
});

export const oneAnthropicModel = (model: ModelInfo, createdS: number): string =>
  JSON.stringify(anthropicModel(model, createdS));

const DEFAULT_LIMIT = 20;
const MAX_LIMIT = 1_000;

/** Which part of a list is asked for. Pages go on by name, also when a model has gone meanwhile. */
export interface ModelPage {
  readonly limit: number;
  readonly after?: string;
  readonly before?: string;
}

/** @returns the parameter that cannot be, and why. */
export function modelPage(
  query: URLSearchParams,
): ModelPage | { readonly param: string; readonly problem: string } {
  const written = query.get('limit');
  const limit = written === null ? DEFAULT_LIMIT : Number(written);
  if (written !== null && !(/^\d{1,4}$/.test(written) && limit >= 1 && limit <= MAX_LIMIT)) {
    return { param: 'limit', problem: `must be a whole number from 1 to ${MAX_LIMIT}` };
  }
  const after = query.get('after_id') ?? '';
  const before = query.get('before_id') ?? '';
  if (after !== '' && before !== '') return { param: 'before_id', problem: 'cannot be given with after_id' };
  return { limit, ...(after !== '' && { after }), ...(before !== '' && { before }) };
}

/** Body of `GET /v1/models` in Anthropic's shape. @param models in the order of their names. */
export function anthropicModelList(
  models: readonly ModelInfo[],
  { limit, after, before }: ModelPage,
  createdS: number,
): string {
  const rest = models.filter(
    ({ id }) => (after === undefined || id > after) && (before === undefined || id < before),
  );
  // Before a name comes what is nearest to it.
  const page = before === undefined ? rest.slice(0, limit) : rest.slice(-limit);
  return JSON.stringify({
    data: page.map((model) => anthropicModel(model, createdS)),
    has_more: rest.length > page.length,
    first_id: page[0]?.id ?? null,
    last_id: page.at(-1)?.id ?? null,
  });
}
