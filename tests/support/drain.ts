/** Streams that are under way while an Envoy is told to stop. */
import { expect } from 'vitest';
import { eventually } from './eventually.ts';

/** A stream of the model `demo`. @param api its URL, without /v1. @param tokens it has exactly so many. */
export const askStream = (api: string, key: string, tokens: number): Promise<Response> =>
  fetch(`${api}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify({
      model: 'demo',
      stream: true,
      max_tokens: tokens,
      ignore_eos: true,
      messages: [{ role: 'user', content: 'Hello' }],
    }),
  });

/**
 * Expects that new connections are refused while old streams go on, and that each of those has its end.
 *
 * @param tokens of a stream: so many that it lasts longer than a refusal takes.
 */
export async function expectDrain(
  api: string,
  key: string,
  tokens: number,
  stop: () => unknown,
): Promise<void> {
  const streams = await Promise.all(Array.from({ length: 4 }, () => askStream(api, key, tokens)));
  expect(streams.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
  const read = streams.map((stream) => stream.text());
  let open = read.length;
  for (const text of read) void text.finally(() => (open -= 1));
  stop();
  await eventually(
    () =>
      fetch(`${api}/`, { headers: { connection: 'close' } }).then(
        () => 'taken',
        () => 'refused',
      ),
    (answer) => answer === 'refused',
    10_000,
  );
  expect(open).toBeGreaterThan(0);
  for (const text of await Promise.all(read)) expect(text.trimEnd().endsWith('data: [DONE]')).toBe(true);
}
