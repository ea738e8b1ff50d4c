/** What an operator wants of a stop: nothing new is taken, and nothing that runs is broken. */
import { expect } from 'vitest';
import { eventually } from './eventually.ts';

/**
 * Opens four streams, stops, and sees that new connections are refused while those streams go on to their end.
 * @param url answers while connections are taken
 * @param ask begins a stream of a second or more
 * @returns once all streams have ended
 */
export async function expectsADrain(
  url: string,
  ask: () => Promise<Response>,
  stop: () => void,
): Promise<void> {
  const streams = await Promise.all(Array.from({ length: 4 }, ask));
  expect(streams.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
  const read = streams.map((stream) => stream.text());
  let open = read.length;
  for (const text of read) void text.finally(() => (open -= 1));
  stop();
  await eventually(
    () =>
      fetch(url, { headers: { connection: 'close' } }).then(
        () => 'taken',
        () => 'refused',
      ),
    (answer) => answer === 'refused',
    10_000,
  );
  expect(open).toBeGreaterThan(0);
  for (const text of await Promise.all(read)) expect(text.trimEnd().endsWith('data: [DONE]')).toBe(true);
}
