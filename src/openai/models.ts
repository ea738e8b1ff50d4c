/** Body of `GET /v1/models` in OpenAI's shape. `createdS`: Unix time in seconds. */
export function modelList(names: Iterable<string>, createdS: number): string {
  const data = Array.from(names, (id) => ({
    id,
    object: 'model',
    created: Math.trunc(createdS),
    owned_by: 'fairlane',
  }));
  return JSON.stringify({ object: 'list', data });
}
